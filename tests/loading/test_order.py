"""The order of a shuffled stream, and the units that ranks and workers are dealt."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asam_datasets import Files, Reader, RowStream, load, open_index, units
from asam_datasets.shards import Place
from asam_datasets.stream import WINDOW
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
