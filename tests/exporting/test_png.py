"""PNGs of the tree give every reader of ASAM's the same arrays."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from builder.core.errors import ShardError
from builder.exporting.png import palette_mask, rgb_control
from builder.masks.png import encode_bitmap

SIZES = [(1, 1), (5, 9), (8, 8), (33, 17), (64, 250)]


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mask_reads_as_0_and_255_through_pil_opencv_and_scikit_image(
    tmp_path: Path, size: tuple[int, int], share: float
) -> None:
    mask = np.random.default_rng(0).random(size) < share
    expected = np.where(mask, 255, 0).astype(np.uint8)
    path = tmp_path / "segmentation_0.png"
    path.write_bytes(palette_mask(encode_bitmap(mask)))

    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image.convert("L")), expected)
    gray, colour = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.imread(str(path))
    assert gray is not None
    assert colour is not None
    assert np.array_equal(gray, expected)
    assert all(np.array_equal(colour[..., i], expected) for i in range(3))
    through_skimage = skimage.io.imread(path)
    first = through_skimage[..., 0] if through_skimage.ndim > 2 else through_skimage
    assert np.array_equal(first, expected)


def test_a_mask_grows_by_its_palette_alone() -> None:
    png = encode_bitmap(np.eye(300, dtype=np.bool_))
    assert len(palette_mask(png)) == len(png) + 12 + 6


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_what_is_no_1_bit_mask_is_refused(mode: str) -> None:
    with pytest.raises(ShardError, match="not a 1-bit grayscale PNG"):
        palette_mask(png_bytes(Image.new(mode, (9, 9))))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"not a png" * 9])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ShardError, match="not a 1-bit grayscale PNG"):
        palette_mask(data)


def palette_image(indices: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    return png_bytes(image)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 256),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_a_control_image_keeps_its_colours(
    height: int, width: int, colours: int, seed: int, flat: bool
) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    indices = rng.integers(0, colours, (height, width), dtype=np.uint8)
    if flat:
        indices[:] = indices[:1]
    with Image.open(io.BytesIO(rgb_control(palette_image(indices, palette)))) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), palette[indices])


def test_a_control_image_reads_as_three_channels_through_every_reader(tmp_path: Path) -> None:
    palette = np.array([(0, 0, 0), (255, 127, 3), (1, 2, 250)], np.uint8)
    indices = np.random.default_rng(0).integers(0, 3, (30, 41), dtype=np.uint8)
    path = tmp_path / "sa_1.png"
    path.write_bytes(rgb_control(palette_image(indices, palette)))
    with Image.open(path) as image:
        assert np.array_equal(np.array(image), palette[indices])
    assert np.array_equal(skimage.io.imread(path), palette[indices])
    bgr = cv2.imread(str(path))
    assert bgr is not None
    assert np.array_equal(bgr[..., ::-1], palette[indices])


def test_an_rgb_control_image_stays_as_it_is() -> None:
    png = png_bytes(Image.new("RGB", (7, 5), (1, 2, 3)))
    assert rgb_control(png) is png


def test_a_control_image_of_another_kind_is_refused() -> None:
    with pytest.raises(ShardError, match="mode L"):
        rgb_control(png_bytes(Image.new("L", (7, 5))))
