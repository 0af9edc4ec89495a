"""Compares what an index counts with the rows of its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.compute as pc

from asam_datasets.index import Index
from builder.checking.names import read_names, repeated_names
from builder.checking.problem import Problem
from builder.checking.rows import read_batches
from builder.core.layout import config_folder


def count_rows(path: Path, fmt: str) -> Counter[str]:
    """What a local shard holds: `masks`, `captions_missing`, and `images` that have pixels."""
    counts: Counter[str] = Counter()
    for batch in read_batches(path, fmt):
        counts["masks"] += pc.sum(pc.list_value_length(batch["masks"])).as_py() or 0
        counts["images"] += batch.num_rows - batch["image"].null_count
        if "text" in batch.schema.names:
            counts["captions_missing"] += batch["text"].null_count
    return counts


def check_counts(index: Index, found: Counter[str]) -> Iterator[Problem]:
    """Compare an index with the counts of all its shards together."""
    images = 0 if index.annotations_only else index.num_rows
    stated = {
        "masks": index.counts.masks,
        "captions_missing": index.counts.captions_missing,
        "images": images,
    }
    names = {"images": "images with pixels", "captions_missing": "rows without a caption"}
    for name, count in stated.items():
        if found[name] != count:
            what = names.get(name, name)
            yield Problem(
                index.config,
                f"it states {count:,} {what}, and the rows hold {found[name]:,}; build it again",
                "index.json",
            )


def check_dist_counts(
    dist: Path, indexes: Iterable[Index], problems: Iterable[Problem]
) -> Iterator[Problem]:
    """Compare the indexes of a dist with its rows, where no other problem was found.

    No two rows of a split may have one name, either.
    """
    faulty = {problem.config for problem in problems}
    for index in indexes:
        if index.config not in faulty:
            folder = config_folder(dist, index.config)
            shards = (count_rows(folder / shard.file, index.format) for shard in index.shards)
            yield from check_counts(index, sum(shards, Counter()))
            for split, described in index.splits.items():
                files = (folder / shard.file for shard in described.shards)
                names = (name for file in files for name in read_names(file, index.format))
                yield from check_names(index, split, names)


def check_names(index: Index, split: str, names: Iterable[str]) -> Iterator[Problem]:
    """The names that several rows of a split have."""
    for what in repeated_names(names):
        yield Problem(index.config, f"split {split}: {what}; build it again")
