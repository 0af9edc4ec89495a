"""Is a dist what its indexes say? Indexes first, then hashes, then every row, image and mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa

from asam_datasets.index import Index
from asam_datasets.shards import Shard
from builder.checking.index import Problem, check_index, without_index
from builder.checking.rows import check_row, check_train_row, read_rows
from builder.core.errors import ContractError, ShardError
from builder.core.layout import config_folder, configs
from builder.shards.index import read_index
from builder.shards.receipt import check_file
from builder.shards.write import arrow_batches


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """One shard to check, as the index describes it. Picklable."""

    dist: Path
    config: str
    kind: str
    fmt: str
    features: datasets.Features
    shard: Shard
    fast: bool

    @classmethod
    def of(cls, dist: Path, index: Index, shard: Shard, *, fast: bool) -> ShardCheck:
        """The check of a shard of an index."""
        return cls(dist, index.config, index.kind, index.format, index.features, shard, fast)


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
        except (ShardError, ContractError) as error:
            problems.append(Problem(config, f"its index can't be used: {error}"))
            continue
        problems += check_index(dist, index)
        shards += [ShardCheck.of(dist, index, shard, fast=fast) for shard in index.shards]
    return problems, shards


def check_shard(
    check: ShardCheck, on_row: Callable[[int, int], None] = lambda rows, masks: None
) -> list[Problem]:
    """Check one shard: its hash, and unless `fast` its rows. `on_row` is told (rows, masks)."""
    name = check.shard.file
    path = config_folder(check.dist, check.config) / name
    try:
        check_file(path, check.shard)
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
    """What the index says wrongly of an Arrow shard: its columns, its record batches."""
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.read_schema(file)
    try:  # the metadata's wording differs between versions of datasets
        found = datasets.Features.from_arrow_schema(schema)
    except Exception as error:  # datasets raises what it likes
        return f"its schema's metadata can't be read: {error!r}"
    if found != check.features:
        return "its schema is not the one that the index states"
    batches = arrow_batches(path, check.features.arrow_schema)
    if tuple(batches) == check.shard.batches:
        return None
    pairs = zip(batches, check.shard.batches, strict=False)
    differing = (i for i, (found, stated) in enumerate(pairs) if found != stated)
    number = next(differing, min(len(batches), len(check.shard.batches)))
    return f"record batch {number} is not what the index states; build the config again"
