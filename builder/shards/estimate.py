"""Estimates a build from a few records."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.core.pool import workers_for
from builder.core.records import Source
from builder.shards.plan import Settings, make_plan

_PROBES = 8  # a dry run reads this many records for its estimate


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of a dry run. Masks, bytes and seconds are estimated from `probes` records."""

    config: str
    images: int
    masks: int
    shards: int
    bytes: int
    seconds: float
    workers: int
    probes: int


def estimate_config(source: Source, settings: Settings, *, workers: int | None = None) -> Estimate:
    """Plan a config and estimate its size and time from a few records; writes nothing."""
    listing = source.listing()
    shards = make_plan(listing, settings.shard_size)
    step = max(1, len(listing.items) // _PROBES)
    probes = listing.items[::step][:_PROBES]
    planned = sum(item.num_bytes for item in listing.items)
    masks, size = 0, 0
    started = time.perf_counter()
    with source.open() as reader:
        for item in probes:
            row = reader.read(item).row
            masks += len(row["masks"]) if row else 0
            size += _weight(row) if row else 0
    seconds = (time.perf_counter() - started) / max(1, len(probes)) * len(listing.items)
    processes = min(workers or workers_for(planned), max(1, len(shards)))
    share = planned / max(1, sum(item.num_bytes for item in probes))
    return Estimate(
        config=source.config,
        images=len(listing.items),
        masks=round(masks / max(1, len(probes)) * len(listing.items)),
        shards=len(shards),
        bytes=round(size * share),
        seconds=seconds / processes,
        workers=processes,
        probes=len(probes),
    )


def _weight(row: Mapping[str, Any]) -> int:
    """About how many bytes a row takes in a shard."""

    def weigh(value: Any) -> int:
        if isinstance(value, bytes | str):
            return len(value)
        if isinstance(value, Mapping):
            return sum(map(weigh, value.values()))
        if isinstance(value, list):
            return 4 + sum(map(weigh, value))
        return 8

    return weigh(row)
