"""What a build of a config gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asam_datasets.index import Index
from builder.core.records import Listed


@dataclass(frozen=True, slots=True)
class Built:
    """A config with all its shards.

    `reused` counts the shards that were done before. `refused` says of what too much was rejected;
    the index was then not written.
    """

    index: Index
    listing: Listed
    reused: int
    seconds: float
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BuiltPart:
    """A part of a config's shards.

    `shards` counts those of the part, `total` all of the config's, `reused` those of the part that
    were done before. `rejects` counts what the part's shards rejected.
    """

    shards: int
    total: int
    reused: int
    images: int
    masks: int
    rejects: int
    seconds: float
