"""The fast check of rows: what has the encoders' bytes is taken as right, the rest is decoded."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builder.checking.rows import check_train_row, read_rows
from builder.checking.shards import SAMPLED, ShardCheck
from builder.core.layout import config_folder
from builder.masks.png import GRAY, assemble, encode_bitmap, encode_masks
from builder.shards.index import read_index


@pytest.fixture
def row(sample_dist: Path) -> dict[str, Any]:
    folder = config_folder(sample_dist, "sa_000000")
    (shard,) = read_index(sample_dist, "sa_000000").shards
    return next(read_rows(folder / shard.file, "arrow"))


def image_of(value: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(value["bytes"]))


def saved(image: Image.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def test_other_bytes_of_the_same_pixels_are_right(row: dict[str, Any]) -> None:
    mask = np.asarray(image_of(row["masks"][1]), bool)
    lines = np.pad(np.packbits(mask, axis=1), ((0, 0), (1, 0)))  # each after its filter, none
    png = assemble(mask.shape[0], mask.shape[1], 1, GRAY, pixels=zlib.compress(lines.tobytes(), 1))
    assert png != row["masks"][1]["bytes"]
    row["masks"][1]["bytes"] = png
    row["conditioning_image"] = saved(image_of(row["conditioning_image"]))
    assert list(check_train_row(row, independent=False)) == []


def test_a_wrong_mask_is_found(row: dict[str, Any]) -> None:
    wrong = ~np.asarray(image_of(row["masks"][1]), bool)
    row["masks"][1]["bytes"] = encode_bitmap(wrong)
    (problem,) = check_train_row(row, independent=False)
    assert "the PNG differs from the RLE" in problem


def test_a_wrong_control_image_is_found(row: dict[str, Any]) -> None:
    turned = (
        image_of(row["conditioning_image"]).convert("RGB").transpose(Image.Transpose.ROTATE_180)
    )
    row["conditioning_image"] = saved(turned)
    (problem,) = check_train_row(row, independent=False)
    assert "the control image" in problem


def test_a_picture_that_breaks_off_is_found(row: dict[str, Any]) -> None:
    row["image"]["bytes"] = row["image"]["bytes"][:-3000]
    problems = list(check_train_row(row, independent=False))
    assert [p for p in problems if "does not decode" in p]


def test_an_independent_check_does_not_believe_the_encoder(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = encode_bitmap(~np.asarray(image_of(row["masks"][1]), bool))
    right = encode_masks

    def faulty(batch: Any) -> list[bytes]:
        return [wrong if i == 1 else png for i, png in enumerate(right(batch))]

    monkeypatch.setattr("builder.checking.encoded.encode_masks", faulty)
    row["masks"][1]["bytes"] = wrong
    assert list(check_train_row(row, independent=False)) == []
    (problem,) = check_train_row(row, independent=True)
    assert "the PNG differs from the RLE" in problem


def test_one_row_in_fifty_is_decoded_without_being_asked(sample_dist: Path) -> None:
    index = read_index(sample_dist, "sa_000000")
    check = ShardCheck.of(sample_dist, index, index.shards[0], fast=False, independent=False)
    decoded = [row for row in range(4 * SAMPLED) if check.decodes(row)]
    assert len(decoded) == 4
    assert np.diff(decoded).tolist() == [SAMPLED] * 3
    other = replace(check, shard=replace(check.shard, sha256="0" * 64))
    assert [row for row in range(SAMPLED) if other.decodes(row)] == [0]
    assert all(replace(check, independent=True).decodes(row) for row in range(SAMPLED))
