"""load() on a dist on disk: equal rows, chosen columns, damage noticed, names explained."""

from __future__ import annotations

import logging
import math
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asam_datasets import (
    EVAL_FEATURES,
    GAP_BYTES,
    TRAIN_FEATURES,
    AsamDatasetsError,
    CorruptDataError,
    UnknownNameError,
    load,
)
from asam_datasets.reading import _runs
from builder.shards.index import read_index
from tests.loading.conftest import Row, write_config
from tests.shards.test_write import eval_row

ALL = list(TRAIN_FEATURES)


def plain(loaded: datasets.Dataset | datasets.IterableDataset) -> list[Row]:
    """The rows with images as bytes."""
    if isinstance(loaded, datasets.IterableDataset):
        return list(loaded.decode(False))
    rows: list[Row] = loaded.with_format("arrow")[:].to_pylist()
    return rows


def test_a_stream_gives_the_rows_that_were_written(dist: Path, rows: list[Row]) -> None:
    stream = load("sa_000000", "train", repo_or_path=dist, streaming=True)
    assert isinstance(stream, datasets.IterableDataset)
    assert stream.features == TRAIN_FEATURES
    assert stream.column_names == ALL
    assert plain(stream) == rows


def test_a_dataset_is_a_memory_map_of_the_shards(dist: Path, rows: list[Row]) -> None:
    loaded = load("sa_000000", repo_or_path=str(dist))
    assert isinstance(loaded, datasets.Dataset)
    assert loaded.features == TRAIN_FEATURES
    assert plain(loaded) == rows
    folder = dist / "data" / "sa_000000"
    assert {Path(f["filename"]).parent for f in loaded.cache_files} == {folder}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
@pytest.mark.parametrize(
    "columns", [["text"], ["annotations", "image_id"], ["masks", "image", "masks"]]
)
def test_only_the_columns_that_were_asked_for(
    tmp_path: Path, rows: list[Row], columns: list[str], fmt: str, streaming: bool
) -> None:
    dist = write_config(tmp_path, "sa_000000", {"train": [rows[:20], rows[20:30]]}, fmt=fmt)
    loaded = load(
        "sa_000000",
        repo_or_path=dist,
        columns=columns,
        streaming=streaming,
        cache_dir=tmp_path / "cache",
    )
    assert loaded.column_names == list(dict.fromkeys(columns))
    assert plain(loaded) == [{name: row[name] for name in columns} for row in rows[:30]]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_evaluation_config_with_splits_of_its_own(tmp_path: Path, streaming: bool) -> None:
    splits = {"val": [[eval_row(0)]], "test_hard": [[eval_row(1, image=None)], [eval_row(2)]]}
    write_config(tmp_path, "dram_sam", splits, kind="eval", features=EVAL_FEATURES)
    loaded = load("dram_sam", "test_hard", repo_or_path=tmp_path, streaming=streaming)
    assert loaded.features == EVAL_FEATURES
    assert plain(loaded) == [eval_row(1, image=None), eval_row(2)]
    with pytest.raises(UnknownNameError, match=r"no split None .* There are: val, test_hard"):
        load("dram_sam", repo_or_path=tmp_path, streaming=streaming)


def test_a_config_with_a_name_of_its_own(tmp_path: Path, rows: list[Row]) -> None:
    write_config(tmp_path, "my_subset", {"train": [rows[:3]]}, fmt="parquet")
    loaded = load("my_subset", repo_or_path=tmp_path, cache_dir=tmp_path / "cache")
    assert plain(loaded) == rows[:3]


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("sa_00000", {}, r"no config 'sa_00000' .* Did you mean sa_000000\? There are: sa_000000$"),
        ("sa_000000", {"split": "tran"}, r"no split 'tran' .* Did you mean train\?"),
        ("sa_000000", {"columns": ["txt"]}, r"no column 'txt' .* Did you mean text\?"),
        ("sa_000000", {"columns": "text"}, r"a list of names, such as \['text'\]"),
        ("sa_000000", {"columns": []}, r"a list of names, or None for all columns, found \[\]"),
        ("sa_000000", {"columns": 7}, r"a list of names, or None for all columns, found 7"),
        ("sa_000000", {"repo_or_path": "no_such_folder"}, "no_such_folder: no such folder"),
        ("sa_000000", {"repo_or_path": Path("a/b")}, "a/b: no such folder"),
    ],
)
def test_an_unknown_name_says_which_there_are(
    dist: Path, config: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message) as caught:
        load(config, **{"repo_or_path": dist, **options})
    assert isinstance(caught.value, ValueError)


def test_a_folder_that_shadows_the_repo_is_read_with_a_warning(
    dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(dist, tmp_path / "xhk" / "ASAM-Datasets")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert len(list(load("sa_000000", streaming=True, columns=["text"]))) == 120
    assert "hf://datasets/xhk/ASAM-Datasets is the Hub's repo" in caplog.text


def test_any_url_that_fsspec_opens(dist: Path, rows: list[Row], tmp_path: Path) -> None:
    bucket = f"{tmp_path.name}/dist"
    fsspec.filesystem("memory").put(str(dist / "data"), f"/{bucket}/data", recursive=True)
    options: dict[str, Any] = {"repo_or_path": f"memory://{bucket}", "columns": ["text"]}
    expected = [row["text"] for row in rows]
    assert [row["text"] for row in load("sa_000000", streaming=True, **options)] == expected
    assert load("sa_000000", cache_dir=tmp_path, **options)["text"][:] == expected
    with pytest.raises(UnknownNameError, match="There are: sa_000000"):
        load("sa_000001", **options)


def test_shuffle_seed_is_for_streams(dist: Path) -> None:
    with pytest.raises(AsamDatasetsError, match="streaming=True"):
        load("sa_000000", repo_or_path=dist, shuffle_seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle_seed": -1}, "shuffle_seed must be a whole number, 0 or more, not -1"),
        ({"shuffle_seed": 1.5}, "shuffle_seed must be a whole number, 0 or more, not 1.5"),
        ({"epoch": -1}, "epoch must be a whole number, 0 or more, not -1"),
        ({"epoch": "a"}, "epoch must be a whole number, 0 or more, not 'a'"),
        ({"epoch": True}, "epoch must be a whole number, 0 or more, not True"),
        ({"retries": None}, "retries must be a whole number, 0 or more, not None"),
        ({"timeout": 0}, "timeout must be a number above 0, not 0"),
        ({"timeout": "x"}, "timeout must be a number above 0, not 'x'"),
        ({"rate": math.nan}, "rate must be a number above 0, not nan"),
        ({"config": 5}, "config must be a string such as 'sa_000000', not 5"),
        ({"split": 5}, "split must be a string such as 'train', not 5"),
        ({"repo_or_path": 5}, "repo_or_path must be a string such as 'xhk/ASAM-Datasets', not 5"),
        ({"verify": True}, "verify=True is for streaming=False: a stream checks"),
    ],
)
def test_a_wrong_argument_is_named(dist: Path, options: dict[str, Any], message: str) -> None:
    given = {"config": "sa_000000", "repo_or_path": dist, "streaming": True, **options}
    with pytest.raises(AsamDatasetsError, match=message):
        load(**given)


def test_numbers_of_numpy_are_whole_numbers(dist: Path) -> None:
    options: dict[str, Any] = {"shuffle_seed": np.int64(3), "epoch": np.int32(0)}
    assert load("sa_000000", repo_or_path=dist, streaming=True, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "expected JSON"),
        (lambda text: "[]", "expected an object"),
        (lambda text: text.replace('"int64"', '"int32"'), "sha256: its content was expected"),
        (lambda text: text.replace('"splits"', '"parts"'), "sha256: its content was expected"),
        (lambda text: text.replace('"format_version": 2', '"format_version": 3'), "is of format 3"),
        (lambda text: text.replace('"format_version": 2', '"format_version": 0'), "from 1 to"),
    ],
)
def test_an_index_that_cannot_be_read(copied: Path, change: Any, message: str) -> None:
    path = copied / "data" / "sa_000000" / "index.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(CorruptDataError, match=message):
        load("sa_000000", repo_or_path=copied)


def test_no_bit_of_an_index_ends_in_anything_but_an_error_of_ours(
    copied: Path, rows: list[Row]
) -> None:
    path = copied / "data/sa_000000/index.json"
    whole = path.read_bytes()
    wrong = 0
    for place in range(0, len(whole), 7):  # base64 and zlib, names, numbers, brackets
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 7
        path.write_bytes(damaged)
        try:
            stream = load("sa_000000", repo_or_path=copied, streaming=True, columns=["text"])
            found = [row["text"] for row in stream]
        except AsamDatasetsError:
            wrong += 1
        else:
            assert found == [row["text"] for row in rows[:12]]
    assert wrong > 100
    path.unlink()
    with pytest.raises(CorruptDataError, match=r"sa_000000/index.json is not there"):
        load("sa_000000", repo_or_path=copied)


def flip(dist: Path, batch: int, column: str) -> None:
    """Flip a bit in the middle of a column of a record batch."""
    index = read_index(dist, "sa_000000")
    shard = index.shards[0]
    start, length = shard.batches[batch].columns(index.layout)[ALL.index(column)]
    path = dist / index.path(shard)
    data = bytearray(path.read_bytes())
    data[shard.batches[batch].offset + start + length // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("column", ALL)
def test_a_flipped_bit_is_noticed_in_any_column(copied: Path, column: str) -> None:
    flip(copied, 2, column)
    stream = load("sa_000000", repo_or_path=copied, streaming=True, columns=[column])
    message = rf"train-00000-of-00001.arrow, record batch 2: column {column}: crc32"
    before: list[Row] = []
    with pytest.raises(CorruptDataError, match=message):
        before.extend(stream.decode(False))
    assert len(before) == 6
    with pytest.raises(CorruptDataError, match="sha256"):
        load("sa_000000", repo_or_path=copied, verify=True)


def test_damage_in_a_column_that_is_not_read_does_no_harm(copied: Path, rows: list[Row]) -> None:
    flip(copied, 2, "image")
    stream = load("sa_000000", repo_or_path=copied, streaming=True, columns=["text"])
    assert [row["text"] for row in stream] == [row["text"] for row in rows[:12]]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("lost", [8, 30_000, None])
def test_a_cut_or_missing_shard_is_noticed(copied: Path, lost: int | None, streaming: bool) -> None:
    path = copied / "data/sa_000000/train-00000-of-00001.arrow"
    if lost is None:
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - lost)
    if streaming and lost == 8:  # the end marker, which says nothing that the index doesn't
        assert len(list(load("sa_000000", repo_or_path=copied, streaming=True).decode(False))) == 12
        return
    message = "not there" if lost is None else "the file is cut" if streaming else "bytes"
    with pytest.raises(CorruptDataError, match=message):
        plain(load("sa_000000", repo_or_path=copied, streaming=streaming))


def test_a_damaged_cut_or_missing_parquet_shard_is_named(tmp_path: Path, rows: list[Row]) -> None:
    write_config(tmp_path, "sa_000000", {"train": [rows[:3]]}, fmt="parquet")
    path = tmp_path / "data/sa_000000/train-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[10_000] ^= 1
    path.write_bytes(data)
    for damage in (None, lambda: os.truncate(path, 40_000), path.unlink):
        if damage:
            damage()
        with pytest.raises(CorruptDataError, match=r"00000-of-00001\.parquet: can't be read"):
            plain(load("sa_000000", repo_or_path=tmp_path, streaming=True))


@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)), max_size=12))
def test_runs_cover_the_columns_and_waste_little(gaps: list[tuple[int, int]]) -> None:
    columns: list[tuple[int, int]] = []
    position = 0
    for gap, length in gaps:
        columns.append((position + gap, length))
        position += gap + length
    runs = _runs(columns)
    wanted = sum(length for _, length in columns)
    assert wanted <= sum(end - start for start, end in runs) <= wanted + GAP_BYTES
    for start, length in columns:
        assert not length or any(a <= start and start + length <= b for a, b in runs)
    assert all(a[1] < b[0] for a, b in pairwise(runs))
    for a, b in pairwise(runs):
        spare = GAP_BYTES - (sum(end - start for start, end in runs) - wanted)
        assert b[0] - a[1] > spare
