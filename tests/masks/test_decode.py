"""decode_masks: what pycocotools decodes, at full size or sampled, from any form of a row."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from asam_datasets import TRAIN_FEATURES, AsamDatasetsError, decode_masks
from tests.masks.images import Masks, annotate, draw, mask_stacks, real_records


def sample(masks: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Nearest neighbour at pixel centres."""
    (h, w), (height, width) = size, masks.shape[1:]
    rows = [((2 * i + 1) * height) // (2 * h) for i in range(h)]
    columns = [((2 * j + 1) * width) // (2 * w) for j in range(w)]
    return masks[:, rows][:, :, columns]


@settings(deadline=None)
@given(mask_stacks(largest=90))
def test_full_size(masks: Masks) -> None:
    decoded = decode_masks(annotate(masks))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, masks)


@settings(deadline=None)
@given(mask_stacks(), st.integers(1, 90), st.integers(1, 90))
def test_any_other_size_down_and_up(masks: Masks, h: int, w: int) -> None:
    decoded = decode_masks(annotate(masks), size=(h, w))
    assert np.array_equal(decoded, sample(masks, (h, w)))


@settings(deadline=None)
@given(mask_stacks(), st.integers(1, 90), st.integers(1, 90))
def test_packed_they_are_the_bits_of_the_pixels(masks: Masks, h: int, w: int) -> None:
    annotations = annotate(masks)
    assert np.array_equal(decode_masks(annotations, packed=True), np.packbits(masks, axis=-1))
    bits = decode_masks(annotations, size=(h, w), packed=True)
    assert bits.dtype == np.uint8
    assert np.array_equal(bits, np.packbits(sample(masks, (h, w)), axis=-1))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_any_dtype(dtype: type[np.generic]) -> None:
    masks = draw(1, 30, 40, 5)
    decoded = decode_masks(annotate(masks), dtype=dtype)
    assert decoded.dtype == dtype
    assert np.array_equal(decoded, masks.astype(dtype))


def test_masks_of_several_sizes_need_a_common_one() -> None:
    small, large = draw(1, 20, 30, 3), draw(2, 50, 40, 3)
    mixed = [a for pair in zip(annotate(small), annotate(large), strict=True) for a in pair]
    with pytest.raises(AsamDatasetsError, match=r"differ in size .* give size="):
        decode_masks(mixed)
    decoded = decode_masks(mixed, size=(25, 25))
    assert np.array_equal(decoded[::2], sample(small, (25, 25)))
    assert np.array_equal(decoded[1::2], sample(large, (25, 25)))


def test_no_annotations() -> None:
    assert decode_masks([], size=(7, 9)).shape == (0, 7, 9)
    assert decode_masks([]).shape == (0, 0, 0)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow"])
def test_every_form_in_which_datasets_returns_a_row(form: str | None) -> None:
    if form == "torch":
        pytest.importorskip("torch")
    masks = draw(4, 24, 35, 6)
    features = datasets.Features({"annotations": TRAIN_FEATURES["annotations"]})
    full = [
        {
            **annotation,
            "bbox": [0.0, 0.0, 1.0, 1.0],
            "area": 1,
            "predicted_iou": 1.0,
            "point_coords": [[0.5, 0.5]],
            "crop_box": [0.0, 0.0, 35.0, 24.0],
            "stability_score": 1.0,
        }
        for annotation in annotate(masks)
    ]
    rows = datasets.Dataset.from_dict({"annotations": [full]}, features=features)
    row = rows.with_format(form)[0]
    annotations = row["annotations"][0] if form == "arrow" else row["annotations"]
    assert np.array_equal(decode_masks(annotations), masks)


def test_a_dict_of_lists() -> None:
    masks = draw(4, 24, 35, 3)
    annotations = annotate(masks)
    segmentations = [a["segmentation"] for a in annotations]
    columns = {"id": [1, 2, 3], "segmentation": segmentations}
    assert np.array_equal(decode_masks(columns), masks)
    nested = {key: [s[key] for s in segmentations] for key in ("size", "counts")}
    assert np.array_equal(decode_masks({"segmentation": nested}), masks)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 5], "counts": ""}, r"annotation 77: malformed RLE \(rle_empty\)"),
        ({"size": [4, 5], "counts": "3"}, r"annotation 77: .* found counts that add up to 3"),
        ({"size": [4, 5], "counts": [3, 17]}, "annotation 77: counts must be a compressed RLE"),
        ({"size": [0, 5], "counts": "0"}, "annotation 77: a mask can't have the size"),
        ({"size": [2**20, 2**20], "counts": "0"}, "annotation 77: a mask can't have the size"),
        ({"size": [4, float("inf")], "counts": "0"}, "annotations must be a row's"),
        ({"size": [4], "counts": "0"}, "annotations must be a row's"),
        ({"counts": "0"}, "annotations must be a row's"),
        (None, "annotations must be a row's"),
    ],
)
def test_what_can_not_be_decoded_is_named(segmentation: Any, message: str) -> None:
    annotations = [{"id": 77, "segmentation": segmentation}]
    with pytest.raises(AsamDatasetsError, match=message):
        decode_masks(annotations, size=(4, 5))


@pytest.mark.parametrize(
    "size", [(0, 4), (4,), (4, 5, 6), (-1, 3), 512, ("a", 3), (float("inf"), 3)]
)
def test_a_size_is_two_positive_numbers(size: Any) -> None:
    with pytest.raises(AsamDatasetsError, match="size must be"):
        decode_masks([], size=size)


def test_real_masks_as_pycocotools_decodes_them() -> None:
    for record in real_records():
        annotations = record["annotations"][::20]
        segmentations = [a["segmentation"] for a in annotations]
        full = coco.decode(segmentations).transpose(2, 0, 1)
        assert np.array_equal(decode_masks(annotations), full)
        for size in ((1024, 1024), (256, 256)):
            assert np.array_equal(decode_masks(annotations, size), sample(full, size))
