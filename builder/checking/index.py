"""The index of a config: is it whole, and what its receipts, rejects and files say?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asam_datasets import features_of
from builder.core.errors import ShardError
from builder.core.files import sha256_file, sha256_json
from builder.core.layout import (
    DATA,
    FORMATS,
    INDEX,
    REJECTS,
    SHARD_NAME,
    config_folder,
    receipts_folder,
    rejects_path,
)
from builder.core.records import Json
from builder.shards.receipt import count_rejects, read_receipt


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `row` counts from 0 within the shard."""

    config: str
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = self.config
        where += f"/{self.shard}" if self.shard else ""
        where += f", row {self.row}" if self.row is not None else ""
        return f"{where}: {self.what}"


def without_index(dist: Path) -> Iterator[Problem]:
    """Configs that `configs` doesn't list, since they have no index."""
    folders = {p.parent for p in (dist / DATA).glob("*/*") if SHARD_NAME.fullmatch(p.name)}
    for folder in sorted(folders):
        if not (folder / INDEX).is_file():
            yield Problem(folder.name, f"it holds shards and no {INDEX}: its build didn't end")


def checked_entries(index: Json) -> list[Json]:
    """The entries of all shards, each with what a check needs; raises ShardError otherwise."""
    entries = [dict(entry) for split in index["splits"].values() for entry in split["shards"]]
    for entry in entries:
        for key, kind in (("file", str), ("sha256", str), ("rows", int), ("bytes", int)):
            if not isinstance(entry.get(key), kind):
                raise ShardError(
                    f"its index can't be used: expected {key} in the entry of every shard, found "
                    f"{entry.get(key)!r} in that of {entry.get('file')}; build the config again"
                )
    return entries


def check_index(dist: Path, config: str, index: Json, entries: list[Json]) -> Iterator[Problem]:
    """What is wrong with a config's index, receipts, rejects table and folder."""
    if config != index["config"]:
        yield Problem(config, f"its index is that of {index['config']}")
    for what in _contradictions(index, entries):
        yield Problem(config, f"its index contradicts itself: {what}")
    yield from _check_rejects(dist, config, index)
    named = {entry["file"] for entry in entries}
    for path in sorted(config_folder(dist, config).iterdir()):
        if _is_data(path.name, index) and path.name not in named:
            yield Problem(config, "no part of the index, but load_dataset may read it", path.name)
    if not receipts_folder(dist, config).is_dir():
        return  # a copy of a published repo: receipts stay where the build ran
    counts: Counter[str] = Counter()
    receipts = 0
    for entry in entries:
        receipt = read_receipt(dist, config, entry["file"])
        if receipt is None:
            yield Problem(config, "it has no receipt", entry["file"])
            continue
        there = {"schema": index["schema"], **receipt.entry, "file": receipt.file}
        made = receipt.source, receipt.settings_sha256
        if there != {**entry, "schema": index["schema"]} or made != (
            index["source"],
            index["settings_sha256"],
        ):
            yield Problem(config, "its receipt and the index differ", entry["file"])
        counts.update(receipt.counts)
        receipts += 1
    found = {name: count for name, count in index["counts"].items() if isinstance(count, int)}
    if receipts == len(entries) and found != dict(counts):
        yield Problem(config, f"its index counts {found}, its receipts {dict(counts)}")


def _contradictions(index: Json, entries: list[Json]) -> Iterator[str]:
    """What in an index doesn't fit the rest of it."""
    columns = list(features_of(index["kind"]))
    if index["columns"] != columns:
        yield f"columns {index['columns']}, those of kind {index['kind']} are {columns}"
    if index["settings_sha256"] != sha256_json(index["settings"]):
        yield "settings_sha256 is not that of its settings"
    if index["format"] not in FORMATS or index["format"] != index["settings"]["format"]:
        yield f"format {index['format']}, its settings say {index['settings']['format']}"
    for name, split in index["splits"].items():
        for key, part in (("num_rows", "rows"), ("num_bytes", "bytes")):
            total = sum(entry[part] for entry in split["shards"])
            if total != split[key]:
                yield f"split {name}: {split[key]} {part}, its shards hold {total}"
    rows = sum(entry["rows"] for entry in entries)
    if entries and index["counts"]["images"] != rows:
        yield f"{index['counts']['images']} images, its shards hold {rows}"


def _check_rejects(dist: Path, config: str, index: Json) -> Iterator[Problem]:
    table = rejects_path(dist, config)
    if not table.is_file() or sha256_file(table) != index["rejects"]["sha256"]:
        yield Problem(config, f"{REJECTS} is absent, or not the one that the index names")
        return
    found = [json.loads(line) for line in table.read_bytes().splitlines()]
    if len(found) != index["rejects"]["rows"] or count_rejects(found) != index["counts"]["rejects"]:
        yield Problem(config, f"its index counts other rejects than {REJECTS} holds")


def _is_data(name: str, index: Json) -> bool:
    """Whether `load_dataset` takes a file of the config's folder for rows, or may do so."""
    return bool(SHARD_NAME.fullmatch(name)) or any(name.startswith(s) for s in index["splits"])
