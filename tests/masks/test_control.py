"""The control image: ASAM's order, colours and overlaps, and the way back."""

from __future__ import annotations

import io
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asam_datasets import TRAIN_FEATURES, AsamDatasetsError
from builder.masks.control import control_colors, decode_control, mask_order, paint
from builder.masks.rle import RleBatch
from tests import recipe
from tests.masks.images import Masks, annotate, coco_counts, draw, mask_stacks, real_records


def paint_stack(masks: Masks) -> bytes:
    batch = RleBatch.parse(coco_counts(masks), *masks.shape[1:])
    return paint(batch, mask_order(annotate(masks)))


def open_rgb(png: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def shown(masks: Masks) -> npt.NDArray[np.int64]:
    """The mask that is painted last on each pixel, -1 where there is none."""
    picture = np.full(masks.shape[1:], -1)
    for i in recipe.order(annotate(masks)):
        picture[masks[i]] = i
    return picture


@settings(deadline=None)
@given(mask_stacks())
def test_any_masks_are_painted_as_by_the_recipe_and_read_back(masks: Masks) -> None:
    annotations = annotate(masks)
    rgb = open_rgb(paint_stack(masks))
    assert np.array_equal(rgb, recipe.control_image(annotations, *masks.shape[1:]))
    assert np.array_equal(decode_control(rgb, annotations), shown(masks))


def test_real_annotations_are_painted_as_by_the_recipe() -> None:
    for record in real_records():
        assert mask_order(record["annotations"]).tolist() == recipe.order(record["annotations"])
        annotations = record["annotations"][::4]  # the recipe paints each mask at full size
        height, width = record["image"]["height"], record["image"]["width"]
        batch = RleBatch.parse([a["segmentation"]["counts"] for a in annotations], height, width)
        rgb = open_rgb(paint(batch, mask_order(annotations)))
        assert np.array_equal(rgb, recipe.control_image(annotations, height, width))


def boxes(*sizes: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"bbox": [1.0, 2.0, width, height]} for width, height in sizes]


def test_the_order_is_by_the_area_of_the_box_and_not_of_the_mask() -> None:
    thin_diagonal = np.eye(40, dtype=np.bool_)
    square = np.zeros((40, 40), np.bool_)
    square[5:20, 5:20] = True
    masks = np.stack([square, thin_diagonal])
    assert square.sum() > thin_diagonal.sum()
    annotations = annotate(masks)
    assert mask_order(annotations).tolist() == [1, 0]
    found = decode_control(open_rgb(paint_stack(masks)), annotations)
    assert found[10, 10] == 0
    assert found[30, 30] == 1


def test_equal_boxes_keep_their_order() -> None:
    order = mask_order(boxes((2, 6), (3, 4), (5, 5), (4, 3), (12, 1), (1, 30)))
    assert order.tolist() == [5, 2, 0, 1, 3, 4]
    assert order.dtype == np.int64
    assert mask_order([]).shape == (0,)


@given(st.lists(st.tuples(*[st.floats(0, 1e4) | st.integers(0, 10_000)] * 2)))
def test_any_boxes_are_sorted_as_python_sorts_them(sizes: list[tuple[float, float]]) -> None:
    annotations = boxes(*sizes)
    assert mask_order(annotations).tolist() == recipe.order(annotations)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow"])
def test_every_form_of_an_annotations_column_is_read(form: str | None) -> None:
    masks = draw(3, 40, 60, 9)
    one = {
        "area": 1,
        "predicted_iou": 0.5,
        "point_coords": [[1.0, 2.0]],
        "crop_box": [0.0, 0.0, 60.0, 40.0],
        "stability_score": 1.0,
    }
    full = [annotation | one for annotation in annotate(masks)]
    features = datasets.Features({"annotations": TRAIN_FEATURES["annotations"]})
    rows = datasets.Dataset.from_dict({"annotations": [full]}, features=features)
    row = rows.with_format(form)[0]
    annotations = row["annotations"][0] if form == "arrow" else row["annotations"]
    assert mask_order(annotations).tolist() == recipe.order(full)
    rgb = open_rgb(paint_stack(masks))
    assert np.array_equal(decode_control(rgb, annotations), shown(masks))


def test_a_dict_of_lists_and_arrays_of_pyarrow_are_read() -> None:
    annotations = boxes((2, 2), (9, 9), (4, 4))
    column = [annotation["bbox"] for annotation in annotations]
    for form in ({"bbox": column}, {"bbox": np.array(column)}, pa.array(annotations)):
        assert mask_order(form).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "wrong", [8, [{"id": 1}], [{"bbox": [1, 2, 3]}], [{"bbox": None}], [{"bbox": [1, 2, 3, "x"]}]]
)
def test_what_has_no_boxes_is_refused(wrong: Any) -> None:
    with pytest.raises(AsamDatasetsError, match=r"each with a bbox of \[x, y, width, height\]"):
        mask_order(wrong)


def test_the_colours_are_those_of_asams_code_for_every_number_of_masks() -> None:
    for n in range(1, 5001):
        ranks = np.arange(1, n + 1)
        # Float division of numpy and of Python are the same: both round the exact quotient.
        positions = ((2**24 - 1) * ranks / n).astype(np.int64)
        colors = np.stack([positions % 256, positions // 256 % 256, positions // 65536], -1)
        assert np.array_equal(control_colors(n), colors), n
    for n in (1, 2, 3, 7, 100, 255, 256, 1000, 4097):
        for j, color in enumerate(control_colors(n).tolist()):
            pos = int((2**24 - 1) * (j + 1) / n)
            assert color == [pos % 256, pos // 256 % 256, pos // 65536]


@pytest.mark.parametrize(
    ("n", "mode"), [(0, "P"), (1, "P"), (255, "P"), (256, "RGB"), (700, "RGB")]
)
def test_many_masks_need_more_than_a_palette(n: int, mode: str) -> None:
    masks = draw(n, 37, 53, n)
    png = paint_stack(masks) if n else paint(RleBatch.parse([], 37, 53), mask_order([]))
    with Image.open(io.BytesIO(png)) as image:
        assert (image.mode, image.size) == (mode, (53, 37))
    annotations = annotate(masks) if n else []
    assert np.array_equal(decode_control(open_rgb(png), annotations), shown(masks))


def test_larger_than_a_block_of_the_transposition() -> None:
    masks = draw(11, 700, 900, 24)
    rgb = open_rgb(paint_stack(masks))
    assert np.array_equal(decode_control(rgb, annotate(masks)), shown(masks))


def test_opencv_reads_the_same_colours() -> None:
    cv2 = pytest.importorskip("cv2")
    png = paint_stack(draw(2, 90, 70, 12))
    bgr: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(bgr[..., ::-1], open_rgb(png))


def test_a_colour_of_no_mask_is_refused() -> None:
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[2, 3] = (1, 2, 3)
    with pytest.raises(AsamDatasetsError, match=r"\(1, 2, 3\) belongs to none of 8 masks"):
        decode_control(rgb, boxes(*[(2, 2)] * 8))
    with pytest.raises(AsamDatasetsError, match="none of 0 masks"):
        decode_control(rgb, [])
