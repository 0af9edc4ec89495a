"""The plan: a power of two of shards, balanced, in order, from the input alone."""

from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.files import sha256_json
from builder.core.records import Item, Listing
from builder.masks.tables import PNG_VERSION
from builder.shards import plan
from builder.shards.plan import Settings, make_plan
from builder.sources.sa1b import open_sources


def listing(sizes: list[int], splits: list[str] | None = None) -> Listing:
    names = splits or ["train"] * len(sizes)
    items = [
        Item(f"sa_{i}", size, None, split=split)
        for i, (size, split) in enumerate(zip(sizes, names, strict=True))
    ]
    return Listing(items, {})


@given(
    sizes=st.lists(st.integers(0, 10**7), min_size=1, max_size=200),
    shard_size=st.integers(1, 10**8),
)
def test_every_item_once_in_order_in_a_power_of_two_of_shards(
    sizes: list[int], shard_size: int
) -> None:
    shards = make_plan(listing(sizes), shard_size)
    total = len(shards)
    assert total & (total - 1) == 0
    assert [s.index for s in shards] == list(range(total))
    assert {s.total for s in shards} == {total}
    assert all(s.items for s in shards)
    assert [i.key for s in shards for i in s.items] == [f"sa_{i}" for i in range(len(sizes))]


def test_a_whole_tar_comes_to_64_balanced_shards() -> None:
    sizes = [700_000 + (i * 7919) % 800_000 for i in range(11_186)]
    shards = make_plan(listing(sizes), 256 * 10**6)
    assert len(shards) == 64
    weights = [sum(i.num_bytes for i in s.items) for s in shards]
    assert max(weights) - min(weights) <= 2 * max(sizes)


def test_splits_are_planned_apart() -> None:
    shards = make_plan(listing([1, 1, 1], ["val", "test", "val"]), 10)
    assert [(s.split, s.index, s.total, len(s.items)) for s in shards] == [
        ("val", 0, 1, 2),
        ("test", 0, 1, 1),
    ]


def test_a_shard_knows_when_its_input_was_written_anew() -> None:
    (before,) = make_plan(Listing([Item("sa_1", 5, None, version="1")], {}), 10)
    (after,) = make_plan(Listing([Item("sa_1", 5, None, version="2")], {}), 10)
    assert before.sha256() == after.sha256()
    assert before.versions_sha256() != after.versions_sha256()
    assert before.file("arrow") == "train-00000-of-00001.arrow"


@pytest.mark.parametrize("library", ["datasets", "pyarrow"])
def test_another_version_of_what_writes_bytes_is_another_setting(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings("arrow", 1000)
    (source,) = open_sources(["sa_000000.tar"])
    before = settings.as_json(source)
    assert before["encoders"][library] == importlib.metadata.version(library)
    real = importlib.metadata.version
    monkeypatch.setattr(plan, "version", lambda name: "0" if name == library else real(name))
    assert sha256_json(settings.as_json(source)) != sha256_json(before)


def test_another_encoder_of_pngs_is_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings("arrow", 1000)
    (source,) = open_sources(["sa_000000.tar"])
    before = settings.as_json(source)
    assert before["encoders"]["png"] == PNG_VERSION
    monkeypatch.setattr("builder.masks.tables.PNG_VERSION", "another")
    assert sha256_json(settings.as_json(source)) != sha256_json(before)
