"""A canvas that keeps the mask of everything painted on it, for the sample's pictures.

Shapes are polygons with slightly rough outlines, painted back to front with anti-aliased edges. A
shape's mask is its visible part. Whatever is painted later hides it, except its own parts: a window
belongs to its house. SA-1B's annotations are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Outline = npt.NDArray[np.float64]  # (N, 2), x and y in pixels
Color = tuple[float, float, float]  # RGB, 0 to 255


@dataclass(slots=True)
class Layer:
    """A mask cut to its box.

    `mask` is bool (h, w), and its upper left pixel is at column `x`, row `y` of the picture.
    `whole` is the number of the shape that it is a part of.
    """

    x: int
    y: int
    mask: npt.NDArray[np.bool_]
    whole: int | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom; the last two exclusive."""
        height, width = self.mask.shape
        return self.x, self.y, self.x + width, self.y + height

    def trimmed(self) -> Layer:
        """The same mask in its smallest box. The mask must not be empty."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        cut = self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Layer(self.x + int(columns[0]), self.y + int(rows[0]), cut)


def _overlap(a: Layer, b: Layer) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """The part of each mask where the two boxes overlap."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.box, b.box
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    if x0 >= x1 or y0 >= y1:
        return None
    return (
        (slice(y0 - ay0, y1 - ay0), slice(x0 - ax0, x1 - ax0)),
        (slice(y0 - by0, y1 - by0), slice(x0 - bx0, x1 - bx0)),
    )


def noise_field(rng: np.random.Generator, width: int, height: int, cell: int) -> Image.Image:
    """Smooth noise, mode F, of mean 0 and deviation about 1; `cell` pixels are its grain."""
    coarse = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


class Canvas:
    """A picture that shapes are painted on.

    Parameters
    ----------
    width, height
        In pixels.
    rng
        The source of everything random.
    """

    MIN_VISIBLE = 24  # pixels; a shape that shows fewer is not annotated, unless it is a speck
    TEXTURE = 0.035  # deviation of the brightness within a shape, relative
    GRAIN = 3.2  # deviation of the noise over the whole picture, gray levels

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.rgb = np.zeros((height, width, 3), np.uint8)
        self._texture = 1 + self.TEXTURE * (
            0.7 * np.asarray(noise_field(rng, width, height, 90))
            + 0.6 * np.asarray(noise_field(rng, width, height, 9))
        )
        self._layers: list[Layer] = []
        self._annotated: list[tuple[int, ...]] = []

    def sky(self, *stops: Color) -> None:
        """Fill the picture with a vertical gradient through `stops`. The sky has no mask."""
        at = np.linspace(0, self.height - 1, len(stops))
        rows = np.arange(self.height)
        columns = [np.interp(rows, at, [stop[i] for stop in stops]) for i in range(3)]
        gradient = np.stack(columns, -1)[:, None, :].astype(np.float32)
        self.rgb[:] = np.clip(gradient * self._texture[..., None], 0, 255)

    def paint(
        self,
        outline: Outline,
        color: Color,
        bottom: Color | None = None,
        *,
        holes: Sequence[Outline] = (),
        part_of: int | None = None,
        annotate: bool = True,
        rough: float = 0.9,
        opacity: float = 1.0,
    ) -> int:
        """Paint a polygon and return its number.

        `bottom` is the colour at the lower end and defaults to a darker `color`. `part_of` is the
        number of the shape that this one belongs to, whose mask then keeps these pixels. `rough` is
        the deviation of the outline in pixels.
        """
        points = self._roughened(outline, rough)
        low = np.floor(points.min(0)).astype(int) - 1
        high = np.ceil(points.max(0)).astype(int) + 2
        x0, y0 = np.clip(low, 0, (self.width - 1, self.height - 1))
        x1, y1 = np.clip(high, (x0 + 1, y0 + 1), (self.width, self.height))
        scale = 4 if max(x1 - x0, y1 - y0) < 500 else 2
        drawing = Image.new("L", ((x1 - x0) * scale, (y1 - y0) * scale))
        pen = ImageDraw.Draw(drawing)
        pen.polygon(self._pixels(points, x0, y0, scale), fill=255)
        for hole in holes:
            pen.polygon(self._pixels(self._roughened(hole, rough), x0, y0, scale), fill=0)
        alpha = np.asarray(drawing.reduce(scale))

        top = np.asarray(color, np.float32)
        end = 0.82 * top if bottom is None else np.asarray(bottom, np.float32)
        ramp = np.linspace(0, 1, y1 - y0, dtype=np.float32)[:, None, None]
        shade = (top + (end - top) * ramp) * self._texture[y0:y1, x0:x1, None]
        under = self.rgb[y0:y1, x0:x1]
        weight = alpha[..., None].astype(np.float32) * (opacity / 255)
        under[:] = np.clip(under + (shade - under) * weight, 0, 255)

        self._layers.append(Layer(int(x0), int(y0), alpha >= 128, part_of))
        number = len(self._layers) - 1
        if annotate:
            self._annotated.append((number,))
        return number

    def speck(self, x: int, y: int, color: Color, part_of: int | None = None) -> int:
        """Paint one pixel, with a mask of one pixel."""
        self.rgb[y, x] = color
        self._layers.append(Layer(x, y, np.ones((1, 1), np.bool_), part_of))
        self._annotated.append((len(self._layers) - 1,))
        return len(self._layers) - 1

    def group(self, *numbers: int) -> None:
        """Annotate several shapes together as one more object, beside each of them."""
        self._annotated.append(numbers)

    def picture(self) -> npt.NDArray[np.uint8]:
        """The picture with a little grain, (height, width, 3)."""
        grain = self.rng.normal(0, self.GRAIN, size=(256, 256)).astype(np.int16)
        tiles = (-(-self.height // 256), -(-self.width // 256))
        noise = np.tile(grain, tiles)[: self.height, : self.width, None]
        noisy: npt.NDArray[np.uint8] = np.clip(self.rgb + noise, 0, 255).astype(np.uint8)
        return noisy

    def masks(self) -> list[Layer]:
        """The visible part of each annotated object, in the order of annotation."""
        visible = [self._visible(number) for number in range(len(self._layers))]
        found = []
        for numbers in self._annotated:
            union = self._union([visible[number] for number in numbers])
            area = np.count_nonzero(union.mask)
            if area >= self.MIN_VISIBLE or self._layers[numbers[0]].mask.size == area == 1:
                found.append(union.trimmed())
        return found

    def _visible(self, number: int) -> Layer:
        layer = self._layers[number]
        seen = Layer(layer.x, layer.y, layer.mask.copy())
        family = {number}
        for index in range(number + 1, len(self._layers)):
            later = self._layers[index]
            if later.whole in family:
                family.add(index)
            elif cuts := _overlap(seen, later):
                seen.mask[cuts[0]] &= ~later.mask[cuts[1]]
        return seen

    @staticmethod
    def _union(layers: list[Layer]) -> Layer:
        boxes = np.array([layer.box for layer in layers])
        (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        union = Layer(int(x0), int(y0), np.zeros((y1 - y0, x1 - x0), np.bool_))
        for layer in layers:
            if cuts := _overlap(union, layer):
                union.mask[cuts[0]] |= layer.mask[cuts[1]]
        return union

    def _roughened(self, outline: Outline, rough: float) -> Outline:
        """The outline with a point every few pixels, each moved a little."""
        closed = np.vstack([outline, outline[:1]])
        along = np.concatenate([[0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
        count = max(8, int(along[-1] / 7))
        at = np.linspace(0, along[-1], count, endpoint=False)
        # The corners stay: a resampled rectangle would lose them.
        at = np.union1d(at, along[:-1]) if len(outline) < 60 else at
        dense = np.stack([np.interp(at, along, closed[:, i]) for i in range(2)], -1)
        return dense + self.rng.normal(0, rough, size=dense.shape)

    @staticmethod
    def _pixels(points: Outline, x0: int, y0: int, scale: int) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (points - (x0, y0)) * scale]


def ellipse(
    cx: float, cy: float, rx: float, ry: float, start: float = 0, end: float = 360
) -> Outline:
    """An ellipse, or the part of it from `start` to `end` degrees, clockwise from the right."""
    angle = np.radians(np.linspace(start, end, 64, endpoint=end - start < 360))
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], -1)


def blob(
    rng: np.random.Generator,
    cx: float,
    cy: float,
    rx: float,
    ry: float,
    bumps: int = 9,
    depth: float = 0.16,
) -> Outline:
    """A closed lumpy outline, such as a cloud's or a crown's."""
    count = 96
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    knots = np.append(heights := rng.normal(0, depth, bumps), heights[0])
    lumps = np.interp(angle, np.linspace(0, 2 * np.pi, bumps + 1), knots)
    ripple = 0.05 * np.abs(np.sin(angle * bumps + rng.uniform(0, np.pi)))
    radius = 1 + lumps + ripple
    return np.stack([cx + rx * radius * np.cos(angle), cy + ry * radius * np.sin(angle)], -1)


def ridge(
    rng: np.random.Generator,
    width: int,
    height: int,
    y: float,
    swing: float,
    peaks: int = 5,
    detail: float = 0.08,
) -> Outline:
    """A hill range: the area below a rolling line across the picture."""
    x = np.linspace(-6, width + 6, 220)
    line = np.zeros_like(x)
    for octave in range(4):
        knots = rng.uniform(-1, 1, peaks * 2**octave + 1)
        at = np.linspace(x[0], x[-1], len(knots))
        smooth = 0.5 - 0.5 * np.cos(np.pi * (np.interp(x, at, np.arange(len(knots))) % 1))
        left = np.minimum(np.interp(x, at, np.arange(len(knots))).astype(int), len(knots) - 2)
        line += (knots[left] * (1 - smooth) + knots[left + 1] * smooth) * (
            1 if not octave else detail / octave
        )
    top = np.stack([x, y + swing * line], -1)
    return np.vstack([top, [(width + 6, height + 6), (-6, height + 6)]])
