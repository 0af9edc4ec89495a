"""Shuffling and resuming a stream: each row once, whatever stops it."""

from __future__ import annotations

import itertools
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, get_worker_info

from asam_datasets import AsamDatasetsError, load
from tests.loading.conftest import Row, write_config

Stream: TypeAlias = datasets.IterableDataset


def ids_of(stream: Stream) -> list[int]:
    return [row["image_id"] for row in stream]


def stream_of(dist: Path, seed: int | None = None, epoch: int = 0, **options: Any) -> Stream:
    return load(
        "sa_000000",
        repo_or_path=dist,
        streaming=True,
        columns=["image_id", "text"],
        shuffle_seed=seed,
        epoch=epoch,
        **options,
    )


def test_without_a_seed_rows_come_in_order(dist: Path) -> None:
    assert ids_of(stream_of(dist)) == list(range(120))


def test_a_seed_and_an_epoch_give_one_order_with_each_row_once(dist: Path) -> None:
    orders = {
        (seed, epoch): ids_of(stream_of(dist, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert all(sorted(order) == list(range(120)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert ids_of(stream_of(dist, 1, 1)) == orders[1, 1]


def test_shuffling_goes_beyond_a_record_batch_and_a_shard(dist: Path) -> None:
    order = ids_of(stream_of(dist, 5))
    assert len({i // 30 for i in order[:24]}) > 2  # shards within the first window
    assert sum(abs(a - b) == 1 for a, b in itertools.pairwise(order)) < 20


def test_set_epoch_gives_another_order_each_time(dist: Path) -> None:
    stream = stream_of(dist, 7)
    orders = []
    for epoch in (0, 1, 2, 1):
        stream.set_epoch(epoch)
        orders.append(ids_of(stream))
    assert all(sorted(order) == list(range(120)) for order in orders)
    assert orders[1] == orders[3]
    assert len({tuple(order) for order in orders}) == 3


PIPELINES: dict[str, Callable[[Stream], Stream]] = {
    "plain": lambda stream: stream,
    "map": lambda stream: stream.map(lambda row: {"double": 2 * row["image_id"]}),
    "filter": lambda stream: stream.filter(lambda row: row["image_id"] % 3 > 0),
    "map and filter": lambda stream: stream.map(lambda row: {"n": row["image_id"]}).filter(
        lambda row: row["n"] % 4 > 0
    ),
    "batched map": lambda stream: stream.map(
        lambda rows: {"n": [2 * i for i in rows["image_id"]]}, batched=True, batch_size=7
    ),
    "select": lambda stream: stream.select_columns(["image_id"]),
}


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_resume_is_exact_at_any_row(dist: Path, seed: int | None, pipeline: str) -> None:
    make = PIPELINES[pipeline]
    whole = ids_of(make(stream_of(dist, seed)))
    for stop in (1, 2, 3, 24, 25, 50, len(whole) - 1, len(whole)):
        stream = make(stream_of(dist, seed))
        before = [row["image_id"] for row in itertools.islice(stream, stop)]
        resumed = make(stream_of(dist, seed))
        resumed.load_state_dict(stream.state_dict())
        assert before + ids_of(resumed) == whole, stop


def test_resume_again_and_again(dist: Path) -> None:
    whole = ids_of(stream_of(dist, 11))
    found: list[int] = []
    state = None
    while len(found) < 120:
        stream = stream_of(dist, 11)
        if state:
            stream.load_state_dict(state)
        found += [row["image_id"] for row in itertools.islice(stream, 7)]
        state = stream.state_dict()
    assert found == whole


def test_batches_resume_too(dist: Path) -> None:
    stream = stream_of(dist, 2)
    whole = [batch["image_id"] for batch in stream.iter(batch_size=8)]
    assert sorted(itertools.chain(*whole)) == list(range(120))
    before = [batch["image_id"] for batch in itertools.islice(stream.iter(batch_size=8), 6)]
    resumed = stream_of(dist, 2)
    resumed.load_state_dict(stream.state_dict())
    assert before + [batch["image_id"] for batch in resumed.iter(batch_size=8)] == whole


def test_a_state_of_another_stream_is_refused(dist: Path) -> None:
    stream = stream_of(dist, 1)
    next(iter(stream))
    for other in (stream_of(dist, 2), stream_of(dist), split_dataset_by_node(stream, 0, 2)):
        other.load_state_dict(stream.state_dict())
        with pytest.raises(AsamDatasetsError, match="saved from another stream"):
            next(iter(other))


class Stateful(torch.utils.data.IterableDataset[tuple[int, int, Any]]):
    """What torchdata's StatefulDataLoader does: each row with its worker and the state after it."""

    def __init__(self, stream: Stream, states: dict[int, Any]) -> None:
        self.stream = stream
        self.states = states

    def __iter__(self) -> Iterator[tuple[int, int, Any]]:
        worker = get_worker_info()
        number = worker.id if worker else 0
        if number in self.states:
            self.stream.load_state_dict(self.states[number])
        for row in self.stream:
            yield row["image_id"], number, self.stream.state_dict()


# What torch says where there is one core for them.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize("seed", [0, 1])
def test_two_ranks_of_two_workers_stopped_at_random(dist: Path, seed: int) -> None:
    stops = random.Random(seed)
    found: list[int] = []
    for rank in range(2):
        states: dict[int, Any] = {}
        for limit in (stops.randrange(1, 30), stops.randrange(1, 20), 10**6):
            stream = split_dataset_by_node(stream_of(dist, seed), rank, 2)
            loader = DataLoader(Stateful(stream, states), batch_size=None, num_workers=2)
            for image_id, worker, state in itertools.islice(loader, limit):
                found.append(image_id)
                states[worker] = state
            del loader
    assert sorted(found) == list(range(120))


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_ranks_share_the_rows(dist: Path, world: int) -> None:
    parts = [
        ids_of(split_dataset_by_node(stream_of(dist, 4), rank, world)) for rank in range(world)
    ]
    assert sorted(itertools.chain(*parts)) == list(range(120))


def test_one_shard_is_enough_for_many_ranks(tmp_path: Path, rows: list[Row]) -> None:
    """Ranks and workers are dealt record batches, not files."""
    dist = write_config(tmp_path, "sa_000000", {"train": [rows[:24]]})
    stream = stream_of(dist)
    assert stream.num_shards == 8
    parts = [ids_of(split_dataset_by_node(stream, rank, 4)) for rank in range(4)]
    assert [len(part) for part in parts] == [6, 6, 6, 6]


def test_resume_reads_only_the_window_it_stands_in(tmp_path: Path, rows: list[Row]) -> None:
    dist = write_config(tmp_path, "sa_000000", {"train": [rows]})
    stream = stream_of(dist)
    before = [row["image_id"] for row in itertools.islice(stream, 70)]
    shard = dist / "data/sa_000000/train-00000-of-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)  # what was read is gone
    shard.write_bytes(data)
    resumed = stream_of(dist)
    resumed.load_state_dict(stream.state_dict())
    assert before + ids_of(resumed) == list(range(120))


def test_streams_interleave_and_concatenate(dist: Path, tmp_path: Path, rows: list[Row]) -> None:
    write_config(tmp_path, "sa_000000", {"train": [rows[:9]]})
    both = [stream_of(dist), stream_of(tmp_path)]
    assert ids_of(datasets.concatenate_datasets(both)) == [*range(120), *range(9)]
    assert ids_of(datasets.interleave_datasets(both))[:4] == [0, 0, 1, 1]


def test_a_stream_goes_to_another_process(dist: Path) -> None:
    """As workers that are spawned, not forked, get it."""
    stream = stream_of(dist, 3)
    assert ids_of(pickle.loads(pickle.dumps(stream))) == ids_of(stream)


def test_an_empty_split_gives_nothing(tmp_path: Path) -> None:
    assert ids_of(stream_of(write_config(tmp_path, "sa_000000", {"train": [[]]}), 1)) == []
