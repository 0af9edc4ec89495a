"""The control image: ASAM's order, colours and overlaps, and the way back."""

from __future__ import annotations

import io
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asam_datasets import TRAIN_FEATURES, AsamDatasetsError, decode_masks
from builder.masks.control import control_colors, decode_control, mask_order, paint
from builder.masks.rle import RleBatch
from tests import recipe
from tests.masks.images import Masks, annotate, coco_counts, draw, mask_stacks, real_records

BLACK = np.zeros((4, 5, 3), np.uint8)


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
        annotations = record["annotations"][::8]  # the recipe paints each mask at full size
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


def formatted(annotations: list[dict[str, Any]], form: str | None) -> Any:
    """The annotations of a row, as `datasets` returns them with a format."""
    one = {
        "area": 1,
        "predicted_iou": 0.5,
        "point_coords": [[1.0, 2.0]],
        "crop_box": [0.0, 0.0, 60.0, 40.0],
        "stability_score": 1.0,
    }
    full = [annotation | one for annotation in annotations]
    features = datasets.Features({"annotations": TRAIN_FEATURES["annotations"]})
    rows = datasets.Dataset.from_dict({"annotations": [full]}, features=features)
    return rows.with_format(form)[0]["annotations"]


@pytest.mark.parametrize("number", [1, 9])
@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow", "pandas"])
def test_every_form_of_an_annotations_column_is_read(form: str | None, number: int) -> None:
    masks = draw(3, 40, 60, number)
    annotations = formatted(annotate(masks), form)
    assert mask_order(annotations).tolist() == recipe.order(annotate(masks))
    rgb = open_rgb(paint_stack(masks))
    assert np.array_equal(decode_control(rgb, annotations), shown(masks))
    assert np.array_equal(decode_masks(annotations), masks)


@pytest.mark.parametrize(
    "column", [pa.array([[], []]).to_pandas(), pa.array([[], []]), np.zeros((2, 2))]
)
def test_a_column_of_several_rows_is_refused(column: Any) -> None:
    for read in (decode_masks, mask_order, lambda rows: decode_control(BLACK, rows)):
        with pytest.raises(AsamDatasetsError, match="annotations must be a row's"):
            read(column)


# float32 holds neither width, and makes the second box the larger one.
NEARLY_EQUAL = [{"id": i, "bbox": [0.0, 0.0, w, 10.0]} for i, w in ((7, 1.1), (8, 1.1 - 1e-12))]


@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_boxes_that_a_format_rounded_are_refused(form: str) -> None:
    annotations = [a | {"segmentation": {"size": [4, 5], "counts": "d0"}} for a in NEARLY_EQUAL]
    assert mask_order(annotations).tolist() == [0, 1]
    rounded = formatted(annotations, form)
    for read in (mask_order, lambda given: decode_control(BLACK, given)):
        with pytest.raises(
            AsamDatasetsError, match=r"annotation 7: .* float32 .*with_format\(None\)"
        ):
            read(rounded)
    for plain in (None, "arrow", "pandas"):
        assert mask_order(formatted(annotations, plain)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.float16, 2.0**11), (np.float32, 2.0**24), (np.float64, 2.0**60)]
)
def test_whole_numbers_are_taken_as_far_as_a_dtype_holds_each(dtype: Any, largest: float) -> None:
    def box(height: float) -> list[dict[str, Any]]:
        return [{"bbox": np.array([0, 0, 1, height], dtype)}]

    assert mask_order(box(largest)).tolist() == [0]
    if dtype != np.float64:
        with pytest.raises(AsamDatasetsError, match="may be rounded"):
            mask_order(box(2 * largest))


def test_a_dict_of_lists_and_arrays_of_pyarrow_are_read() -> None:
    annotations = boxes((2, 2), (9, 9), (4, 4))
    column = [annotation["bbox"] for annotation in annotations]
    for form in ({"bbox": column}, {"bbox": np.array(column)}, pa.array(annotations)):
        assert mask_order(form).tolist() == [1, 2, 0]


@pytest.mark.parametrize("wrong", [8, [{"id": 1}], "abc", {"id": [1]}, [None], {"bbox": 3}])
def test_what_has_no_boxes_is_refused(wrong: Any) -> None:
    with pytest.raises(AsamDatasetsError, match=r"each with a bbox of \[x, y, width, height\]"):
        mask_order(wrong)


@pytest.mark.parametrize(
    "box",
    [
        *([1, 2, 3], [1, 2, 3, 4, 5], [], [[1, 2, 3, 4]], None, 4, {"x": 1}),
        *([1, 2, 3, "4"], ["1", "2", "3", "4"], "1234", b"1234", [1, 2, [3], 4], [1, 2, None, 4]),
        *([1, 2, 3, float("nan")], [float("inf"), 0, 1, 1], np.array([0, 0, np.inf, 1], "f4")),
        *([1, 2, 3, 1j], [True] * 4, [1, 2, 3, 10**400]),
    ],
    ids=repr,
)
def test_a_box_that_is_not_four_finite_numbers_is_refused(box: Any) -> None:
    with pytest.raises(AsamDatasetsError, match=r"annotation 31: bbox must be .* finite"):
        mask_order([{"id": 30, "bbox": [0, 0, 1, 1]}, {"id": 31, "bbox": box}])
    with pytest.raises(AsamDatasetsError, match=r"annotation 31: bbox must be .* finite"):
        mask_order({"id": [31], "bbox": [box]})


@pytest.mark.parametrize("n", [-1, 1.5, "3", None, 2**24, 2**70])
def test_a_number_of_masks_is_a_whole_number(n: Any) -> None:
    with pytest.raises(AsamDatasetsError, match="whole number from 0 to 16777215"):
        control_colors(n)


@pytest.mark.parametrize(
    "image",
    [
        *(BLACK[..., 0], BLACK.transpose(2, 0, 1), BLACK[None], np.zeros((4, 5, 4), np.uint8)),
        *(BLACK.astype(np.float32), BLACK != 0, BLACK.astype(int) - 1, BLACK.astype(int) + 256),
        *({"bytes": b""}, None, "rgb", 3, [], [[1], [1, 2]], torch.zeros(3, 4, 5)),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: Any) -> None:
    with pytest.raises(AsamDatasetsError, match=r"the control image (must be|can't be read)"):
        decode_control(image, [])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_a_pil_image_of_any_mode_is_taken(mode: str) -> None:
    black = Image.new("L", (5, 4)).convert(mode)
    assert np.array_equal(decode_control(black, []), np.full((4, 5), -1))


def test_a_palette_image_and_a_tensor_show_the_same_as_rgb() -> None:
    masks = draw(3, 40, 60, 9)
    annotations = annotate(masks)
    png = paint_stack(masks)
    rgb = open_rgb(png)
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "P"
        assert np.array_equal(decode_control(image, annotations), shown(masks))
    for form in (torch.tensor(rgb), rgb.astype(np.int64), rgb.tolist()):
        assert np.array_equal(decode_control(form, annotations), shown(masks))


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
