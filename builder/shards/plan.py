"""The plan: which record goes into which shard, from the input and the settings alone.

Any machine that is given the same source and settings computes the same plan, so a shard is the
unit of work, of resume, of distribution, of upload and of verification.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.metadata import version

from builder.core.errors import SettingsError
from builder.core.files import sha256_json
from builder.core.layout import FORMATS, shard_name
from builder.core.records import Item, Json, Listing, Source

# The libraries whose output is part of a shard.
ENCODERS = ("datasets", "isal", "pyarrow")
# The row's own version: raise it when the same input gives other bytes. In version 2 the control
# image has ASAM's order, by the area of the box; in version 1 it had another.
ROW_VERSION = 2
# A whole SA-1B tar, some 12 GB of rows, comes to 64 shards of about 190 MB.
DEFAULT_SHARD_SIZE = 256 * 10**6


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to be: its place among its split's shards, and its items in row order."""

    split: str
    index: int
    total: int
    items: tuple[Item, ...]

    def file(self, fmt: str) -> str:
        """The shard's file name."""
        return shard_name(self.split, self.index, self.total, fmt)

    def sha256(self) -> str:
        """Names what goes in: the items and the versions of their bytes."""
        return sha256_json([[item.key, item.num_bytes, item.version] for item in self.items])


@dataclass(frozen=True, slots=True)
class Settings:
    """What changes the bytes of a shard, beside the source and its own settings."""

    fmt: str
    shard_size: int

    def __post_init__(self) -> None:
        if self.fmt not in FORMATS:
            raise SettingsError(f"format {self.fmt!r}: expected one of {', '.join(FORMATS)}")
        if self.shard_size < 1:
            raise SettingsError(f"shard size {self.shard_size}: expected at least one byte")

    def as_json(self, source: Source) -> Json:
        """All settings that a shard of this source is built with, as JSON values.

        The versions of the libraries that write bytes of a shard are among them: isal compresses
        the PNGs, pyarrow writes the file, and datasets words the features in its schema.
        """
        return {
            "format": self.fmt,
            "shard_size": self.shard_size,
            "row_version": ROW_VERSION,
            "encoders": {name: version(name) for name in ENCODERS},
            **source.settings(),
        }


def make_plan(listing: Listing, shard_size: int) -> list[ShardPlan]:
    """Deal the items out: each split into a power of two of shards of about equal bytes.

    Parameters
    ----------
    listing
        The items in row order; each split's items stay in that order.
    shard_size
        Bytes that no shard should pass; the smallest power of two that keeps to it is taken. A
        power of two divides among ranks.
    """
    splits: dict[str, list[Item]] = {}
    for item in listing.items:
        splits.setdefault(item.split, []).append(item)
    return [shard for split, items in splits.items() for shard in _deal(split, items, shard_size)]


def _deal(split: str, items: list[Item], shard_size: int) -> list[ShardPlan]:
    size = sum(item.num_bytes for item in items)
    total = 1
    while size > total * shard_size and 2 * total <= len(items):
        total *= 2
    # Cut where the running sum passes the i-th part, but leave every shard an item.
    ends = list(itertools.accumulate(item.num_bytes for item in items))
    cuts = [0]
    for index in range(1, total):
        first, last = cuts[-1] + 1, len(items) - (total - index)
        cut = next((i for i in range(first, last) if ends[i - 1] * total >= size * index), last)
        cuts.append(cut)
    cuts.append(len(items))
    return [
        ShardPlan(split, index, total, tuple(items[start:end]))
        for index, (start, end) in enumerate(itertools.pairwise(cuts))
    ]
