"""Does what a config holds agree with what its index and its receipts say?

Counts and sizes only, so that it takes no time; `builder.verify` compares every byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.checking.shards import plan_checks
from builder.core.layout import config_folder, receipts_folder
from builder.core.records import Json
from builder.previewing.reading import Config, shards
from builder.previewing.statistics import Statistics
from builder.shards.receipt import count_rejects, read_receipt


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


def compare(config: Config, statistics: Statistics, rejects: list[Json]) -> Counts:
    """Compare the index with the rows that were read, the rejects table, shards and receipts."""
    index = config.json
    counts = list(_content(index, statistics, rejects))
    problems: list[str] = []
    notes: list[str] = []
    if not statistics.complete:
        notes.append(
            f"masks and captions were counted in {statistics.rows:,} of {statistics.total:,} rows, "
            "so they are not compared (--statistics-rows all)"
        )
    if config.folder is None:
        notes.append("sizes and receipts are compared where the build ran, not in a repo")
        return Counts(counts, problems, notes)
    counts += _files(config.folder, index)
    problems += [str(problem) for problem in plan_checks(config.folder, [config.name])[0]]
    receipts = list(_receipts(config.folder, index))
    counts += receipts
    if not receipts:
        notes.append("there are no receipts here: they stay where the build ran")
    return Counts(counts, problems, notes)


def _content(index: Json, statistics: Statistics, rejects: list[Json]) -> Iterator[Count]:
    stated = index["counts"]
    yield Count("images", stated["images"], statistics.total, "the splits")
    by_shards = sum(shard["rows"] for shard in shards(index))
    yield Count("rows of all shards", statistics.total, by_shards, "the shards' entries")
    whole = statistics.complete
    yield Count("rows", statistics.total, statistics.rows if whole else None, "the rows read")
    yield Count("masks", stated["masks"], statistics.masks if whole else None, "the rows read")
    if index["kind"] == "train":
        missing = statistics.captions_missing if whole else None
        yield Count("captions missing", stated["captions_missing"], missing, "the rows read")
    yield Count("rejects", index["rejects"]["rows"], len(rejects), "rejects.jsonl")
    found = count_rejects(rejects)
    for reason in sorted({*stated["rejects"], *found}):
        here, there = stated["rejects"].get(reason, 0), found.get(reason, 0)
        yield Count(f"rejected: {reason}", here, there, "rejects.jsonl")


def _files(dist: Path, index: Json) -> Iterator[Count]:
    entries = shards(index)
    folder = config_folder(dist, index["config"])
    sizes = [
        (folder / shard["file"]).stat().st_size
        for shard in entries
        if (folder / shard["file"]).is_file()
    ]
    yield Count("shards", len(entries), len(sizes), "the folder")
    yield Count("bytes", sum(shard["bytes"] for shard in entries), sum(sizes), "the folder")


def _receipts(dist: Path, index: Json) -> Iterator[Count]:
    """The sums over the receipts, if the dist has any."""
    if not receipts_folder(dist, index["config"]).is_dir():
        return
    found = [read_receipt(dist, index["config"], shard["file"]) for shard in shards(index)]
    receipts = [receipt for receipt in found if receipt is not None]
    yield Count("receipts", len(found), len(receipts), "the receipts")
    same = [
        receipt
        for receipt, shard in zip(found, shards(index), strict=True)
        if receipt is not None and receipt.entry["sha256"] == shard["sha256"]
    ]
    yield Count("shards' sha256", len(found), len(same), "the receipts")
    captions = ["captions_missing"] if index["kind"] == "train" else []
    for what in ["images", "masks", *captions]:
        total = sum(receipt.counts.get(what, 0) for receipt in receipts)
        yield Count(what.replace("_", " "), index["counts"][what], total, "the receipts")
