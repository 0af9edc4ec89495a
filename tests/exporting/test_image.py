"""The files of one image: found whole, or written again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.exporting.train import ImageFiles, write_image
from builder.sources.sa1b import open_sources
from tests.factory import members, write_tar


def cut_jpg(files: ImageFiles) -> None:
    files.jpg.write_bytes(files.jpg.read_bytes()[:-1])


def lose_mask(files: ImageFiles) -> None:
    (files.masks / "segmentation_1.png").unlink()


def change_json(files: ImageFiles) -> None:
    files.json.write_bytes(files.json.read_bytes() + b"\n")


def lose_control(files: ImageFiles) -> None:
    files.control.unlink()


def cut_control(files: ImageFiles) -> None:
    files.control.write_bytes(files.control.read_bytes()[:-1])


def rename_mask(files: ImageFiles) -> None:
    (files.masks / "segmentation_0.png").rename(files.masks / "segmentation_77.png")


def cut_mask(files: ImageFiles) -> None:
    (files.masks / "segmentation_0.png").write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [cut_jpg, lose_mask, change_json, lose_control, cut_control, rename_mask, cut_mask],
)
def test_an_image_whose_files_are_not_whole_is_written_again(
    tmp_path: Path, damage: Callable[[ImageFiles], None]
) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members([1])))])
    with source.open() as reader:
        row = reader.read(source.listing().items[0]).row
    assert row is not None
    folder, scratch = tmp_path / "tree", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    assert write_image(folder, scratch, row)[0]
    assert not write_image(folder, scratch, row)[0]
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    damage(ImageFiles.of(folder, row["file_name"]))
    assert write_image(folder, scratch, row)[0]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole
    assert not list(scratch.iterdir())
