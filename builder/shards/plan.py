"""The plan says which records go into which shard. It depends only on the source and the settings.

Every machine computes the same plan from them. Therefore shards can be built, resumed, distributed,
uploaded and verified one by one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.metadata import version

from builder.core.errors import SettingsError
from builder.core.files import sha256_json
from builder.core.layout import FORMATS, shard_name
from builder.core.records import Item, Json, Listing, Source

# The libraries whose output is part of a shard. The PNGs are made by the project's own encoder.
ENCODERS = ("datasets", "pyarrow")
# Raise this when a change of the code makes other bytes of the same input. Since version 2 the
# control image orders masks as ASAM does, by the area of their boxes. Since version 3 the masks fit
# the picture as EXIF turns it.
ROW_VERSION = 3
# With this, an SA-1B tar with 12 GB of rows becomes 64 shards of about 190 MB.
DEFAULT_SHARD_SIZE = 256 * 10**6


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard to build.

    Parameters
    ----------
    split
        The shard's split.
    index, total
        The shard's number, from 0 on, and how many shards the split has.
    items
        The shard's items in row order.
    """

    split: str
    index: int
    total: int
    items: tuple[Item, ...]

    def file(self, fmt: str) -> str:
        """The shard's file name."""
        return shard_name(self.split, self.index, self.total, fmt)

    def sha256(self) -> str:
        """Identifies the shard's items by their names and sizes."""
        return sha256_json([[item.key, item.num_bytes] for item in self.items])

    def versions_sha256(self) -> str:
        """Identifies the versions of the items' files, which a copy of the files changes."""
        return sha256_json([item.version for item in self.items])


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a build that do not belong to the source.

    Parameters
    ----------
    fmt
        One of `FORMATS`.
    shard_size
        The size in bytes that the shards of a split have at most on average; see `make_plan`.

    Raises
    ------
    SettingsError
        There is no such format, or the size is below one byte.
    """

    fmt: str
    shard_size: int

    def __post_init__(self) -> None:
        if self.fmt not in FORMATS:
            raise SettingsError(f"format {self.fmt!r}: expected one of {', '.join(FORMATS)}")
        if self.shard_size < 1:
            raise SettingsError(f"shard size {self.shard_size}: expected at least one byte")

    def as_json(self, source: Source) -> Json:
        """All settings that decide the bytes of a shard of this source, as JSON values.

        They include the versions of what writes bytes: pyarrow writes the file, datasets the
        features into the schema, and `builder/masks` the PNGs.
        """
        return {
            "format": self.fmt,
            "shard_size": self.shard_size,
            **encoding(),
            **source.settings(),
        }


def encoding() -> Json:
    """What of this installation decides the bytes of a shard, as the settings hold it."""
    from builder.masks.tables import PNG_VERSION  # it imports numpy, which --help does without

    return {
        "row_version": ROW_VERSION,
        "encoders": {**{name: version(name) for name in ENCODERS}, "png": PNG_VERSION},
    }


def make_plan(listing: Listing, shard_size: int) -> list[ShardPlan]:
    """Divide the items of each split among shards of about equal size in bytes.

    Parameters
    ----------
    listing
        The items in row order. The order within a split does not change.
    shard_size
        The size in bytes that the shards of a split have at most on average. The number of shards
        is the smallest power of two that achieves this, so that it divides evenly among 2, 4, 8,
        ... ranks. It is never larger than the number of items. A single shard may exceed the size:
        it takes whole items, and their sizes are estimates.
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
    # Cut where the running sum reaches the i-th part of the size. Every shard gets an item.
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
