"""What passes between a source and a shard: items to read, rows to write, rejects to keep.

A source first lists its records as a `Listing`, without reading a pixel. The plan assigns the items
to shards. A worker then reads each item into an `Outcome`: a row of the schema in `asam_datasets`,
or no row, and the rejects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]
LONGEST_TEXT = 500  # characters of what a reject expected or found


@dataclass(frozen=True, slots=True)
class Reject:
    """A record, one annotation of it, or a line of the captions file that was not used, and why.

    `member` is the path within the source, or a line of the captions file. `annotation_id` is None
    if no annotation is meant. For an annotation of SA-1B without a usable id, it is the place in
    the json, such as "annotations[3]". `reason` is a short snake_case word, the same for the same
    fault everywhere.
    """

    source: str
    member: str
    reason: str
    expected: str
    found: str
    annotation_id: int | str | None = None

    def __post_init__(self) -> None:
        for name in ("expected", "found"):
            if len(text := getattr(self, name)) > LONGEST_TEXT:
                object.__setattr__(self, name, f"{text[: LONGEST_TEXT - 3]}...")


@dataclass(frozen=True, slots=True)
class Item:
    """One record to read: what the plan deals out to shards. Picklable.

    `num_bytes` estimates the row's size. `locator` tells the source where the record is; nothing
    else reads it. `version`, an mtime or an ETag, changes when the file was written again. It does
    not decide the shard of an item. If it differs from that of an earlier build, the item's bytes
    are compared with those that the shard was made of. `member` is the record's path within the
    source, as a reject names it; by default the key.
    """

    key: str
    num_bytes: int
    locator: Any
    split: str = "train"
    version: str = ""
    member: str = ""


@dataclass(slots=True)
class Listing:
    """What a source holds, before any record is read.

    `fingerprint` identifies the input: name, size, number of members, and the sha256 of the table
    of members. A run that finds another fingerprint knows that the source changed. `notes` are
    lines for the summary, and `warnings` those that say what may be wrong. `records` counts the
    usable records of the whole source, where only some of them were selected. `captions` counts the
    captions that it was given. `masks` is how many masks the whole source has, where that was
    published.
    """

    items: list[Item]
    fingerprint: Json
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    records: int | None = None
    captions: int = 0
    masks: int | None = None

    def summary(self) -> Listed:
        """All of it except the items."""
        return Listed(
            items=len(self.items),
            fingerprint=self.fingerprint,
            rejects=tuple(self.rejects),
            notes=tuple(self.notes),
            warnings=tuple(self.warnings),
            records=len(self.items) if self.records is None else self.records,
            captions=self.captions,
            masks=self.masks,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a source holds, as a listing says it, without the items themselves.

    `items` counts them. The other fields are those of `Listing`.
    """

    items: int
    fingerprint: Mapping[str, Any]
    rejects: tuple[Reject, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    records: int = 0
    captions: int = 0
    masks: int | None = None


@dataclass(slots=True)
class Outcome:
    """The result of reading one item.

    `row` maps the columns of the config's features to Python values, or is None if the record can't
    be used. Images are `{"bytes": ..., "path": ...}`. `unknown_keys` counts the keys that the
    source's format does not document, by name. `inputs` is what `Reader.inputs` gives of the item.
    `orientation_reset` says whether the image's EXIF orientation was set to 1.
    """

    row: dict[str, Any] | None
    rejects: list[Reject] = field(default_factory=list)
    unknown_keys: Counter[str] = field(default_factory=Counter)
    inputs: str = ""
    orientation_reset: bool = False


class Reader(Protocol):
    """An open source."""

    def read(self, item: Item) -> Outcome:
        """Read and check one item."""
        ...

    def inputs(self, item: Item) -> str:
        """A checksum of all bytes that `read` would read of the item. It decodes nothing."""
        ...


class Source(Protocol):
    """A tar, a folder or an evaluation release. Picklable: each worker opens it for itself.

    `config` is the config's name. `name` is the value of the column `source`. `kind` is "train" or
    "eval", and says which features the rows have.
    """

    @property
    def config(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...

    def listing(self) -> Listing:
        """List the records; raises SourceError when the source can't be read as a whole."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Every option of this source that changes the bytes of a row, as JSON values."""
        ...

    def open(self) -> AbstractContextManager[Reader]:
        """Open for reading, in the process that calls it."""
        ...
