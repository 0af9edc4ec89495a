"""Are a config's receipts, rejects and files what its index says?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asam_datasets.index import FORMAT_VERSION, Index
from asam_datasets.schema import features_of
from builder.core.errors import ContractError
from builder.core.files import sha256_file
from builder.core.layout import (
    DATA,
    INDEX,
    REJECTS,
    SHARD_NAME,
    config_folder,
    receipts_folder,
    rejects_path,
)
from builder.core.rejects import count_reasons, read_rejects
from builder.shards.receipt import COUNTED, read_receipt


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


def check_index(dist: Path, index: Index) -> Iterator[Problem]:
    """What is wrong with a config's receipts, rejects table and folder, by its index."""
    config = index.config
    if index.format_version < FORMAT_VERSION:
        yield Problem(config, f"its index is of format {index.format_version}; build it again")
    if index.features != features_of(index.kind):
        yield Problem(config, f"its index states other columns than those of kind {index.kind}")
    yield from _check_rejects(dist, index)
    named = {shard.file for shard in index.shards}
    for path in sorted(config_folder(dist, config).iterdir()):
        if _is_data(path.name, index) and path.name not in named:
            yield Problem(config, "no part of the index, but load_dataset may read it", path.name)
    if receipts_folder(dist, config).is_dir():  # a copy of a published repo has none
        yield from _check_receipts(dist, index)


def _check_receipts(dist: Path, index: Index) -> Iterator[Problem]:
    """Receipts that are absent, damaged, or say something else than the index."""
    layout = index.layout if index.format == "arrow" else None
    made = index.source, index.settings_sha256
    counts: Counter[str] = Counter()
    whole = True
    for split in index.splits.values():
        for shard in split.shards:
            try:
                receipt = read_receipt(dist, index.config, shard.file, layout)
            except ContractError as error:
                whole = False
                yield Problem(index.config, f"its receipt can't be used: {error}", shard.file)
                continue
            if receipt is None:
                whole = False
                yield Problem(index.config, "it has no receipt", shard.file)
                continue
            counts.update(receipt.counts)
            if receipt.shard != shard or (receipt.source, receipt.settings_sha256) != made:
                yield Problem(index.config, "its receipt and the index differ", shard.file)
    stated = {name: getattr(index.counts, name) for name in COUNTED}
    found = {name: counts[name] for name in COUNTED}
    if whole and found != stated:
        yield Problem(index.config, f"its index counts {stated}, its receipts {found}")


def _check_rejects(dist: Path, index: Index) -> Iterator[Problem]:
    table = rejects_path(dist, index.config)
    if not table.is_file() or sha256_file(table) != index.rejects.sha256:
        what = f"{REJECTS} is absent, or not the one that the index names"
        yield Problem(index.config, what)
        return
    try:
        found = read_rejects(table.read_bytes(), str(table))
    except ContractError as error:
        yield Problem(index.config, str(error))
        return
    if len(found) != index.rejects.rows or count_reasons(found) != index.counts.rejects:
        yield Problem(index.config, f"its index counts other rejects than {REJECTS} holds")


def _is_data(name: str, index: Index) -> bool:
    """Whether `load_dataset` takes a file of the config's folder for rows, or may do so."""
    return bool(SHARD_NAME.fullmatch(name)) or any(name.startswith(s) for s in index.splits)
