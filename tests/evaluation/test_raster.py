"""Maps of ids and binary masks, and their RLE."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image
from pycocotools import mask as coco

from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.fixtures.scenes import save_ids, voc_colour
from builder.sources.evaluation.raster import (
    compress,
    read_binary,
    read_ids,
    rle_of_ids,
    rle_of_mask,
)

MAPS = nps.arrays(
    np.int32,
    nps.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.integers(-1, 3) | st.just(2**24 - 1),
)


@given(MAPS)
def test_the_rle_of_each_value_is_what_pycocotools_encodes(ids: Any) -> None:
    found = dict(rle_of_ids(ids))
    assert sorted(found) == sorted(np.unique(ids).tolist())
    for value, counts in found.items():
        assert counts == coco.encode(np.asfortranarray(ids == value, np.uint8))["counts"]
        assert counts == rle_of_mask(ids == value)


def test_a_map_without_pixels_has_no_values() -> None:
    assert list(rle_of_ids(np.zeros((0, 4), np.int32))) == []


def test_run_lengths_are_compressed_as_pycocotools_does() -> None:
    assert compress([0, 5, 5], 2, 5) == b"055"


@pytest.mark.parametrize(("mode", "highest"), [("L", 255), ("P", 255), ("I;16", 65535)])
def test_indices_are_read_as_they_are(tmp_path: Path, mode: str, highest: int) -> None:
    ids = np.array([[0, 1, 2], [7, 200, highest]], np.int32)
    save_ids(tmp_path / "map.png", ids, mode)
    with Image.open(tmp_path / "map.png") as image:
        assert image.mode == mode
    assert np.array_equal(read_ids(tmp_path / "map.png", bits=16 if mode == "I;16" else 8), ids)


def test_24_bit_colours_are_read_as_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 256], [65536, 70000, 2**24 - 1]], np.int32)
    save_ids(tmp_path / "map.png", ids, "RGB")
    assert np.array_equal(read_ids(tmp_path / "map.png", colour="require"), ids)
    assert np.array_equal(read_ids(tmp_path / "map.png", colour="accept"), ids)


def test_a_palette_saved_as_rgb_is_a_fault(tmp_path: Path) -> None:
    save_ids(tmp_path / "map.png", np.array([[0, 1, 255]], np.int32), "P")
    with Image.open(tmp_path / "map.png") as image:
        assert image.convert("RGB").getpixel((2, 0)) == voc_colour(255) == (224, 224, 192)
        image.convert("RGB").save(tmp_path / "colours.png")
    assert read_ids(tmp_path / "map.png").tolist() == [[0, 1, 255]]
    with pytest.raises(Fault) as caught:
        read_ids(tmp_path / "colours.png")
    assert caught.value.reason == "truth_mode"
    assert "saved anew as colours" in caught.value.expected
    assert caught.value.found == "colours.png: mode RGB"


def test_a_16_bit_map_saved_as_8_bit_is_a_fault(tmp_path: Path) -> None:
    save_ids(tmp_path / "map.png", np.array([[0, 232]], np.int32))
    with pytest.raises(Fault) as caught:
        read_ids(tmp_path / "map.png", bits=16)
    assert caught.value.reason == "truth_depth"
    assert caught.value.found == "map.png: 8-bit, mode L"


def test_colours_where_they_are_required(tmp_path: Path) -> None:
    save_ids(tmp_path / "map.png", np.array([[0, 1]], np.int32))
    with pytest.raises(Fault) as caught:
        read_ids(tmp_path / "map.png", colour="require")
    assert caught.value.expected == "24-bit colours (RGB)"


@pytest.mark.parametrize("content", [b"", b"not a png", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "map.png").write_bytes(content)
    for reader in (read_ids, read_binary):
        with pytest.raises(Fault) as caught:
            reader(tmp_path / "map.png")
        assert caught.value.reason == "truth_unreadable"
        assert str(tmp_path) not in caught.value.found
        assert "map.png" in caught.value.found


def test_a_cut_off_image_is_a_fault(tmp_path: Path) -> None:
    save_ids(tmp_path / "map.png", np.arange(4096, dtype=np.int32).reshape(64, 64) % 251)
    data = (tmp_path / "map.png").read_bytes()
    (tmp_path / "map.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(Fault) as caught:
        read_ids(tmp_path / "map.png")
    assert caught.value.reason == "truth_unreadable"


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    with pytest.raises(Fault) as caught:
        read_binary(tmp_path / "bomb.png")
    assert caught.value.reason == "image_too_large"


def test_binary_masks_take_the_first_channel_above_127(tmp_path: Path) -> None:
    red = np.array([[0, 127, 128, 255]], np.uint8)
    rest = np.zeros((1, 4, 2), np.uint8) + 255
    expected = [[False, False, True, True]]
    for name, pixels in (("gray.png", red), ("rgb.png", np.dstack((red, rest)))):
        Image.fromarray(pixels).save(tmp_path / name)
        assert read_binary(tmp_path / name).tolist() == expected
    Image.fromarray(red).save(tmp_path / "mask.tif")
    assert read_binary(tmp_path / "mask.tif").tolist() == expected
    Image.fromarray(red > 127).save(tmp_path / "one.png")
    assert read_binary(tmp_path / "one.png").tolist() == expected


def test_a_16_bit_binary_mask_is_a_fault(tmp_path: Path) -> None:
    save_ids(tmp_path / "mask.png", np.array([[0, 65535]], np.int32), "I;16")
    with pytest.raises(Fault) as caught:
        read_binary(tmp_path / "mask.png")
    assert caught.value.reason == "truth_mode"


def test_hdf5_holds_signed_ids(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "frame.hdf5", "w") as file:
        file["dataset"] = np.array([[-1, 5]], np.int32)
    assert read_ids(tmp_path / "frame.hdf5").tolist() == [[-1, 5]]
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["depth"] = np.zeros((2, 2))
    with h5py.File(tmp_path / "float.hdf5", "w") as file:
        file["dataset"] = np.zeros((2, 2))
    (tmp_path / "none.hdf5").write_bytes(b"not hdf5")
    for name, reason in (
        ("other", "truth_unreadable"),
        ("float", "truth_mode"),
        ("none", "truth_unreadable"),
        ("absent", "truth_unreadable"),
    ):
        with pytest.raises(Fault) as caught:
            read_ids(tmp_path / f"{name}.hdf5")
        assert caught.value.reason == reason
        assert str(tmp_path) not in caught.value.found


def hdf5(path: Path, make: Callable[[Any], object]) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        make(file)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda file: file.create_group("dataset"), "truth_unreadable"),
        (lambda file: file.create_dataset("other", data=[1]), "truth_unreadable"),
        (
            lambda file: file.create_dataset("dataset", (10**6, 10**6), "u1", chunks=(512, 512)),
            "image_too_large",
        ),
    ],
    ids=["a group", "no dataset", "a size that no image has"],
)
def test_hdf5_of_another_form_is_a_fault(
    tmp_path: Path, make: Callable[[Any], object], reason: str
) -> None:
    with pytest.raises(Fault) as caught:
        read_ids(hdf5(tmp_path / "map.hdf5", make))
    assert caught.value.reason == reason


def test_damaged_hdf5_is_a_fault(tmp_path: Path) -> None:
    ids = np.arange(64 * 64).reshape(64, 64)
    path = hdf5(
        tmp_path / "map.hdf5",
        lambda file: file.create_dataset("dataset", data=ids, compression="gzip", chunks=(16, 16)),
    )
    whole = path.read_bytes()
    rng = random.Random(3)
    faults = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randrange(1, len(data))] if rng.random() < 0.2 else data)
        try:
            read_ids(path)
        except Fault:
            faults += 1
    assert faults > 50
