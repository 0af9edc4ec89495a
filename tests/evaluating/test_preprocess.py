"""Square is ASAM's preprocessing and Pad is SAM's, bit for bit.

The oracles follow the authors' code, which is not here: torch's interpolation and Pillow's resize
called as those files call them.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("torch")

import torch

from builder.evaluating.preprocess import Pad, Square, outermost

SIDE = 256
SIZES = [(300, 500), (640, 200), (256, 256), (100, 77), (256, 90), (1031, 1024)]


def photograph(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Noise over gradients and a flat part: every rounding occurs."""
    rng = np.random.default_rng(seed)
    height, width = size
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width)[None, :, None].astype(np.uint8)
    pixels[height // 4 : height // 3] = 255
    return Image.fromarray(pixels)


def blobs(size: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """Masks with ragged borders, some of a single pixel or row."""
    rng = np.random.default_rng(seed)
    height, width = size
    masks = np.zeros((count, height, width), bool)
    for i, mask in enumerate(masks):
        top, left = rng.integers(0, height), rng.integers(0, width)
        part = mask[top : top + 1 + height // 2 * (i % 3), left : left + 1 + width // 2 * (i % 2)]
        part[:] = rng.random(part.shape) < 0.7
        part[0, 0] = True
    return masks


def asam_input(image: Image.Image, side: int) -> torch.Tensor:
    """sam_continue_learning: dataloader.py reads and resizes, main.py truncates, sam.py norms."""
    read = torch.tensor(np.asarray(image).copy(), dtype=torch.float32)
    chw = torch.transpose(torch.transpose(read, 1, 2), 0, 1)
    square = torch.nn.functional.interpolate(chw.unsqueeze(0), [side, side], mode="bilinear")
    whole = square[0].permute(1, 2, 0).numpy().astype(np.uint8)
    mean = torch.Tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    deviation = torch.Tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    return (torch.as_tensor(whole).permute(2, 0, 1).contiguous()[None] - mean) / deviation


def asam_boxes(masks: np.ndarray, side: int) -> torch.Tensor:
    """The masks of an image resized as the channels of one tensor; min and max of those > 128."""
    labels = torch.tensor(masks).to(torch.float32) * 255.0
    small = torch.nn.functional.interpolate(labels.unsqueeze(0), [side, side], mode="bilinear")[0]
    boxes = []
    for mask in small > 128:
        y, x = torch.nonzero(mask, as_tuple=True)
        empty = not len(x)
        boxes.append([1e8, 1e8, 0, 0] if empty else [x.min(), y.min(), x.max(), y.max()])
    return torch.tensor(boxes, dtype=torch.float32)


def sam_input(image: Image.Image, side: int) -> torch.Tensor:
    """ResizeLongestSide by Pillow, then Sam.preprocess."""
    height, width = sam_size((image.height, image.width), side)
    scaled = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
    mean = torch.Tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    deviation = torch.Tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    result = torch.zeros(1, 3, side, side)
    whole = torch.as_tensor(scaled).permute(2, 0, 1).contiguous()
    result[0, :, :height, :width] = (whole - mean) / deviation
    return result


def sam_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side * 1.0 / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


@pytest.mark.parametrize("size", SIZES)
def test_square_is_the_image_that_asam_sees(size: tuple[int, int]) -> None:
    image = photograph(size)
    found = Square(SIDE).image(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, asam_input(image, SIDE))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 3, 7])
def test_square_has_the_boxes_that_asam_has(size: tuple[int, int], count: int) -> None:
    masks = blobs(size, count)
    assert torch.equal(Square(SIDE).boxes(masks), asam_boxes(masks, SIDE))


def test_a_mask_that_vanishes_in_the_square_has_asams_empty_box() -> None:
    masks = np.zeros((2, 1000, 1000), bool)
    masks[0, 501, 501] = True
    masks[1, 200:300, 400:600] = True
    boxes = Square(SIDE).boxes(masks)
    assert boxes[0].tolist() == [1e8, 1e8, 0, 0]
    assert torch.equal(boxes, asam_boxes(masks, SIDE))
    assert Square(SIDE).resized(masks).any((1, 2)).tolist() == [False, True]


def test_the_resized_masks_box_is_not_the_masks_box_resized() -> None:
    """Why it matters: a thin limb of the mask is lost in the square, and the box shrinks."""
    masks = np.zeros((1, 1200, 1200), bool)
    masks[0, 400:800, 400:800] = True
    masks[0, 600, 100:400] = True
    assert Square(SIDE).boxes(masks)[0, 0] > 80
    assert Pad(SIDE).boxes(masks)[0, 0] < 22


@pytest.mark.parametrize("baseline", [False, True])
def test_square_enlarges_as_asam_does(baseline: bool) -> None:
    logits = torch.randn(3, 1, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(0))
    size = (300, 500)
    expected = logits
    if not baseline:
        expected = torch.nn.functional.interpolate(
            expected, scale_factor=4, mode="bilinear", align_corners=False
        )
    expected = torch.nn.functional.interpolate(
        expected, size=size, mode="bilinear", align_corners=False
    )
    assert torch.equal(Square(SIDE, baseline).masks(logits, size), expected > 0)


@pytest.mark.parametrize("size", SIZES)
def test_pad_is_the_image_that_sam_sees(size: tuple[int, int]) -> None:
    image = photograph(size)
    assert torch.equal(Pad(SIDE).image(image), sam_input(image, SIDE))


@settings(deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([64, 256, 1024]))
def test_pad_takes_the_pixels_that_sam_gives(height: int, width: int, side: int) -> None:
    expected = sam_size((height, width), side)
    assert Pad(side).inner((height, width)) == (max(1, expected[0]), max(1, expected[1]))


def test_halves_are_rounded_up() -> None:
    assert Pad(1024).inner((1024, 2048)) == (512, 1024)
    assert Pad(1024).inner((5, 2048)) == (3, 1024)  # 2.5, which Python's round makes 2


@pytest.mark.parametrize("side", [256, 1024])
def test_a_very_long_image_keeps_one_pixel_of_height(side: int) -> None:
    image = photograph((20, 16_000))
    assert Pad(side).inner((20, 16_000)) == (1, side)
    pixels = Pad(side).image(image)
    assert pixels[0, :, 0].any()
    assert not pixels[0, :, 1:].any()
    masks = np.zeros((1, 20, 16_000), bool)
    masks[0, 4:10, 8_000:12_000] = True
    assert Pad(side).boxes(masks).shape == (1, 4)
    logits = torch.ones(1, 1, side // 4, side // 4)
    assert Pad(side).masks(logits, (20, 16_000)).shape == (1, 1, 20, 16_000)


@settings(deadline=None)
@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.lists(st.floats(0, 4000, width=32), min_size=2, max_size=2),
)
def test_pad_scales_points_by_the_ratio_of_lengths(
    height: int, width: int, point: list[float]
) -> None:
    inner = Pad(1024).inner((height, width))
    expected = torch.as_tensor(
        np.array([point[0] * (inner[1] / width), point[1] * (inner[0] / height)]),
        dtype=torch.float,
    )
    found = Pad(1024).coordinates(np.array(point), (height, width))
    assert torch.equal(torch.from_numpy(found), expected)


def test_pad_has_the_masks_own_box_scaled() -> None:
    masks = np.zeros((1, 300, 500), bool)
    masks[0, 40:120, 30:130] = True
    height, width = sam_size((300, 500), SIDE)
    scale = np.array([width / 500, height / 300] * 2)
    expected = torch.as_tensor(np.array([[30, 40, 129, 119]]) * scale, dtype=torch.float)
    assert torch.equal(Pad(SIDE).boxes(masks), expected)


def test_pad_cuts_the_padding_away_before_it_enlarges() -> None:
    logits = torch.randn(2, 3, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(0))
    size = (300, 500)
    height, width = sam_size(size, SIDE)
    square = torch.nn.functional.interpolate(
        logits, (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    expected = torch.nn.functional.interpolate(
        square[..., :height, :width], size, mode="bilinear", align_corners=False
    )
    assert torch.equal(Pad(SIDE).masks(logits, size), expected > 0)


@pytest.mark.parametrize("preprocess", [Square(SIDE), Pad(SIDE)])
def test_images_of_other_modes_are_taken(preprocess: Square | Pad) -> None:
    gray = photograph((60, 80)).convert("L")
    assert torch.equal(preprocess.image(gray), preprocess.image(gray.convert("RGB")))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_outermost_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 3, height, width)) < 0.1
    masks[..., rng.integers(height), rng.integers(width)] = True
    for mask, box in zip(
        masks.reshape(-1, height, width), outermost(masks).reshape(-1, 4), strict=True
    ):
        y, x = np.nonzero(mask)
        assert box.tolist() == [x.min(), y.min(), x.max(), y.max()]
