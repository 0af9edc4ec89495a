"""The contact sheet: a few rows as one picture, each with its caption."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from PIL import Image

from builder.core.console import counted
from builder.previewing.reading import spread
from builder.previewing.views import Outline, View

SHEET_ROWS = 16
WIDTH = 1480  # pixels of the sheet
_DPI = 100
_MARGIN, _GAP, _BETWEEN = 14, 6, 24  # pixels around, between pictures, between cards
_PICTURE = ((WIDTH - 2 * _MARGIN - 2 * _GAP) // 3, 320)  # the largest width and height in pixels
_FRAME = "#8c959f"  # the colour of the border of a picture
_LINE, _CHARACTER = 18, 6.6  # the height of a line and about the width of a character, in pixels


class _Card:
    """A row of the config: three pictures side by side, and lines of text below them."""

    def __init__(self, view: View) -> None:
        width, height = view.size
        scale = min(_PICTURE[0] / width, _PICTURE[1] / height)
        self.view = view
        self.picture = max(1, round(width * scale)), max(1, round(height * scale))
        self.width = 3 * self.picture[0] + 2 * _GAP
        caption = view.row.get("text")
        shown = [textwrap.shorten(caption, 400, placeholder="…")] if caption else []
        if caption is None and "text" in view.row:
            shown = ["(no caption)"]
        name = f"{view.row['file_name']}, {view.row['width']} x {view.row['height']}"
        shown += [f"{name}, {counted(len(view.row['annotations']), 'mask')}", *view.problems]
        if view.reasons:
            shown.append("look here first: " + ", ".join(view.reasons))
        room = max(20, int(self.width / _CHARACTER))
        self.text = [part for line in shown for part in textwrap.wrap(line, room)]
        self.height = self.picture[1] + 8 + _LINE * len(self.text)


def draw_sheet(views: Sequence[View], kind: str, total_rows: int) -> bytes:
    """Draw the contact sheet: one card for each row.

    A card shows the image, the image with masks and outlines, the control image, and the caption.
    For an evaluation config, the third picture shows only the masks, with the void region hatched.
    Cards of upright images share a line if there is room. The sheet holds at most SHEET_ROWS rows:
    those to look at first, then evenly spread ones. Its last line says how many rows there are.

    Parameters
    ----------
    views
        The rows of the page, at least one.
    kind
        "train" or "eval".
    total_rows
        The number of rows in the config.

    Returns
    -------
    bytes
        A JPEG of WIDTH pixels.
    """
    lines: list[list[_Card]] = []
    for card in map(_Card, choose_cards(views)):
        room = (line for line in lines if _width(line) + card.width <= WIDTH - 2 * _MARGIN)
        line = next(room, [])
        if not line:
            lines.append(line)
        line.append(card)
    heights = [max(card.height for card in line) for line in lines]
    total = 2 * _MARGIN + sum(heights) + _BETWEEN * len(lines) + _LINE
    figure = Figure(figsize=(WIDTH / _DPI, total / _DPI), dpi=_DPI, facecolor="white")
    top = _MARGIN
    for line, height in zip(lines, heights, strict=True):
        left = _MARGIN
        for card in line:
            _draw(figure, card, left, total - top, kind)
            left += card.width + _BETWEEN
        top += height + _BETWEEN
    shown = min(len(views), SHEET_ROWS)
    remark = f"{shown:,} of {counted(total_rows, 'row')}"
    if shown < len(views):
        remark += f"; the page has {len(views):,}"
    if any(view.reasons for view in views):
        remark += ". Rows to look at first come first"
    _write(figure, remark, _MARGIN, total - top)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    data = io.BytesIO()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    Image.fromarray(pixels).save(data, "JPEG", quality=88, optimize=True)
    return data.getvalue()


def choose_cards(views: Sequence[View]) -> list[View]:
    """Choose at most SHEET_ROWS rows for the sheet.

    At most half of them are rows to look at first, which come first. The others are evenly spread.
    """
    first = [view for view in views if view.reasons][: SHEET_ROWS // 2]
    taken = {view.number for view in first}
    rest = [view for view in views if view.number not in taken]
    return first + [rest[i] for i in spread(len(rest), SHEET_ROWS - len(first))]


def _write(figure: Figure, line: str, left: float, top: float, *, large: bool = False) -> None:
    """Write a line whose upper left corner is `left` and `top` pixels from the lower left one."""
    figure.text(
        left / figure.bbox.width,
        top / figure.bbox.height,
        line,
        fontsize=9.5 if large else 8,
        color="#1b1f24" if large else "#59636e",
        verticalalignment="top",
        parse_math=False,
    )


def _width(line: list[_Card]) -> int:
    return sum(card.width + _BETWEEN for card in line)


def _draw(figure: Figure, card: _Card, left: int, top: int, kind: str) -> None:
    """Draw a card whose upper left corner is `left` and `top` pixels from the lower left one."""
    view = card.view
    full_width, full_height = figure.bbox.width, figure.bbox.height
    width, height = card.picture
    third = view.control if kind == "train" else None
    pictures = ((view.photo, 0.0), (view.photo, 0.4), (third, 0.0 if kind == "train" else 1.0))
    for i, (picture, opacity) in enumerate(pictures):
        x = left + i * (width + _GAP)
        place = (x / full_width, (top - height) / full_height)
        axes = figure.add_axes((*place, width / full_width, height / full_height))
        axes.set_axis_off()
        axes.set_xlim(0, view.size[0])
        axes.set_ylim(view.size[1], 0)
        shown = _backdrop(view.size) if picture is None else picture.convert("RGB")
        axes.imshow(
            np.asarray(shown),
            extent=(0, view.size[0], view.size[1], 0),
            aspect="auto",
            interpolation="nearest" if picture is third else "antialiased",
        )
        axes.add_artist(_frame(view.size))
        if not opacity:
            continue
        for mask in view.masks:
            path = _path(mask.outline)
            fill = PathPatch(path, facecolor=mask.color, edgecolor="none", alpha=opacity)
            axes.add_artist(fill)  # add_patch would compute the limits of each, which is slow
            axes.add_artist(PathPatch(path, fill=False, edgecolor=mask.color, linewidth=1.0))
        if view.void:
            hatching = {"facecolor": "none", "edgecolor": "white", "linewidth": 0.6}
            axes.add_artist(PathPatch(_path(view.void), hatch="////", **hatching))
    for i, line in enumerate(card.text):
        _write(figure, line, left, top - height - 8 - _LINE * i, large=i == 0)


def _backdrop(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, "#15181c")


def _path(shape: Outline) -> Path:
    return Path.make_compound_path(*(Path(polygon, closed=False) for polygon in shape))


def _frame(size: tuple[int, int]) -> Rectangle:
    """A border, so that a picture with white edges stands out from the sheet."""
    frame = Rectangle((0, 0), *size, fill=False, edgecolor=_FRAME, linewidth=0.7)
    frame.set_clip_on(False)  # else the outer half of the line is cut
    return frame
