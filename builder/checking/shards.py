"""Is a dist what its indexes say? Indexes first, then hashes, then every row, image and mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import pyarrow as pa

from asam_datasets.index import Index
from asam_datasets.shards import Shard
from builder.checking.index import check_config, check_stated
from builder.checking.names import wrong_name
from builder.checking.problem import Problem
from builder.checking.rows import check_row, check_train_row, read_rows
from builder.checking.top import check_top
from builder.checking.tree import Folder, Tree
from builder.core.errors import ShardError
from builder.core.layout import absent_configs, config_folder
from builder.shards.write import arrow_batches

SAMPLED = 50  # rows


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """One shard of a dist to check, as the index describes it. Picklable.

    With `fast` its size and its sha256 are all that is looked at. With `independent` every picture
    and mask is decoded. Without it, those of one row in `SAMPLED` are, and what does not have the
    encoders' bytes. `upright` says whether its images must have EXIF orientation 1.
    """

    dist: Path
    config: str
    kind: str
    fmt: str
    features: datasets.Features
    shard: Shard
    fast: bool
    upright: bool
    independent: bool = True

    @classmethod
    def of(
        cls, dist: Path, index: Index, shard: Shard, *, fast: bool, independent: bool = True
    ) -> ShardCheck:
        """The check of a shard of an index."""
        return cls(
            dist,
            index.config,
            index.kind,
            index.format,
            index.features,
            shard,
            fast,
            upright=index.settings.get("masks_fit") == "stored",
            independent=independent,
        )

    def decodes(self, row: int) -> bool:
        """Whether all of a row is decoded. Which rows are follows from the shard's sha256."""
        return self.independent or (row + int(self.shard.sha256[:8], 16)) % SAMPLED == 0


def plan_checks(
    tree: Tree, only: Sequence[str] | None = None
) -> tuple[list[Problem], list[tuple[Index, Shard]]]:
    """Check all but the shards; returns what is wrong, and the shards that are left to check.

    Parameters
    ----------
    tree
        A dist or a repo.
    only
        The configs to check; None for all of them.

    Raises
    ------
    ShardError
        It holds no config, or lacks one that was asked for.
    """
    known = tree.configs
    if not known:
        raise ShardError(f"{tree.name}: no data/<config>/index.json in it; is it a dist?")
    if absent := absent_configs(only or (), known, tree.folders):
        raise ShardError(f"{tree.name}: {absent}")
    problems: list[Problem] = []
    shards: list[tuple[Index, Shard]] = []
    for config in only or known:
        found, index = check_config(tree, config)
        problems += found
        if index:
            shards += [(index, shard) for shard in index.shards]
    named = [index.path(shard) for index, shard in shards]
    return [*check_top(tree, only, named), *problems], shards


def check_shard(
    check: ShardCheck, on_row: Callable[[int, int], None] = lambda rows, masks: None
) -> list[Problem]:
    """Check one shard: its hash, and unless `fast` its rows. `on_row` is told (rows, masks)."""
    config, name = check.config, check.shard.file
    path = config_folder(check.dist, config) / name
    if problem := check_stated(Folder(check.dist), config, check.shard):
        return [problem]
    if check.fast:
        return []
    problems = []
    number = 0
    try:
        if check.fmt == "arrow" and (wrong := _check_layout(path, check)):
            problems.append(Problem(config, wrong, name))
        train = check.kind == "train"
        faults = check_train_row if train else partial(check_row, upright=check.upright)
        for row in read_rows(path, check.fmt):
            if wrong := wrong_name(row, train=train):
                problems.append(Problem(config, wrong, name, number))
            wrongs = faults(row, independent=check.decodes(number))
            problems += [Problem(config, what, name, number) for what in wrongs]
            on_row(1, len(row["masks"]))
            number += 1
    except (pa.ArrowException, OSError, ShardError, ValueError) as error:
        problems.append(Problem(config, f"can't be read on: {error}", name, number))
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
