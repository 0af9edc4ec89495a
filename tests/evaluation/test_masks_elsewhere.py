"""Masks with other values or in another channel, and maps of ids that lost their labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builder.core.errors import SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import save_ids
from builder.sources.evaluation.photos import published
from builder.sources.evaluation.raster import check_labels, read_binary, read_ids
from tests.evaluation.reading import read

MASK = np.zeros((40, 60), np.uint8)
MASK[5:20, 10:40] = 255
ZERO, FULL = np.zeros_like(MASK), np.full_like(MASK, 255)


def fault(path: Path, *, lenient: bool = False) -> tuple[str, str]:
    with pytest.raises(Fault) as caught:
        read_binary(path, lenient=lenient)
    return caught.value.reason, caught.value.found


@pytest.mark.parametrize(
    ("mode", "planes", "found"),
    [
        ("LA", (FULL, MASK), "L holds 255, A holds 0 and 255"),
        ("LA", (ZERO, MASK), "L holds 0, A holds 0 and 255"),
        ("RGBA", (FULL, FULL, FULL, MASK), "R holds 255, A holds 0 and 255"),
        ("RGB", (ZERO, MASK, ZERO), "R holds 0, G holds 0 and 255"),
        ("RGB", (ZERO, MASK, MASK), "R holds 0, G holds 0 and 255, B holds 0 and 255"),
        ("RGBA", (ZERO, MASK // 255, ZERO, FULL), "R holds 0, G holds 0 and 1"),
    ],
)
def test_a_mask_in_another_channel_is_read_where_that_is_allowed(
    tmp_path: Path, mode: str, planes: tuple[Any, ...], found: str
) -> None:
    path = tmp_path / "m.png"
    Image.merge(mode, [Image.fromarray(plane) for plane in planes]).save(path)
    assert fault(path) == ("mask_channel", f"m.png: {found}")
    assert np.array_equal(read_binary(path, lenient=True), MASK > 0)


def test_channels_that_differ_are_never_chosen_from(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    planes = (ZERO, MASK, np.ascontiguousarray(MASK[::-1]))
    Image.merge("RGB", [Image.fromarray(plane) for plane in planes]).save(path)
    assert fault(path, lenient=True)[0] == "mask_channel"


@pytest.mark.parametrize(
    ("values", "found", "lenient_too"),
    [
        ((0, 1), "0 and 1", False),
        ((0, 100), "0 and 100", True),
        ((0, 1, 2), "0, 1 and 2", True),
        ((0, 1, 2, 3, 4, 5, 6, 7), "0, 1, 2, 3, 4, 5 and 2 more values", True),
        ((3,), "3", True),
    ],
)
def test_values_that_are_no_mask_are_shown(
    tmp_path: Path, values: tuple[int, ...], found: str, lenient_too: bool
) -> None:
    path = tmp_path / "m.png"
    pixels = np.resize(np.array(values, np.uint8), MASK.shape)
    Image.fromarray(pixels).save(path)
    assert fault(path) == ("mask_values", f"m.png holds {found}")
    if lenient_too:
        assert fault(path, lenient=True)[0] == "mask_values"
    else:
        assert np.array_equal(read_binary(path, lenient=True), pixels == 1)


def test_empty_full_and_noisy_masks_are_what_they_were(tmp_path: Path) -> None:
    for name, pixels, expected in (
        ("empty.png", ZERO, ZERO),
        ("full.png", FULL, FULL),
        ("mask.png", MASK, MASK),
        ("rgb.png", np.dstack([MASK, FULL, ZERO]), MASK),
        ("two.png", np.where(MASK, 200, 50).astype(np.uint8), MASK),
    ):
        Image.fromarray(pixels).save(tmp_path / name)
        for lenient in (False, True):
            assert np.array_equal(read_binary(tmp_path / name, lenient=lenient), expected > 0)
    noise = np.random.default_rng(0).integers(0, 9, MASK.shape).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg")
    assert not read_binary(tmp_path / "noise.jpg").any()


def test_a_palette_whose_colours_are_black_and_white_is_a_mask(tmp_path: Path) -> None:
    image = Image.fromarray(MASK // 255).convert("P")
    image.frombytes((MASK // 255).tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_binary(tmp_path / "m.png"), MASK > 0)


def labels() -> Any:
    """Two instances and background, with values far apart."""
    ids = np.zeros((120, 160), np.uint8)
    ids[10:60, 20:90] = 100
    y, x = np.mgrid[:120, :160]
    ids[(y - 80) ** 2 + (x - 110) ** 2 < 30**2] = 200
    return ids


def test_a_map_saved_as_jpeg_is_named(tmp_path: Path) -> None:
    Image.fromarray(labels()).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(Fault) as caught:
        read_ids(tmp_path / "a.png")
    assert (caught.value.reason, caught.value.found) == ("truth_lossy", "a.png: JPEG")


def blurred(kind: str) -> Any:
    """The labels after an accident, each with dozens of values."""
    image = Image.fromarray(labels())
    if kind == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        return np.asarray(Image.open(buffer))
    if kind == "webp":
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=80)
        return np.asarray(Image.open(buffer).convert("L"))
    return np.asarray(image.resize((131, 97), getattr(Image.Resampling, kind)))


@pytest.mark.parametrize("kind", ["jpeg", "webp", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_compression_noise_in_a_map_is_named(kind: str) -> None:
    ids = blurred(kind).astype(np.int32)
    with pytest.raises(Fault) as caught:
        check_labels(ids, "a.png")
    assert caught.value.reason == "truth_noise"
    assert f"a.png: {len(np.unique(ids))} values, " in caught.value.found


@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
def test_noise_around_tall_and_wide_shapes_is_noise_alike(shape: tuple[int, int]) -> None:
    ids = np.zeros(shape, np.uint8)
    for at, value in enumerate(range(40, 240, 40)):
        inside = slice(at * 55 + 5, at * 55 + 50), slice(8, 32)
        ids[inside if shape[0] > shape[1] else inside[::-1]] = value
    image = Image.fromarray(ids)
    if shape[0] > shape[1]:  # along the short side alone, so the long edges blur
        size = (image.width * 3 // 2, image.height)
    else:
        size = (image.width, image.height * 3 // 2)
    noisy = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.int32)
    with pytest.raises(Fault) as caught:
        check_labels(noisy, "a.png")
    assert caught.value.reason == "truth_noise"


def test_whole_labels_of_any_size_pass() -> None:
    ids = labels().astype(np.int32)
    for good in (ids, ids[::3, ::3], ids[:0], np.zeros((4, 4), np.int32)):
        check_labels(good, "a.png")
    many = np.kron(np.arange(600).reshape(20, 30), np.ones((3, 2), np.int64)).astype(np.int32)
    check_labels(many, "a.png")  # hundreds of tiny instances
    few = ids.copy()
    few[0, 0], few[50, 50], few[90, 10] = 1, 2, 3  # some instances of one pixel
    check_labels(few, "a.png")
    check_labels(few[:, :80], "a.png")  # they are more than half of all


def test_a_noisy_map_is_a_reject_of_its_image(tmp_path: Path) -> None:
    folder = write_fixture("voc2012", tmp_path)
    truth = folder / "VOCdevkit/VOC2012/SegmentationObject"
    paths = sorted(truth.glob("*.png"))
    with Image.open(paths[0]) as stored:
        image = Image.fromarray(np.asarray(stored) * 60)
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)
    save_ids(paths[0], np.asarray(half.resize(image.size, Image.Resampling.BILINEAR)))
    rejects = read(open_source("voc2012", "native", folder)).rejects
    assert [(r.reason, Path(r.member).stem) for r in rejects] == [("truth_noise", paths[0].stem)]


def test_the_protocol_decides_what_is_a_mask(tmp_path: Path) -> None:
    folder = write_fixture("big", tmp_path)
    for path in folder.rglob("*_gt.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        Image.fromarray(pixels // 255).save(path)
    result = read(open_source("big", "native", folder))
    assert result.rejects == []
    assert all(row["annotations"] for row in result.rows.values())
    with pytest.raises(SourceError, match="holds 0 and 1"):
        open_source("big", "asam", folder).listing()


def large_jpeg(**options: Any) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def test_a_photograph_with_a_hole_is_rejected(tmp_path: Path) -> None:
    """A download whose middle is missing; Pillow decodes it without an error."""
    folder = write_fixture("voc2012", tmp_path)
    before = read(open_source("voc2012", "native", folder))
    path = sorted((folder / "VOCdevkit/VOC2012/JPEGImages").glob("*.jpg"))[0]
    data = large_jpeg()
    path.write_bytes(data[:20_000] + bytes(6000) + data[26_000:])
    with Image.open(path) as image:
        image.load()
    after = read(open_source("voc2012", "native", folder))
    assert len(after.rows) == len(before.rows) - 1
    assert after.reject().reason == "image_unreadable"
    assert "zeros from byte 20000 on, so a download has not finished" in after.reject().found


@pytest.mark.parametrize("kind", ["padding", "comment"])
def test_zeros_that_are_no_image_data_are_no_hole(kind: str) -> None:
    data = large_jpeg(comment=bytes(6000)) if kind == "comment" else large_jpeg() + bytes(6000)
    assert bytes(5000) in data
    assert published(data, "shown") == (data, (320, 240))
