"""The order of a shuffled stream, and the units that ranks and workers are dealt."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asam_datasets import Files, Reader, RowStream, load, open_index, units
from asam_datasets.shards import Place
from asam_datasets.stream import WINDOW, deal
from tests.loading.conftest import image_ids

CONFIG = "sa_000000"
COUNTS = {1: 1, 2: 2, 3: 2, 7: 4, 40: 32, 47: 32, 48: 48, 63: 48, 64: 64, 96: 96, 200: 192}


def ids(dist: Path, seed: int, epoch: int) -> list[int]:
    """The image ids in the order of a seed and an epoch."""
    options: dict[str, Any] = {"repo_or_path": dist, "streaming": True, "columns": ["image_id"]}
    return image_ids(load(CONFIG, shuffle_seed=seed, epoch=epoch, **options))


@pytest.fixture(scope="module")
def places(dist: Path) -> list[Place]:
    index = open_index(Files(str(dist)), CONFIG)
    return index.places(index.shards)


@pytest.mark.parametrize(("batches", "count"), COUNTS.items())
def test_units_are_a_power_of_two_or_three_times_one(
    places: list[Place], batches: int, count: int
) -> None:
    many = (places * 5)[:batches]
    found = units(many)
    assert len(found) == count
    assert [place for unit in found for place in unit] == many
    sizes = {len(unit) for unit in found}
    assert max(sizes) - min(sizes) <= 1


def with_rows(place: Place, rows: list[int]) -> list[Place]:
    """Record batches of so many rows; nothing else of them is true."""
    return [
        replace(place, number=number, batch=replace(place.batch, rows=count))
        for number, count in enumerate(rows)
    ]


def of_a_tar(place: Place) -> list[Place]:
    """The record batches of a tar of SA-1B: 8 MiB each, of images of 0.5 to 2.5 MB."""
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(np.log(0.85), 0.45, 11_186), 0.38, 2.3) + 0.15
    counts = [0]
    space = 8.4
    for size in sizes.tolist():
        if size > space:
            counts.append(0)
            space = 8.4
        counts[-1] += 1
        space -= size
    return with_rows(place, counts)


def rows_of(batches: list[Place]) -> int:
    return sum(batch.rows for batch in batches)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(
    ("ranks", "workers"),
    [(1, 2), (2, 1), (8, 1), (2, 4), (64, 1), (8, 8), (256, 1), (32, 8), (64, 4)],
)
def test_ranks_and_workers_get_as_many_rows_each(
    places: list[Place], ranks: int, workers: int, seed: int | None
) -> None:
    batches = of_a_tar(places[0])
    stream = RowStream(None, units(batches), seed, 0)  # type: ignore[arg-type]
    assert stream.num_shards % ranks == 0
    parts = []
    for rank in range(ranks):
        share = stream.shard_data_sources(ranks, rank, contiguous=False)
        assert share.num_shards >= workers
        parts += [share.shard_data_sources(workers, i, contiguous=False) for i in range(workers)]
    dealt = [part._order() for part in parts]
    assert sorted(b.number for part in dealt for b in part) == [*range(len(batches))]
    mean = rows_of(batches) / len(parts)
    assert max(map(rows_of, dealt)) <= 1.1 * mean
    if seed is not None:
        other = RowStream(None, units(batches), seed, 1)  # type: ignore[arg-type]
        first = other.shard_data_sources(ranks, 0, contiguous=False)._order()
        assert {b.number for b in first} != {b.number for b in dealt[0]} or len(parts) == 1


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 12))
def test_each_batch_is_dealt_once_and_parts_differ_by_less_than_a_batch(
    places: list[Place], rows: list[int], count: int
) -> None:
    batches = with_rows(places[0], rows)
    parts = deal(batches, count)
    assert len(parts) == count
    assert sorted(b.number for part in parts for b in part) == [*range(len(rows))]
    assert all(a.number < b.number for part in parts for a, b in pairwise(part))
    totals = [*map(rows_of, parts)]
    assert max(totals) - min(totals) <= max(rows, default=0)


def test_parts_trade_where_the_largest_first_alone_is_uneven(places: list[Place]) -> None:
    parts = deal(with_rows(places[0], [3, 3, 2, 2, 2]), 2)
    assert sorted(map(rows_of, parts)) == [6, 6]


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 40])
def test_more_workers_than_record_batches_lose_no_row(places: list[Place], workers: int) -> None:
    batches = with_rows(places[0], [4, 1, 2])
    stream = RowStream(None, units(batches), None, 0)  # type: ignore[arg-type]
    found = []
    for index in range(workers):
        if stream.split_shard_indices_by_worker(workers, index, contiguous=False):
            found += stream.shard_data_sources(workers, index, contiguous=False)._order()
    assert sorted(batch.number for batch in found) == [0, 1, 2]


def test_contiguous_parts_stay_in_order_and_are_about_equal(places: list[Place]) -> None:
    batches = of_a_tar(places[0])
    stream = RowStream(None, units(batches), None, 0)  # type: ignore[arg-type]
    parts = [stream.shard_data_sources(8, i)._order() for i in range(8)]
    assert [batch for part in parts for batch in part] == batches
    assert max(map(rows_of, parts)) <= 1.01 * rows_of(batches) / 8


def test_no_record_batches_are_one_unit() -> None:
    assert units([]) == [[]]


def test_rows_are_shuffled_in_windows_of_record_batches_in_another_way_each(dist: Path) -> None:
    order = ids(dist, 5, 0)
    size = WINDOW * 3  # rows
    windows = [order[i : i + size] for i in range(0, len(order), size)]
    batches = [{i // 3 for i in window} for window in windows]
    assert [len(found) for found in batches] == [WINDOW] * 5
    # Each row by its place within its batch: one permutation for all windows would repeat this.
    patterns = {tuple(i % 3 for i in window) for window in windows}
    assert len(patterns) == len(windows)


def test_an_epoch_moves_rows_to_other_windows(dist: Path) -> None:
    size = WINDOW * 3
    together = []
    for epoch in (0, 1):
        order = ids(dist, 5, epoch)
        together.append({frozenset(order[i : i + size]) for i in range(0, len(order), size)})
    assert not together[0] & together[1]


def test_record_batches_change_places_from_epoch_to_epoch_within_a_unit(
    dist: Path, places: list[Place]
) -> None:
    """Where a rank has a single unit, the order of the units changes nothing."""
    index = open_index(Files(str(dist)), CONFIG)
    reader = Reader(Files(str(dist)), index, ["image_id"], None)
    orders = [
        [place.number for place in RowStream(reader, [places[:10]], 5, epoch)._order()]
        for epoch in range(3)
    ]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert all(a != b for a, b in pairwise(orders))
