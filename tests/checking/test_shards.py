"""What verify finds, in which shard and row."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from asam_datasets import TRAIN_FEATURES
from builder.card.top import write_top
from builder.checking.problem import Problem
from builder.checking.rows import read_rows
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Folder
from builder.core.errors import ShardError
from builder.core.files import dump_json
from builder.core.layout import config_folder, index_path, receipts_folder, rejects_path
from builder.shards.config import build_config
from builder.shards.index import read_index
from builder.shards.plan import Settings
from builder.shards.write import ShardWriter
from builder.sources.sa1b import open_sources
from tests.contracts import Document, rewrite, set_in
from tests.factory import members, write_tar

CONFIG = "sa_000000"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    tar = write_tar(tmp_path / "sa_000000.tar", members(range(1, 9)))
    (source,) = open_sources([str(tar)])
    build_config(source, tmp_path / "dist", Settings("arrow", 12_000), quiet=True)
    write_top(tmp_path / "dist")
    return tmp_path / "dist"


def verify(dist: Path, *, fast: bool = False) -> list[Problem]:
    problems, shards = plan_checks(Folder(dist))
    for index, shard in shards:
        problems += check_shard(ShardCheck.of(dist, index, shard, fast=fast))
    return problems


def test_a_good_dist_has_no_problem(dist: Path) -> None:
    assert verify(dist) == []
    assert verify(dist, fast=True) == []


def test_a_flipped_bit_a_cut_and_an_absent_shard_are_found(dist: Path) -> None:
    shards = read_index(dist, CONFIG).shards
    paths = [config_folder(dist, CONFIG) / shard.file for shard in shards]
    data = bytearray(paths[0].read_bytes())
    data[len(data) // 2] ^= 4
    paths[0].write_bytes(data)
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    paths[2].unlink()
    found = {p.shard: p.what for p in verify(dist, fast=True)}
    assert "expected sha256" in found[paths[0].name]
    assert "expected" in found[paths[1].name]
    assert "found no file" in found[paths[2].name]
    assert len(found) == 3


def test_strays_lost_receipts_and_rejects_are_found(dist: Path) -> None:
    (config_folder(dist, CONFIG) / "train-00000-of-00009.arrow").write_bytes(b"")
    next(receipts_folder(dist, CONFIG).glob("train-00001*")).unlink()
    rejects_path(dist, CONFIG).write_bytes(dump_json({"reason": "forged"}))
    found = "\n".join(map(str, verify(dist, fast=True)))
    assert "train-00000-of-00009.arrow: no part of the index" in found
    assert "it has no receipt" in found
    assert "rejects.jsonl: it is not the one that the index names" in found


def edit(dist: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the second row of the first shard, with hashes that match."""
    entry = read_index(dist, CONFIG).shards[0]
    path = config_folder(dist, CONFIG) / entry.file
    rows = list(read_rows(path, "arrow"))
    change(rows[1])
    with ShardWriter(path, TRAIN_FEATURES, "arrow") as writer:
        for row in rows:
            writer.add(row)
        written = writer.close()

    def put(index: Document) -> None:
        split = index["splits"]["train"]
        split["num_bytes"] += written.bytes - entry.bytes
        split["shards"][0] = written.to_json()

    rewrite(index_path(dist, CONFIG), put)
    for receipt in receipts_folder(dist, CONFIG).glob("*"):
        receipt.unlink()
    receipts_folder(dist, CONFIG).rmdir()


def recode(png: bytes) -> bytes:
    """The same PNG with one pixel changed."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.array(image)
        palette = image.getpalette()
        mode = image.mode
    pixels[5, 7] = ~pixels[5, 7] if mode == "1" else pixels[5, 7] ^ 1
    changed = Image.fromarray(pixels, mode)
    if palette:
        changed.putpalette(palette)
    buffer = io.BytesIO()
    changed.save(buffer, "PNG")
    return buffer.getvalue()


def flip_mask(row: dict[str, Any]) -> None:
    row["masks"][2]["bytes"] = recode(row["masks"][2]["bytes"])


def flip_control(row: dict[str, Any]) -> None:
    row["conditioning_image"]["bytes"] = recode(row["conditioning_image"]["bytes"])


def recolour_control(row: dict[str, Any]) -> None:
    control = row["conditioning_image"]
    with Image.open(io.BytesIO(control["bytes"])) as image:
        image.putpalette([7] * 768)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    control["bytes"] = buffer.getvalue()


def cut_image(row: dict[str, Any]) -> None:
    row["image"]["bytes"] = row["image"]["bytes"][:-50]


def lie_about_area(row: dict[str, Any]) -> None:
    row["annotations"][0]["area"] += 1


def cut_rle(row: dict[str, Any]) -> None:
    row["annotations"][0]["segmentation"]["counts"] = "0"


def lose_mask(row: dict[str, Any]) -> None:
    row["masks"].pop()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (flip_mask, "annotation 2002 (mask 2): the PNG differs from the RLE"),
        (flip_control, "the control image shows mask"),
        (recolour_control, "(7, 7, 7) belongs to none of 3 masks"),
        (cut_image, "the image's sha256 is not image_sha256"),
        (lie_about_area, "area"),
        (cut_rle, "rle_too_short"),
        (lose_mask, "2 masks for 3 annotations"),
    ],
)
def test_a_wrong_row_is_named(
    dist: Path, change: Callable[[dict[str, Any]], None], what: str
) -> None:
    edit(dist, change)
    found = verify(dist)
    assert found
    assert {(p.shard, p.row) for p in found} == {("train-00000-of-00004.arrow", 1)}
    assert what in "\n".join(p.what for p in found)
    assert verify(dist, fast=True) == []


def test_a_folder_that_is_no_dist_is_an_error(tmp_path: Path, dist: Path) -> None:
    with pytest.raises(ShardError, match="is it a dist"):
        plan_checks(Folder(tmp_path))
    with pytest.raises(ShardError, match="no config sa_000009; it holds sa_000000"):
        plan_checks(Folder(dist), ["sa_000009"])
    index_path(dist, CONFIG).write_text("{")
    (problem,) = verify(dist)
    assert "expected JSON" in problem.what


def lie_about_a_column(index: Document) -> None:
    index["splits"]["train"]["shards"][1]["batches"][0]["crc32"][3] ^= 1


def lie_about_a_buffer(index: Document) -> None:
    buffers = index["splits"]["train"]["shards"][1]["batches"][0]["buffers"]
    place = next(i for i, size in enumerate(buffers) if size % 8 == 1)
    buffers[place] += 1  # the next one starts where it did


def move_a_batch(index: Document) -> None:
    index["splits"]["train"]["shards"][1]["batches"][0]["offset"] -= 8


def rename_a_column(index: Document) -> None:
    index["features"] = {"test" if k == "text" else k: v for k, v in index["features"].items()}


@pytest.mark.parametrize("receipts", [True, False], ids=["with receipts", "a copy"])
@pytest.mark.parametrize(
    "change", [lie_about_a_column, lie_about_a_buffer, move_a_batch, rename_a_column]
)
def test_an_index_that_tells_readers_wrong_is_found(
    dist: Path, change: Callable[[Document], None], receipts: bool
) -> None:
    rewrite(index_path(dist, CONFIG), change)
    if not receipts:
        shutil.rmtree(receipts_folder(dist, CONFIG))
    found = verify(dist)
    assert found
    all_shards = change is rename_a_column
    assert all_shards or {p.shard for p in found} == {"train-00001-of-00004.arrow"}
    if receipts:  # a push compares these before it sends anything
        assert all_shards or verify(dist, fast=True)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (set_in("counts", "masks", value=7), "its index counts"),
        (set_in("counts", "images", value=7), "counts.images: expected 8, found 7"),
        (set_in("kind", value="eval"), "the column image_id of kind eval"),
        (set_in("settings", "limit", value=3), "settings_sha256: expected"),
        (set_in("splits", "train", "num_bytes", value=1), "splits.train.num_bytes: expected"),
        (set_in("rejects", "rows", value=1), "rejects.rows: expected 0, found 1"),
        (set_in("splits", "train", "shards", 2, "rows", value=9), "rows: expected 2, the rows"),
        (set_in("splits", value=[1]), "splits: expected an object, found [1]"),
        (set_in("config", value="sa_000001"), "config: expected 'sa_000000', found 'sa_000001'"),
    ],
)
def test_an_index_whose_parts_contradict_each_other_is_found(
    dist: Path, change: Callable[[Document], None], what: str
) -> None:
    rewrite(index_path(dist, CONFIG), lambda document: None)
    assert verify(dist, fast=True) == []
    rewrite(index_path(dist, CONFIG), change)
    assert what in "\n".join(map(str, verify(dist, fast=True)))


def test_a_damaged_receipt_is_found_and_its_shard_is_built_again(
    dist: Path, tmp_path: Path
) -> None:
    """Whatever bit is flipped: nothing of the receipt gets into the index."""
    path = next(receipts_folder(dist, CONFIG).glob("train-00001*"))
    index, whole = index_path(dist, CONFIG).read_bytes(), path.read_bytes()
    (source,) = open_sources([str(tmp_path / "sa_000000.tar")])
    settings = Settings("arrow", 12_000)
    for place in range(0, len(whole), len(whole) // 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        (problem,) = verify(dist, fast=True)
        assert (problem.shard, problem.what[:26]) == (path.stem, "its receipt can't be used:")
        built = build_config(source, dist, settings, quiet=True)
        assert built.reused == 3
        assert index_path(dist, CONFIG).read_bytes() == index
        assert path.read_bytes() == whole


def test_a_damaged_index_is_found_and_made_right_by_a_build(dist: Path, tmp_path: Path) -> None:
    path = index_path(dist, CONFIG)
    whole = path.read_bytes()
    (source,) = open_sources([str(tmp_path / "sa_000000.tar")])
    settings = Settings("arrow", 12_000)
    for place in range(0, len(whole), len(whole) // 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        (problem,) = verify(dist, fast=True)
        assert problem.what.startswith("its index can't be used: ")
        assert build_config(source, dist, settings, quiet=True).reused == 4
        assert path.read_bytes() == whole


def test_shards_without_an_index_are_found_beside_a_good_config(dist: Path) -> None:
    lost = config_folder(dist, "sa_000009")
    shutil.copytree(config_folder(dist, CONFIG), lost)
    (lost / "index.json").unlink()
    (problem,) = verify(dist, fast=True)
    assert str(problem).startswith("sa_000009: it holds shards and no index.json")


def test_a_file_that_starts_as_a_split_is_found(dist: Path) -> None:
    (config_folder(dist, CONFIG) / "train-00000-of-00004 (copy).arrow").write_bytes(b"")
    (problem,) = verify(dist, fast=True)
    assert "load_dataset may read it" in problem.what
