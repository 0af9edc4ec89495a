"""Compares the counts and sizes of a config with those in its index and its receipts.

This is fast, because it compares no content. `builder.verify` compares every byte.
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
    """A count in the index and the same count from another place.

    Parameters
    ----------
    what
        What is counted.
    index
        The count in the index.
    found
        The other count; None if there is none to compare with.
    found_in
        Where the other count comes from.
    """

    what: str
    index: int
    found: int | None
    found_in: str

    @property
    def agrees(self) -> bool:
        """Whether both counts are equal, or there is nothing to compare with."""
        return self.found is None or self.found == self.index


@dataclass(frozen=True, slots=True)
class Counts:
    """All comparisons, other problems in words, and notes on what was not compared."""

    counts: list[Count]
    problems: list[str]
    notes: list[str]

    @property
    def faults(self) -> list[str]:
        """One line for each comparison that disagrees, and for each problem."""
        lines = [
            f"{count.what}: {count.index:,} in the index, {count.found:,} in {count.found_in}"
            for count in self.counts
            if not count.agrees
        ]
        return lines + self.problems


def compare(config: Config, statistics: Statistics, rejects: Sequence[Reject]) -> Counts:
    """Compare the index with the rows that were read, the rejects, the shards and the receipts.

    Parameters
    ----------
    config
        The config. Shards and receipts are compared only in a local dist.
    statistics
        The statistics of the rows that were read.
    rejects
        The rejects table.
    """
    index = config.index
    problems: list[Problem] = []
    notes: list[str] = []
    if config.folder is None:
        notes.append("sizes and receipts are compared only in a local dist, not in a repo")
    else:
        problems = list(_problems(config.folder, index))
        if not receipts_folder(config.folder, config.name).is_dir():
            notes.append("this dist has no receipts: they stay in the dist that was built")
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
    """The comparisons. `rejects` is None if the table is not that of the index."""
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
    """The problems that verify would find, without comparing checksums of shards, which is slow."""
    tree = Folder(dist)
    yield from check_config(tree, index.config)[0]
    for shard in index.shards:
        if problem := check_stated(tree, index.config, shard, hashed=False):
            yield problem
