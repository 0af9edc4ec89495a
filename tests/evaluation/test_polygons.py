"""Polygons to masks, and polygons that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from builder.core.errors import MissingExtraError
from builder.sources.evaluation.faults import Fault, optional
from builder.sources.evaluation.polygons import checked, fill

HEIGHT, WIDTH = 40, 50
POINTS = st.lists(
    st.tuples(st.floats(-8, 58, width=32), st.floats(-8, 48, width=32)), min_size=3, max_size=8
)
SHAPES = st.lists(POINTS, min_size=1, max_size=3)
RING = [[(5, 5), (30, 5), (30, 30), (5, 30)], [(10, 10), (20, 10), (20, 20), (10, 20)]]


def drawn(polygons: Any, rule: str) -> Any:
    counts = fill(checked(polygons, HEIGHT, WIDTH), HEIGHT, WIDTH, rule)
    return coco.decode({"size": [HEIGHT, WIDTH], "counts": counts}).astype(bool)


@given(SHAPES)
@settings(deadline=None)
def test_cocos_rule_is_pycocotools_own(shapes: list[list[tuple[float, float]]]) -> None:
    flat = [[value for point in shape for value in point] for shape in shapes]
    expected = coco.decode(coco.merge(coco.frPyObjects(flat, HEIGHT, WIDTH))).astype(bool)
    assert np.array_equal(drawn(flat, "coco"), expected)
    assert np.array_equal(drawn(shapes, "coco"), expected)


@given(SHAPES)
@settings(deadline=None)
def test_opencvs_rule_is_one_call_of_fillpoly(shapes: list[list[tuple[float, float]]]) -> None:
    cv2 = pytest.importorskip("cv2")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(expected, [np.array(shape, dtype=np.int32) for shape in shapes], 1)
    assert np.array_equal(drawn(shapes, "opencv"), expected.astype(bool))


@given(SHAPES)
@settings(deadline=None)
def test_pillows_rule_is_imagedraw_on_truncated_points(
    shapes: list[list[tuple[float, float]]],
) -> None:
    image = Image.new("L", (WIDTH, HEIGHT))
    for shape in shapes:
        points = [(int(x), int(y)) for x, y in shape]
        ImageDraw.Draw(image).polygon(points, outline=1, fill=1)
    assert np.array_equal(drawn(shapes, "pillow"), np.asarray(image).astype(bool))


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 49), st.integers(0, 39)), min_size=3, max_size=8),
        min_size=1,
        max_size=2,
    )
)
@settings(deadline=None)
def test_skimages_rule_is_its_polygon(shapes: list[list[tuple[int, int]]]) -> None:
    draw = pytest.importorskip("skimage.draw")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for shape in shapes:
        xs, ys = zip(*shape, strict=True)
        expected[draw.polygon(ys, xs)] = True
    assert np.array_equal(drawn(shapes, "skimage"), expected)


def test_a_second_ring_is_a_hole_by_opencvs_rule_only() -> None:
    assert drawn(RING, "coco")[15, 15]
    assert drawn(RING, "pillow")[15, 15]
    assert not drawn(RING, "opencv")[15, 15]
    assert drawn(RING, "opencv")[7, 7]


@pytest.mark.parametrize(
    ("polygons", "reason"),
    [
        ([[1, 2, 3, 4]], "polygon_too_short"),
        ([[]], "polygon_too_short"),
        ([], "polygon_too_short"),
        ([[(1, 2), (3, 4)]], "polygon_too_short"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon_malformed"),
        ([[(1, 2, 3), (4, 5, 6)]], "polygon_malformed"),
        ([[[[1]]]], "polygon_malformed"),
        (["abc"], "polygon_malformed"),
        ([[1, 2, [3]]], "polygon_malformed"),
        ([[1, 2, None, 4, 5, 6]], "polygon_not_finite"),
        ([[1, 2, math.nan, 4, 5, 6]], "polygon_not_finite"),
        ([[1, 2, math.inf, 4, 5, 6]], "polygon_not_finite"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "polygon_outside_image"),
        ([[-60, 0, 5, 0, 5, 5]], "polygon_outside_image"),
        ([[0, 0, 5, 0, 5, 91]], "polygon_outside_image"),
    ],
)
def test_what_is_no_polygon_is_a_fault(polygons: Any, reason: str) -> None:
    with pytest.raises(Fault) as caught:
        checked(polygons, HEIGHT, WIDTH)
    assert caught.value.reason == reason


def test_two_points_beside_a_polygon_change_nothing() -> None:
    square = [5.0, 5.0, 20.0, 5.0, 20.0, 20.0, 5.0, 20.0]
    both = [square, [30.0, 30.0, 40.0, 38.0]]
    expected = coco.decode(coco.merge(coco.frPyObjects(both, HEIGHT, WIDTH))).astype(bool)
    assert np.array_equal(drawn(both, "coco"), expected)
    assert np.array_equal(drawn(both[::-1], "coco"), expected)


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[eval\]"'):
        optional("no_such_module", "filling these polygons")
