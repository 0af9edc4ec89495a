"""Does what a config holds agree with what its index and its receipts say?

Counts and sizes only, so that it takes no time; `builder.verify` compares every byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asam_datasets.index import Index
from builder.checking.index import check_config, check_stated
from builder.checking.problem import Problem
from builder.checking.tree import Folder
from builder.core.layout import REJECTS, receipts_folder
from builder.core.records import Reject
from builder.core.rejects import count_reasons
from builder.previewing.reading import Config
from builder.previewing.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Count:
    """A count in two places that must agree; None where there was nothing to compare with.

    `found_in` says where the second number comes from.
    """

    what: str
    index: int
    found: int | None
    found_in: str

    @property
    def agrees(self) -> bool:
        """Whether they agree, or can't be compared."""
        return self.found is None or self.found == self.index


@dataclass(frozen=True, slots=True)
class Counts:
    """All comparisons, and what else is wrong, in words."""

    counts: list[Count]
    problems: list[str]
    notes: list[str]

    @property
    def faults(self) -> list[str]:
        """One line for everything that disagrees."""
        lines = [
            f"{count.what}: {count.index:,} in the index, {count.found:,} in {count.found_in}"
            for count in self.counts
            if not count.agrees
        ]
        return lines + self.problems


def compare(config: Config, statistics: Statistics, rejects: Sequence[Reject]) -> Counts:
    """Compare the index with the rows that were read, the rejects table, shards and receipts."""
    index = config.index
    problems: list[Problem] = []
    notes: list[str] = []
    if config.folder is None:
        notes.append("sizes and receipts are compared where the build ran, not in a repo")
    else:
        problems = list(_problems(config.folder, index))
        if not receipts_folder(config.folder, config.name).is_dir():
            notes.append("there are no receipts here: they stay where the build ran")
    if not statistics.complete:
        notes.append(
            f"masks and captions were counted in {statistics.rows:,} of {statistics.total:,} rows, "
            "so they are not compared (--statistics-rows all)"
        )
    table = not any(problem.shard == REJECTS for problem in problems)
    counts = list(_content(index, statistics, rejects if table else None))
    return Counts(counts, [str(problem) for problem in problems], notes)


def _content(
    index: Index, statistics: Statistics, rejects: Sequence[Reject] | None
) -> Iterator[Count]:
    """Counts of the rows and of the rejects; None for rejects that are known to be others."""
    stated = index.counts
    whole = statistics.complete
    yield Count("images", stated.images, statistics.total, "the splits")
    yield Count("rows", statistics.total, statistics.rows if whole else None, "the rows read")
    yield Count("masks", stated.masks, statistics.masks if whole else None, "the rows read")
    if index.kind == "train":
        missing = statistics.captions_missing if whole else None
        yield Count("captions missing", stated.captions_missing, missing, "the rows read")
    found = None if rejects is None else count_reasons(rejects)
    total = None if rejects is None else len(rejects)
    yield Count("rejects", index.rejects.rows, total, REJECTS)
    for reason in sorted({*stated.rejects, *(found or ())}):
        there = None if found is None else found.get(reason, 0)
        yield Count(f"rejected: {reason}", stated.rejects.get(reason, 0), there, REJECTS)


def _problems(dist: Path, index: Index) -> Iterator[Problem]:
    """What verify finds in the config, but for checksums of shards, which take time."""
    tree = Folder(dist)
    yield from check_config(tree, index.config)[0]
    for shard in index.shards:
        if problem := check_stated(tree, index.config, shard, hashed=False):
            yield problem
