"""Is a dist what its indexes say? Indexes first, then hashes, then every row, image and mask."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from builder.checking.index import Problem, check_index, checked_entries, without_index
from builder.checking.rows import check_row, check_train_row, read_rows
from builder.core.errors import ShardError
from builder.core.layout import config_folder, configs
from builder.core.records import Json
from builder.shards.index import read_index
from builder.shards.receipt import check_file
from builder.shards.write import arrow_batches


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """One shard to check; picklable. `entry` and `schema` are the index's."""

    dist: Path
    config: str
    kind: str
    fmt: str
    entry: Json
    fast: bool
    schema: str | None = None


def plan_checks(
    dist: Path, only: Sequence[str] | None = None, *, fast: bool = False
) -> tuple[list[Problem], list[ShardCheck]]:
    """Check each config's index, receipts, rejects and files; returns what is left to read.

    Raises
    ------
    ShardError
        The folder is no dist, or lacks a config that was asked for.
    """
    known = configs(dist)
    if not known:
        raise ShardError(f"{dist}: no data/<config>/index.json in it; is it a dist?")
    problems = [] if only else list(without_index(dist))
    if absent := sorted(set(only or ()) - set(known)):
        raise ShardError(f"{dist}: no config {', '.join(absent)}; it holds {', '.join(known)}")
    shards: list[ShardCheck] = []
    for config in only or known:
        try:
            index = read_index(dist, config)
            entries = checked_entries(index)
            problems += check_index(dist, config, index, entries)
            shards += [
                ShardCheck(
                    dist, config, index["kind"], index["format"], entry, fast, index["schema"]
                )
                for entry in entries
            ]
        except (ShardError, KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"its index can't be used: {error!r}; build the config again"
            problems.append(Problem(config, str(error) if isinstance(error, ShardError) else what))
    return problems, shards


def check_shard(
    check: ShardCheck, on_row: Callable[[int, int], None] = lambda rows, masks: None
) -> list[Problem]:
    """Check one shard: its hash, and unless `fast` its rows. `on_row` is told (rows, masks)."""
    name = check.entry["file"]
    path = config_folder(check.dist, check.config) / name
    try:
        check_file(path, check.entry)
    except ShardError as error:
        return [Problem(check.config, str(error), name)]
    if check.fast:
        return []
    problems = []
    number = 0
    try:
        if check.fmt == "arrow" and (wrong := _check_layout(path, check)):
            problems.append(Problem(check.config, wrong, name))
        for number, row in enumerate(read_rows(path, check.fmt)):
            faults = check_train_row if check.kind == "train" else check_row
            problems += [Problem(check.config, what, name, number) for what in faults(row)]
            on_row(1, len(row["masks"]))
    except (pa.ArrowException, OSError, ShardError) as error:
        problems.append(Problem(check.config, f"can't be read on: {error}", name, number))
    return problems


def _check_layout(path: Path, check: ShardCheck) -> str | None:
    """What the index says wrongly of an Arrow shard: its schema, where its columns lie."""
    try:
        stated = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(check.schema or "")))
        with pa.memory_map(str(path)) as file:
            found = pa.ipc.read_schema(file)
        if not found.equals(stated, check_metadata=True):
            return "its schema is not the one that the index states"
        entries = [_unpacked(batch) for batch in check.entry["batches"]]
    except (pa.ArrowException, KeyError, TypeError, ValueError, zlib.error) as error:
        return f"what the index states of its schema and record batches can't be read: {error!r}"
    batches = [_unpacked(batch) for batch in arrow_batches(path)]
    if batches == entries:
        return None
    differing = (
        i for i, pair in enumerate(zip(batches, entries, strict=False)) if pair[0] != pair[1]
    )
    number = next(differing, min(len(batches), len(entries)))
    return f"record batch {number} is not what the index states; build the config again"


def _unpacked(batch: Json) -> Json:
    """A batch of the index with its message as it was before zlib, of which there are several."""
    return {**batch, "message": zlib.decompress(base64.b64decode(batch["message"]))}
