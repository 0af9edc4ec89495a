"""The control image: ASAM's colours, small masks on top, and the way back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from PIL import Image

from asam_datasets import AsamDatasetsError
from builder.masks.control import control_colors, decode_control, paint
from builder.masks.rle import RleBatch
from tests.masks.images import Masks, coco_counts, draw, mask_stacks


def paint_stack(masks: Masks) -> bytes:
    return paint(RleBatch.parse(coco_counts(masks), *masks.shape[1:]))


def open_rgb(png: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def shown(masks: Masks) -> npt.NDArray[np.int64]:
    """Painted one after another: the largest first, ties in order."""
    order = sorted(range(len(masks)), key=lambda i: (-int(masks[i].sum()), i))
    picture = np.full(masks.shape[1:], -1)
    for i in order:
        picture[masks[i]] = i
    return picture


@settings(deadline=None)
@given(mask_stacks())
def test_each_pixel_shows_the_smallest_mask_on_it(masks: Masks) -> None:
    rgb = open_rgb(paint_stack(masks))
    assert np.array_equal(decode_control(rgb, len(masks)), shown(masks))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 255, 256, 1000, 4097])
def test_the_colours_are_those_of_asams_code(n: int) -> None:
    for i, color in enumerate(control_colors(n).tolist()):
        pos = int((2**24 - 1) * (i + 1) / n)
        assert color == [pos % 256, pos // 256 % 256, pos // 65536]


@pytest.mark.parametrize(
    ("n", "mode"), [(0, "P"), (1, "P"), (255, "P"), (256, "RGB"), (700, "RGB")]
)
def test_many_masks_need_more_than_a_palette(n: int, mode: str) -> None:
    masks = draw(n, 37, 53, n)
    png = paint_stack(masks) if n else paint(RleBatch.parse([], 37, 53))
    with Image.open(io.BytesIO(png)) as image:
        assert (image.mode, image.size) == (mode, (53, 37))
    assert np.array_equal(decode_control(open_rgb(png), n), shown(masks))


def test_larger_than_a_block_of_the_transposition() -> None:
    masks = draw(11, 700, 900, 24)
    assert np.array_equal(decode_control(open_rgb(paint_stack(masks)), 24), shown(masks))


def test_opencv_reads_the_same_colours() -> None:
    cv2 = pytest.importorskip("cv2")
    png = paint_stack(draw(2, 90, 70, 12))
    bgr: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(bgr[..., ::-1], open_rgb(png))


def test_a_colour_of_no_mask_is_refused() -> None:
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[2, 3] = (1, 2, 3)
    with pytest.raises(AsamDatasetsError, match=r"\(1, 2, 3\) belongs to none of 8 masks"):
        decode_control(rgb, 8)
    with pytest.raises(AsamDatasetsError, match="none of 0 masks"):
        decode_control(rgb, 0)
