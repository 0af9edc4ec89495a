"""Prepares one row for drawing: small pictures, and the outline of each mask.

Masks are decoded from their RLE directly at the size at which they are shown. contourpy finds their
outlines and matplotlib simplifies them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field

import contourpy
import numpy as np
import numpy.typing as npt
from matplotlib.path import Path
from PIL import Image

from asam_datasets import AsamDatasetsError, decode_masks, mask_order
from builder.core.errors import what_went_wrong
from builder.core.records import Json
from builder.core.shown import picture_size, show
from builder.previewing.reading import Block

LONG_SIDE = 1024  # pixels of the longer side of a picture on the page
TOLERANCE = 0.5  # how many pixels a simplified outline may differ
# Polygons (P, 2) of x and y, filled by the even-odd rule. Corners are at half pixels.
Outline = list[npt.NDArray[np.float64]]
GOLDEN_ANGLE = 137.50776  # degrees; with it, masks with consecutive numbers differ much in hue


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask to draw.

    `number` is its index in the row's annotations. `rank` is its number in ASAM's order, in which
    the largest box has rank 0. `outline` is in pixels of the view.
    """

    number: int
    rank: int
    color: str
    outline: Outline
    area: int
    annotation: Json


@dataclass(slots=True)
class View:
    """A row to draw. `size` is the (width, height) at which everything is drawn.

    `masks` are in descending order of area, so that small ones are drawn on top. `problems` says
    what could not be drawn, and why. `reasons` says why the row is one to look at first.
    """

    number: int
    split: str
    row: Json
    size: tuple[int, int]
    photo: Image.Image | None = None
    control: Image.Image | None = None
    void: Outline | None = None
    masks: list[Mask] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    reasons: Sequence[str] = ()


def mask_color(number: int) -> str:
    """The colour that mask `number` is drawn in, #rrggbb."""
    hue = number * GOLDEN_ANGLE / 360 % 1
    lightness = (0.56, 0.66, 0.48)[number % 3]
    rgb = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)


def view_row(block: Block, number: int, row: Json, reasons: Sequence[str] = ()) -> View:
    """Decode and shrink a row's pictures, and outline its masks. Faults become `problems`.

    Parameters
    ----------
    block
        The block that holds the row.
    number
        The row's number in the config.
    row
        The row, with encoded images.
    reasons
        Why the row is one to look at first.
    """
    size = shown_size(row["width"], row["height"])
    view = View(number, block.split, row, size, reasons=reasons)
    view.photo = _picture(view, "image", "RGB", Image.Resampling.LANCZOS)
    view.control = _picture(view, "conditioning_image", None, Image.Resampling.NEAREST)
    void = _picture(view, "void_mask", "1", Image.Resampling.NEAREST)
    if void is not None:
        view.void = outline(np.asarray(void, bool))
    try:
        ranks = np.argsort(mask_order(row["annotations"])).tolist()
    except AsamDatasetsError as error:
        view.problems.append(f"{error}; the masks are numbered as they come")
        ranks = list(range(len(row["annotations"])))
    for i, annotation in enumerate(row["annotations"]):
        try:
            shape = _outline_of(annotation, view.size)
        except AsamDatasetsError as error:
            view.problems.append(f"mask {i}: {error}")
            continue
        view.masks.append(
            Mask(i, ranks[i], mask_color(i), shape, int(annotation["area"]), annotation)
        )
    view.masks.sort(key=lambda mask: (-mask.area, mask.number))
    return view


def shown_size(width: int, height: int) -> tuple[int, int]:
    """The size to draw a picture at, (width, height): the long side is at most LONG_SIDE."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def outline(mask: npt.NDArray[np.bool_]) -> Outline:
    """The outline of a mask (H, W), holes included, in pixels from its upper left corner."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    window = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    lines = contourpy.contour_generator(z=window.astype(np.float64)).lines(0.5)
    polygons = []
    for line in lines:
        corners = np.asarray(line) + np.array([left - 0.5, top - 0.5])
        path = Path(corners, closed=True)
        path.simplify_threshold = TOLERANCE
        clean = path.cleaned(simplify=True)
        polygons.append(np.asarray(clean.vertices)[clean.codes == Path.LINETO])
    return polygons


def svg_path(shape: Outline) -> str:
    """An outline as the data of an SVG path, in half pixels, so that all numbers are integers."""
    parts = []
    for polygon in shape:
        points = np.rint(2 * polygon).astype(int)
        steps = np.diff(points, axis=0)
        moves = " ".join(map(str, steps[steps.any(1)].reshape(-1).tolist())).replace(" -", "-")
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{moves}z")
    return "".join(parts)


def _outline_of(annotation: Json, size: tuple[int, int]) -> Outline:
    """A mask's outline at `size` (w, h), or its box if the mask vanishes at that size."""
    width, height = size
    shape = outline(decode_masks([annotation], (height, width), bool)[0])
    if shape:
        return shape
    full_height, full_width = annotation["segmentation"]["size"]
    scale = np.array([width / full_width, height / full_height])
    x, y, w, h = annotation["bbox"]
    low = np.floor(np.array([x, y]) * scale)
    high = np.maximum(np.ceil(np.array([x + w, y + h]) * scale), low + 1)
    (x0, y0), (x1, y1) = low, high
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]


def _picture(
    view: View, column: str, mode: str | None, resampling: Image.Resampling
) -> Image.Image | None:
    """A column's picture at the view's size; None if there is none, or it does not decode."""
    cell = view.row.get(column)
    if cell is None:
        return None
    stated = view.row["width"], view.row["height"]
    try:
        if (found := picture_size(cell["bytes"])) != stated:
            view.problems.append(f"{column}: {found} pixels, the row says {stated}")
        picture = show(cell["bytes"], view.size if mode == "RGB" else None)
        picture = picture.convert(mode) if mode else picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        view.problems.append(f"{column}: does not decode: {what_went_wrong(error)}")
        return None
    return picture.resize(view.size, resampling)
