"""Polygons to masks, by the rule of the release that they belong to.

    coco      pycocotools: the union of all polygons
    opencv    cv2.fillPoly, one call for all polygons of an object (even-odd), integer points
    pillow    PIL's ImageDraw.polygon with outline, integer points, the union of all polygons
    skimage   skimage.draw.polygon, the union of all polygons

Integer points are truncated towards zero, as the releases' own code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from builder.sources.evaluation.faults import Fault, optional
from builder.sources.evaluation.raster import rle_of_mask

Points = npt.NDArray[np.float64]
Fill = Literal["coco", "opencv", "pillow", "skimage"]


def checked(polygons: Sequence[Any], height: int, width: int) -> list[Points]:
    """Check an object's polygons.

    A polygon of one or two points covers no pixel and is left out. Points may lie outside the
    image, as in COCO, but by no more than the image's longer side.

    Parameters
    ----------
    polygons
        Each is `[x, y, x, y, ...]` or `[[x, y], ...]`, in pixels.
    height, width
        Of the image, in pixels.

    Returns
    -------
    list of numpy.ndarray
        (N, 2) float64 each, x and y, with N of at least 3.

    Raises
    ------
    Fault
        A polygon has another form, a number is not finite or too far outside, or no polygon has
        3 points.
    """
    arrays = []
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise Fault("polygon_malformed", "a list of x and y", str(error)) from error
        if points.ndim not in (1, 2) or (points.ndim == 2 and points.shape[1:] != (2,)):
            raise Fault("polygon_malformed", "pairs of x and y", f"shape {points.shape}")
        if points.size % 2:
            raise Fault("polygon_malformed", "an even number of values", str(points.size))
        points = points.reshape(-1, 2)
        if not np.isfinite(points).all():
            raise Fault("polygon_not_finite", "finite numbers", "NaN or infinity")
        margin = max(height, width)
        furthest = (margin + width, margin + height)
        if len(points) and (points.min() < -margin or (points > furthest).any()):
            lowest, highest = points.min(0).tolist(), points.max(0).tolist()
            expected = f"points within or near {width} x {height} pixels"
            raise Fault("polygon_outside_image", expected, f"x, y from {lowest} to {highest}")
        arrays.append(points)
    whole = [points for points in arrays if len(points) >= 3]
    if not whole:
        most = max((len(points) for points in arrays), default=0)
        raise Fault("polygon_too_short", "3 points or more", str(most))
    return whole


def fill(polygons: list[Points], height: int, width: int, rule: str) -> bytes:
    """The compressed COCO RLE of one object's checked polygons.

    Parameters
    ----------
    polygons
        As `checked` returns them.
    height, width
        Of the image, in pixels.
    rule
        One of the rules at the top of this module.

    Raises
    ------
    MissingExtraError
        The library that draws by this rule is not installed.
    """
    if rule == "coco":
        flat = [points.ravel().tolist() for points in polygons]
        return bytes(coco.merge(coco.frPyObjects(flat, height, width))["counts"])
    return rle_of_mask(_DRAW[rule](polygons, height, width).astype(np.bool_))


def library(rule: str) -> dict[str, str]:
    """The optional package that a rule needs, with its version; empty if it needs none.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    """
    if rule not in _PACKAGES:
        return {}
    module, package, what = _PACKAGES[rule]
    return {package: optional(module.partition(".")[0], what).__version__}


def _drawing(rule: str) -> Any:
    """The module that draws by a rule."""
    module, _, what = _PACKAGES[rule]
    return optional(module, what)


def _opencv(polygons: list[Points], height: int, width: int) -> npt.NDArray[np.uint8]:
    cv2 = _drawing("opencv")
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32) for points in polygons], 1)
    return mask


def _pillow(polygons: list[Points], height: int, width: int) -> npt.NDArray[np.uint8]:
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for points in polygons:
        corners = [(x, y) for x, y in points.astype(np.int64).tolist()]
        draw.polygon(corners, outline=1, fill=1)
    return np.asarray(image)


def _skimage(polygons: list[Points], height: int, width: int) -> npt.NDArray[np.uint8]:
    draw = _drawing("skimage")
    mask = np.zeros((height, width), np.uint8)
    for points in polygons:
        mask[draw.polygon(points[:, 1], points[:, 0], shape=mask.shape)] = 1
    return mask


_PACKAGES = {
    "opencv": ("cv2", "opencv-python-headless", "filling these polygons"),
    "skimage": ("skimage.draw", "scikit-image", "filling these polygons"),
}
_DRAW = {"opencv": _opencv, "pillow": _pillow, "skimage": _skimage}
