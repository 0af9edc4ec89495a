"""Masks fit the picture that `load_dataset` shows, whatever EXIF orientation the photograph has."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

import asam_datasets
import builder.build
import builder.export
import builder.preview
import builder.verify
from asam_datasets import decode_control, decode_masks
from asam_datasets.orientation import upright
from builder.checking.rows import check_row, check_train_row
from builder.checking.shards import ShardCheck, check_shard
from builder.core.console import EXIT_OK
from builder.previewing.reading import Block
from builder.previewing.views import view_row
from builder.shards.index import read_index
from builder.sources.evaluation.fixtures.scenes import save_mask
from tests.contracts import rewrite
from tests.factory import write_folder, write_tar
from tests.photos import encode, masks, masks_of, photo, record, stored

NUMBERS = range(10)  # 0 and 9 are not defined and turn nothing
TURNING = range(2, 9)


def build(*arguments: object) -> Path:
    """A dist that verifies; the last argument is its folder."""
    *rest, dist = arguments
    options = ["--out", str(dist), "--quiet", "--workers", "1"]
    assert builder.build.main([*map(str, rest), *options]) == EXIT_OK
    assert builder.verify.main([str(dist), "--quiet"]) == EXIT_OK
    return Path(str(dist))


def load(dist: Path, config: str) -> list[dict[str, Any]]:
    """Each row with the picture as plain `load_dataset` shows it, and with its file as `data`."""
    (rows,) = datasets.load_dataset(str(dist), config, streaming=True).values()
    files = rows.decode(False)
    return [{**row, "data": file["image"]["bytes"]} for row, file in zip(rows, files, strict=True)]


def stream(dist: Path, config: str, image_root: Path | None = None) -> list[dict[str, Any]]:
    """The rows as `asam_datasets.load` gives them, with files in place of pictures."""
    rows = asam_datasets.load(config, repo_or_path=dist, streaming=True, image_root=image_root)
    return list(rows.decode(False))


def check_fits(row: dict[str, Any], *, count: int = 2) -> None:
    """IoU 1 of each mask with the picture, and the row's size is the picture's."""
    image = row["image"]
    assert (row["width"], row["height"]) == image.size
    assert row["image_sha256"] == hashlib.sha256(row["data"]).hexdigest()
    found, shown = decode_masks(row["annotations"]).astype(bool), masks_of(image)[:count]
    assert len(found) == count
    for png, mask, expected in zip(row["masks"], found, shown, strict=True):
        assert np.array_equal(mask, expected)
        bitmap = datasets.Image().decode_example(png)
        assert np.array_equal(np.asarray(bitmap), expected)


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SA-1B records whose masks fit the stored pixels; image i has orientation i."""
    files = {}
    for number in NUMBERS:
        endian = "<>"[number % 2]
        files[f"sa_{number}.jpg"] = encode(photo(), number, endian=endian)
        files[f"sa_{number}.json"] = json.dumps(record(number)).encode()
    return write_tar(tmp_path_factory.mktemp("tar") / "sa_000000.tar", files)


@pytest.fixture(scope="module")
def dist(tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tar, tmp_path_factory.mktemp("train") / "dist")


def test_a_train_row_fits_its_picture(dist: Path) -> None:
    rows = load(dist, "sa_000000")
    assert [row["image_id"] for row in rows] == list(NUMBERS)
    for number, row in zip(NUMBERS, rows, strict=True):
        assert np.array_equal(np.asarray(row["image"]), np.asarray(rows[0]["image"]))
        check_fits(row)
        control = row["conditioning_image"]
        assert control.size == row["image"].size
        painted = decode_control(np.asarray(control.convert("RGB")), row["annotations"])
        for i, mask in enumerate(masks()):
            assert np.array_equal(painted == i, mask)
        file = encode(photo(), number, endian="<>"[number % 2])
        assert row["data"] == (upright(file) if number in TURNING else file)
    assert read_index(dist, "sa_000000").counts.orientation_reset == len(TURNING)


def test_image_root_takes_the_files_as_they_were(dist: Path, tar: Path, tmp_path: Path) -> None:
    bare = build(tar, "--annotations-only", tmp_path / "dist")
    assert stream(bare, "sa_000000", image_root=tar) == stream(dist, "sa_000000")
    assert read_index(bare, "sa_000000").counts.orientation_reset == len(TURNING)


def test_an_exported_config_builds_the_same_rows(dist: Path, tmp_path: Path) -> None:
    arguments = ["sa_000000", "--from", str(dist), "--out", str(tmp_path / "tree"), "--quiet"]
    assert builder.export.main([*arguments, "--missing-captions", "empty"]) == EXIT_OK
    again = build(tmp_path / "tree/sa_000000", tmp_path / "dist")
    for row, before in zip(load(again, "sa_000000"), load(dist, "sa_000000"), strict=True):
        with Image.open(tmp_path / "tree/sa_000000" / row["file_name"]) as image:
            assert np.array_equal(np.asarray(image), np.asarray(before["image"]))
        check_fits(row)
        assert row["data"] == before["data"]
    assert read_index(again, "sa_000000").counts.orientation_reset == 0


@pytest.mark.parametrize("number", TURNING)
def test_a_row_whose_picture_is_turned_is_found(dist: Path, number: int) -> None:
    row = stream(dist, "sa_000000")[0]
    assert list(check_train_row(row)) == []
    data = encode(photo(), number)
    row["image"]["bytes"], row["image_sha256"] = data, hashlib.sha256(data).hexdigest()
    wrong = list(check_train_row(row))
    assert any(f"image: expected EXIF orientation 1, found {number}" in line for line in wrong)
    size = [line for line in check_row(row) if "(64, 96) pixels, expected (96, 64)" in line]
    assert len(size) == (number > 4)


def test_each_shard_is_checked_as_its_masks_need_it(camo_dist: Path) -> None:
    index = read_index(camo_dist, "camo_asam")
    check = ShardCheck.of(camo_dist, index, index.shards[0], fast=False)
    assert check_shard(check) == []
    found = check_shard(replace(check, upright=True))
    assert [problem.row for problem in found] == list(TURNING)
    stored = replace(index, settings={**index.settings, "masks_fit": "stored"})
    assert ShardCheck.of(camo_dist, stored, index.shards[0], fast=False).upright


def test_an_index_of_an_older_version_counts_none(dist: Path, tmp_path: Path) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    path = tmp_path / "dist/data/sa_000000/index.json"
    rewrite(path, lambda index: index["counts"].pop("orientation_reset"))
    index = read_index(tmp_path / "dist", "sa_000000")
    assert (index.counts.images, index.counts.orientation_reset) == (len(NUMBERS), 0)


# Evaluation ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def camo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CAMO, whose masks fit the photographs as they are shown; masks are turned by EXIF, too."""
    root = tmp_path_factory.mktemp("camo")
    images = {f"{n}.jpg": encode(stored(photo(), n), n) for n in NUMBERS}
    write_folder(root / "CAMO/imgs", images)
    mask = Image.fromarray(masks()[0].astype(np.uint8) * 255)
    for number in NUMBERS:
        save_mask(root / f"CAMO/gts/{number}.png", masks()[0])
    (root / "CAMO/gts/6.png").write_bytes(encode(stored(mask, 6), 6, fmt="PNG"))
    return root


@pytest.fixture(scope="module")
def camo_dist(camo: Path) -> Path:
    return build("--eval", "camo", "--protocol", "asam", "--source", camo, camo / "dist")


def test_masks_drawn_on_the_shown_picture_fit_it(camo: Path, camo_dist: Path) -> None:
    rows = load(camo_dist, "camo_asam")
    assert len(rows) == len(NUMBERS)
    for row in rows:
        assert row["image"].size == (96, 64)
        check_fits(row, count=1)
        assert row["data"] == (camo / row["file_name"]).read_bytes()
    assert read_index(camo_dist, "camo_asam").counts.orientation_reset == 0


def test_the_preview_draws_masks_where_the_picture_shows_them(camo_dist: Path) -> None:
    for row in stream(camo_dist, "camo_asam"):
        view = view_row(Block("test", "", 0, 1, None), 0, row)
        assert view.problems == []
        assert view.photo is not None
        assert view.photo.size == view.size == (96, 64)
        assert np.array_equal(masks_of(view.photo)[0], masks()[0])
        (mask,) = view.masks
        corners = np.concatenate(mask.outline)
        assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([16, 8], [56, 24])


def test_an_exported_release_builds_the_same_rows(
    camo_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["camo_asam", "--from", str(camo_dist), "--out", str(tmp_path)]
    assert builder.export.main(arguments) == EXIT_OK
    assert f"an EXIF orientation turns: {len(TURNING)}; the masks fit" in capsys.readouterr().err
    (tmp_path / "CAMO_ASAM/imgs/CAMO/imgs").rename(tmp_path / "imgs")
    (tmp_path / "CAMO_ASAM/gts/CAMO/imgs").rename(tmp_path / "gts")
    for name in ("imgs", "gts"):
        shutil.move(tmp_path / name, tmp_path / "again/CAMO" / name)
    source = tmp_path / "again"
    again = build("--eval", "camo", "--protocol", "asam", "--source", source, tmp_path / "dist")
    assert load(again, "camo_asam") == load(camo_dist, "camo_asam")


@pytest.fixture(scope="module")
def hypersim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hypersim, whose masks were rendered with the stored pixels."""
    h5py = pytest.importorskip("h5py")
    root = tmp_path_factory.mktemp("hypersim")
    ids = np.full((64, 96), -1, np.int16)
    for number, mask in enumerate(masks()):
        ids[mask] = 40 + number
    images = root / "ai_001_001/images"
    previews = {f"frame.{n:04d}.tonemap.jpg": encode(photo(), n) for n in NUMBERS}
    write_folder(images / "scene_cam_00_final_preview", previews)
    for number in NUMBERS:
        for name in ("semantic_instance", "semantic"):
            path = images / f"scene_cam_00_geometry_hdf5/frame.{number:04d}.{name}.hdf5"
            path.parent.mkdir(exist_ok=True)
            with h5py.File(path, "w") as file:
                file["dataset"] = np.minimum(ids, 40) if name == "semantic" else ids
    return root


def test_masks_made_for_the_stored_pixels_fit_the_picture(hypersim: Path, tmp_path: Path) -> None:
    dist = build("--eval", "hypersim", "--source", hypersim, tmp_path / "dist")
    rows = load(dist, "hypersim")
    assert len(rows) == len(NUMBERS)
    for number, row in zip(NUMBERS, rows, strict=True):
        assert row["image"].size == (96, 64)
        check_fits(row)
        assert row["data"] == upright(encode(photo(), number))
    assert read_index(dist, "hypersim").counts.orientation_reset == len(TURNING)

    arguments = ["--eval", "hypersim", "--source", hypersim, "--annotations-only"]
    bare = build(*arguments, tmp_path / "bare")
    found = stream(bare, "hypersim", image_root=hypersim)
    assert [row["image"]["bytes"] for row in found] == [row["data"] for row in rows]


def test_stored_pixels_of_another_format_are_rejected_where_they_would_be_turned(
    hypersim: Path, tmp_path: Path
) -> None:
    shutil.copytree(hypersim, tmp_path / "release")
    for fmt, number in (("PNG", 6), ("TIFF", 3), ("PNG", 1)):
        name = f"frame.{number:04d}.tonemap.jpg"
        path = tmp_path / "release/ai_001_001/images/scene_cam_00_final_preview" / name
        path.write_bytes(encode(photo(), number, fmt=fmt))
    arguments = ["--eval", "hypersim", "--source", tmp_path / "release", "--max-rejects", "1"]
    dist = build(*arguments, tmp_path / "dist")
    for row in load(dist, "hypersim"):
        check_fits(row)
    counts = read_index(dist, "hypersim").counts
    assert counts.rejects == {"orientation_not_reset": 2}
    assert counts.orientation_reset == len(TURNING) - 2
