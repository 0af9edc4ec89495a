"""Rows that lack a value which every row must have, in shards whose checksums are right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asam_datasets import CorruptDataError, load
from builder.checking.shards import ShardCheck, check_shard
from builder.shards.index import read_index
from tests.loading.conftest import Row, write_config

CONFIG = "sa_000000"


def absent(*keys: str | int) -> Callable[[Row], None]:
    """Take the value at these keys out of a row."""

    def lie(row: Row) -> None:
        holder: Any = row
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = None

    return lie


LIES = {
    "width": absent("width"),
    "image_id": absent("image_id"),
    "file_name": absent("file_name"),
    "image.bytes": absent("image", "bytes"),
    "conditioning_image.bytes": absent("conditioning_image", "bytes"),
    "masks": absent("masks"),
    "masks[]": absent("masks", 0),
    "masks[].bytes": absent("masks", 0, "bytes"),
    "annotations": absent("annotations"),
    "annotations[]": absent("annotations", 0),
    "annotations[].area": absent("annotations", 0, "area"),
    "annotations[].segmentation": absent("annotations", 0, "segmentation"),
    "annotations[].segmentation.counts": absent("annotations", 0, "segmentation", "counts"),
}


def hostile(folder: Path, rows: list[Row], lie: Callable[[Row], None], fmt: str = "arrow") -> Path:
    """A dist whose third row lies."""
    few = copy.deepcopy([row for row in rows if row["masks"]][:4])
    lie(few[2])
    return write_config(folder / "dist", CONFIG, {"train": [few]}, fmt=fmt)


@pytest.mark.parametrize("path", LIES)
def test_an_absent_value_is_refused_where_it_is_read(
    tmp_path: Path, rows: list[Row], path: str
) -> None:
    dist = hostile(tmp_path, rows, LIES[path])
    column = path.split(".")[0].split("[")[0]
    with pytest.raises(CorruptDataError, match="are absent") as caught:
        list(load(CONFIG, repo_or_path=dist, streaming=True, columns=[column]))
    assert f" {path}: 1 of " in str(caught.value)
    with pytest.raises(CorruptDataError, match="are absent"):
        load(CONFIG, repo_or_path=dist, verify=True)


@pytest.mark.parametrize("path", LIES)
def test_verify_names_the_row_that_lacks_a_value(
    tmp_path: Path, rows: list[Row], path: str
) -> None:
    dist = hostile(tmp_path, rows, LIES[path])
    index = read_index(dist, CONFIG)
    check = ShardCheck.of(dist, index, index.shards[0], fast=False)
    found = [problem for problem in check_shard(check) if "absent" in problem.what]
    assert [(problem.row, path in problem.what) for problem in found] == [(2, True)]


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
@pytest.mark.parametrize("streaming", [True, False])
def test_no_file_of_the_reader_is_opened_as_a_picture(
    tmp_path: Path, rows: list[Row], fmt: str, streaming: bool
) -> None:
    """`datasets.Image` opens the path of a picture that has no bytes."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)

    def lie(row: Row) -> None:
        row["image"] = {"bytes": None, "path": str(secret)}

    dist = hostile(tmp_path, rows, lie, fmt)
    with pytest.raises(CorruptDataError, match=r"image\.bytes: 1 of \d+ values are absent"):
        list(load(CONFIG, repo_or_path=dist, streaming=streaming, cache_dir=tmp_path / "cache"))
