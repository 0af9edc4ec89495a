"""Reading record batches: a bad range is read twice, and reading ahead is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from asam_datasets import CorruptDataError, Files, Index, Reader, open_index, reading
from asam_datasets.shards import Place
from tests.loading.conftest import Row

CONFIG = "sa_000000"


class Unreliable(Files):
    """A folder whose first readings of a range of a shard come with a bit flipped, or cut."""

    def __init__(self, root: str, *, bad: int, cut: bool) -> None:
        super().__init__(root)
        self.bad, self.cut = bad, cut
        self.ranges: list[tuple[int | None, int | None]] = []

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        data = super().read(path, start, end)
        self.ranges.append((start, end))
        if len(self.ranges) > self.bad:
            return data
        return data[:-1] if self.cut else data[:-1] + bytes([data[-1] ^ 1])


def opened(dist: Path) -> tuple[Index, list[Place]]:
    """The index of the dist's config, and all its record batches."""
    index = open_index(Files(str(dist)), CONFIG)
    return index, index.places(index.shards)


@pytest.mark.parametrize("cut", [False, True])
def test_a_range_that_comes_damaged_once_is_read_again(
    dist: Path, rows: list[Row], cut: bool
) -> None:
    index, places = opened(dist)
    store = Unreliable(str(dist), bad=1, cut=cut)
    read = Reader(store, index, ["text", "image_id"], None).read(places[0])
    assert read.to_pylist() == [
        {"text": row["text"], "image_id": row["image_id"]} for row in rows[: places[0].rows]
    ]
    first, second = store.ranges
    assert first == second


@pytest.mark.parametrize(("cut", "message"), [(False, "crc32 .* expected"), (True, "is cut")])
def test_a_range_that_comes_damaged_twice_is_an_error(dist: Path, cut: bool, message: str) -> None:
    index, places = opened(dist)
    store = Unreliable(str(dist), bad=2, cut=cut)
    with pytest.raises(CorruptDataError, match=message):
        Reader(store, index, ["text"], None).read(places[0])
    assert len(store.ranges) == 2


def begun(reader: Reader, places: list[Place], consumed: int) -> int:
    """How many record batches were asked for once so many were consumed."""
    taken: list[Place] = []

    def given() -> Iterator[Place]:
        for place in places:
            taken.append(place)
            yield place

    batches = reader.read_ahead(given())
    assert len(list(islice(batches, consumed))) == consumed
    batches.close()  # type: ignore[attr-defined]
    return len(taken)


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_no_more_bytes_are_read_ahead_than_stated(
    dist: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Once the bytes of the batches under way reach the bound, the next one waits."""
    index, places = opened(dist)
    reader = Reader(Files(str(dist)), index, None, None)
    sizes = {reader.size(place) for place in places}
    monkeypatch.setattr(reading, "AHEAD_BYTES", batches * max(sizes))
    # The next batch is known, but waits for one of those before it to be consumed.
    assert begun(reader, places, 1) == batches + 1
    assert begun(reader, places, 4) == batches + 4


def test_a_batch_larger_than_the_bound_is_read_alone(
    dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, places = opened(dist)
    monkeypatch.setattr(reading, "AHEAD_BYTES", 1)
    reader = Reader(Files(str(dist)), index, None, None)
    assert begun(reader, places, 1) == 2
    assert begun(reader, places, len(places)) == len(places)


def test_no_more_batches_are_read_ahead_than_stated(dist: Path) -> None:
    index, places = opened(dist)
    reader = Reader(Files(str(dist)), index, ["image_id"], None)
    assert begun(reader, places, 1) == reading.AHEAD_BATCHES + 1
