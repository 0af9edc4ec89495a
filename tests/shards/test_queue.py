"""The shards of many sources are one queue."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from builder.core.engine import LocalEngine, OnRow, Outcomes
from builder.core.errors import SourceError
from builder.core.layout import config_folder
from builder.core.records import Item, Json, Listing, Outcome, Reject
from builder.shards.built import Built
from builder.shards.config import BuildOptions, build_configs
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, open_sources
from tests.factory import members, write_tar

T = TypeVar("T")
R = TypeVar("R")
ITEMS = 50
SIZE = 10**9  # one source has work for all cores, so no second one is listed before it begins


class Place:
    """Where a record is. It counts those that are in memory."""

    living: ClassVar[weakref.WeakSet[Place]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.living.add(self)


@dataclass(frozen=True)
class Synthetic:
    """A source of records that can't be used."""

    config: str
    name: str = "synthetic"
    kind: str = "train"

    def listing(self) -> Listing:
        items = [Item(f"{self.config} {i}", SIZE, Place()) for i in range(ITEMS)]
        source = {"name": self.name, "size": 0, "members": ITEMS, "sha256": ""}
        return Listing(items, source)

    def settings(self) -> Json:
        return {}

    @contextmanager
    def open(self) -> Iterator[Synthetic]:
        yield self

    def inputs(self, item: Item) -> str:
        return item.key

    def read(self, item: Item) -> Outcome:
        return Outcome(None, [Reject(self.name, item.key, "synthetic", "a record", "none")])


def test_the_memory_does_not_grow_with_the_number_of_sources(tmp_path: Path) -> None:
    sources = [Synthetic(f"sa_{number}") for number in range(25)]
    options = BuildOptions(quiet=True, engine=LocalEngine(1))
    ended, most = 0, 0
    for _, built in build_configs(sources, tmp_path, Settings("arrow", SIZE * ITEMS // 2), options):
        assert isinstance(built, Built)
        ended += 1
        gc.collect()
        if ended > len(sources) // 2:
            most = max(most, len(Place.living))
    assert ended == len(sources)
    assert most <= 4 * ITEMS  # one is built, one waits, one is planned, one was let go


class Backwards:
    """An engine that takes all tasks, and then calls the last one first."""

    def stream(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        yield from LocalEngine(1).stream(function, list(tasks)[::-1], on_row)

    def one_by_one(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        yield from LocalEngine(1).one_by_one(function, tasks, on_row)


def test_the_order_of_the_tasks_changes_nothing(tmp_path: Path) -> None:
    (one,) = open_sources([str(write_tar(tmp_path / "one.tar", members(range(1, 9))))])
    (two,) = open_sources([str(write_tar(tmp_path / "two.tar", members(range(9, 17))))])
    absent = Sa1bSource(open_sources([str(tmp_path / "absent.tar")])[0].archive, "absent")
    found = []
    for name, engine in (("plain", LocalEngine(1)), ("backwards", Backwards())):
        options = BuildOptions(quiet=True, engine=engine)
        results = build_configs(
            [one, absent, two], tmp_path / name, Settings("arrow", 20_000), options
        )
        ended = {source.config: type(built) for source, built in results}
        assert ended == {"one": Built, "absent": SourceError, "two": Built}
        folders = [config_folder(tmp_path / name, config) for config in ("one", "two")]
        found.append({p.name: p.read_bytes() for f in folders for p in f.iterdir()})
    assert found[0] == found[1]
