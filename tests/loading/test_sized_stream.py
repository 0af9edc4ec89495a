"""Streams of a size: decoded ahead in threads, in order, resumed exactly, errors at their row."""

from __future__ import annotations

import copy
import itertools
import threading
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy as np
import pytest
import torch
from datasets.distributed import split_dataset_by_node

from asam_datasets import AsamDatasetsError, CorruptDataError, load
from tests.loading.conftest import write_config
from tests.loading.sized_rows import Row, train_row

Stream: TypeAlias = datasets.IterableDataset
CONFIG = "sa_000000"
COUNT = 40


@pytest.fixture(scope="module")
def sources() -> list[Row]:
    """Forty rows, of which each has an id and a caption of its own."""
    made = [train_row(number, 40, 30) for number in range(4)]
    return [
        {**made[i % 4], "image_id": i, "file_name": f"sa_{i}.jpg", "text": f"caption {i}"}
        for i in range(COUNT)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sources: list[Row]) -> Path:
    """Record batches of some three rows."""
    folder = tmp_path_factory.mktemp("stream")
    return write_config(folder, CONFIG, {"train": [sources[:25], sources[25:]]}, batch_bytes=15_000)


def stream_of(dist: Path, seed: int | None = None, **changes: Any) -> Stream:
    options: Any = {"size": 16, "columns": ["image", "image_id"], **changes}
    return load(CONFIG, repo_or_path=dist, streaming=True, shuffle_seed=seed, **options)


def ids_of(stream: Stream) -> list[int]:
    return [row["image_id"] for row in stream]


@pytest.mark.parametrize(("fmt", "seed"), [("arrow", None), ("arrow", 3), ("parquet", None)])
def test_resume_is_exact_at_any_row(
    tmp_path: Path, made: Path, sources: list[Row], seed: int | None, fmt: str
) -> None:
    if fmt == "parquet":
        made = write_config(tmp_path, CONFIG, {"train": [sources]}, fmt=fmt)
    whole = ids_of(stream_of(made, seed))
    assert sorted(whole) == list(range(COUNT))
    for stop in (1, 2, 3, 24, 25, COUNT - 1, COUNT):
        stream = stream_of(made, seed)
        before = [row["image_id"] for row in itertools.islice(stream, stop)]
        resumed = stream_of(made, seed)
        resumed.load_state_dict(copy.deepcopy(stream.state_dict()))
        assert before + ids_of(resumed) == whole, stop


def test_the_order_is_that_of_the_stream_without_a_size(made: Path) -> None:
    assert ids_of(stream_of(made, 5)) == ids_of(stream_of(made, 5, size=None))


def test_a_state_of_another_stream_is_refused(made: Path) -> None:
    for other in (stream_of(made, 2), stream_of(made, size=None)):
        next(iter(other))
        stream = stream_of(made, 1)
        stream.load_state_dict(other.state_dict())
        with pytest.raises(AsamDatasetsError, match="saved from another stream"):
            next(iter(stream))


def test_ranks_epochs_and_what_datasets_offers(made: Path) -> None:
    parts = [ids_of(split_dataset_by_node(stream_of(made, 4), rank, 2)) for rank in range(2)]
    assert sorted(itertools.chain(*parts)) == list(range(COUNT))
    stream = stream_of(made, 7)
    orders = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        orders.append(ids_of(stream))
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    changed = stream.map(lambda row: {"mean": row["image"].mean()})
    assert all(row["mean"] == row["image"].mean() for row in changed)
    few = stream.filter(lambda row: row["image_id"] < 3).shuffle(seed=1)
    assert sorted(ids_of(few)) == [0, 1, 2]
    batch = next(stream.iter(batch_size=3))
    assert np.stack(batch["image"]).shape == (3, 16, 16, 3)
    tensors = next(iter(stream_of(made).with_format("torch")))
    pixels = next(iter(stream_of(made)))["image"]
    assert torch.equal(tensors["image"], torch.from_numpy(pixels).long())


def damaged(folder: Path, sources: list[Row], number: int) -> Path:
    rows = copy.deepcopy(sources)
    rows[number]["image"] = {"bytes": b"nothing", "path": f"sa_{number}.jpg"}
    return write_config(folder, CONFIG, {"train": [rows]}, batch_bytes=15_000)


@pytest.mark.parametrize("number", [0, 1, 11, COUNT - 1])
def test_an_error_is_raised_at_its_row(tmp_path: Path, sources: list[Row], number: int) -> None:
    stream = stream_of(damaged(tmp_path, sources, number))
    given: list[int] = []
    with pytest.raises(CorruptDataError, match=rf"sa_{number}.jpg, column image: cannot identify"):
        given.extend(row["image_id"] for row in stream)
    assert given == list(range(number))
    state = stream.state_dict()
    again = stream_of(tmp_path)
    again.load_state_dict(state)
    with pytest.raises(CorruptDataError, match=f"sa_{number}.jpg"):
        next(iter(again))


def test_rows_before_a_damaged_record_batch_are_given(tmp_path: Path, sources: list[Row]) -> None:
    dist = write_config(tmp_path, CONFIG, {"train": [sources]}, batch_bytes=15_000)
    shard = dist / f"data/{CONFIG}/train-00000-of-00001.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    plain: list[int] = []
    with pytest.raises(CorruptDataError, match=r"The \d+ rows before it were given"):
        plain.extend(row["image_id"] for row in stream_of(dist, size=None))
    given: list[int] = []
    with pytest.raises(CorruptDataError, match=r"The \d+ rows before it were given"):
        given.extend(row["image_id"] for row in stream_of(dist))
    assert given == plain
    assert len(given) > 10


def test_few_rows_are_decoded_ahead_and_none_before_the_first_is_there(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(made)
    rows = iter(stream)
    sizer = stream._ex_iterable._sizer
    begun: list[int] = []
    decode = type(sizer).row

    def noted(self: Any, row: Row) -> Row:
        begun.append(row["image_id"])
        made: Row = decode(self, row)
        return made

    monkeypatch.setattr(type(sizer), "row", noted)
    assert next(rows)["image_id"] == 0
    assert begun == [0]
    most = 0
    for number in range(1, COUNT):
        assert next(rows)["image_id"] == number
        most = max(most, len(begun) - number)
    assert 1 < most <= 2 * 4 + 1
    assert next(rows, None) is None


def test_threads_end_with_the_stream(made: Path) -> None:
    before = threading.enumerate()
    rows = iter(stream_of(made))
    next(rows)
    next(rows)
    begun = [thread for thread in threading.enumerate() if thread not in before]
    assert begun
    rows.close()
    for thread in begun:
        thread.join(20)
    assert not any(thread.is_alive() for thread in begun)
