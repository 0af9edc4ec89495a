"""The objects of the sample's pictures: boats, trees, houses, flowers, painted on a Canvas.

An object is drawn in its own frame. Lengths are in units of its size, y points down, and (0, 0) is
the point where it stands. The whole object is annotated, and so are its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from builder.sources.sample.canvas import Canvas, Color, Outline, blob, ellipse

BRIGHT: Sequence[Color] = (
    *((214, 69, 65), (242, 155, 56), (247, 202, 80), (88, 148, 98), (58, 124, 165)),
    *((120, 94, 163), (226, 121, 142), (45, 160, 156), (238, 228, 205)),
)
FRUIT: Sequence[Color] = (
    *((206, 58, 52), (240, 150, 44), (236, 204, 70), (126, 164, 62), (122, 62, 104)),
)


class Frame(NamedTuple):
    """Where a thing stands and how large it is, in pixels."""

    x: float
    y: float
    size: float

    def polygon(self, *numbers: float) -> Outline:
        """A polygon from x, y, x, y, ..."""
        return np.array(numbers, np.float64).reshape(-1, 2) * self.size + (self.x, self.y)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float) -> Outline:
        """An upright rectangle."""
        return self.polygon(x0, y0, x1, y0, x1, y1, x0, y1)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360
    ) -> Outline:
        """An ellipse or a part of one."""
        return ellipse(x, y, rx, ry, start, end) * self.size + (self.x, self.y)

    def mirrored(self, heights: Outline, reach: Outline) -> Outline:
        """A shape that is symmetric about the vertical axis, `reach` (n) wide at `heights` (n)."""
        left, right = np.stack([-reach, heights], -1), np.stack([reach, heights], -1)
        return self.polygon(*np.vstack([left, right[::-1]]).reshape(-1))


def tint(color: Color, factor: float) -> Color:
    """The colour, darker (below 1) or lighter."""
    r, g, b = (min(255.0, value * factor) for value in color)
    return r, g, b


def mix(a: Color, b: Color, share: float) -> Color:
    """`share` of b in a."""
    r, g, blue = ((1 - share) * x + share * y for x, y in zip(a, b, strict=True))
    return r, g, blue


def bright(canvas: Canvas) -> Color:
    """Some bright colour."""
    return BRIGHT[int(canvas.rng.integers(len(BRIGHT)))]


def sun(canvas: Canvas, x: float, y: float, radius: float, color: Color) -> None:
    """A sun or moon with two halos, which have no masks."""
    for reach, opacity in ((2.1, 0.12), (1.5, 0.2)):
        halo = ellipse(x, y, reach * radius, reach * radius)
        canvas.paint(halo, color, color, annotate=False, opacity=opacity)
    canvas.paint(ellipse(x, y, radius, radius), color, tint(color, 0.96))


def clouds(canvas: Canvas, count: int, low: float, color: Color) -> None:
    """Clouds in the upper `low` of the picture."""
    for _ in range(count):
        x, y = canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(0.04, low) * canvas.height
        size = canvas.rng.uniform(70, 190)
        shape = blob(canvas.rng, x, y, size, size * 0.3, 11)
        canvas.paint(shape, color, tint(color, 0.88), opacity=0.93)


def birds(canvas: Canvas, count: int, high: float, low: float, color: Color) -> None:
    """Birds between two heights, and a distant one of a single pixel.

    The heights are shares of the picture's height.
    """
    for _ in range(count):
        x, y = canvas.rng.uniform(0.05, 0.95), canvas.rng.uniform(high, low)
        frame = Frame(x * canvas.width, y * canvas.height, canvas.rng.uniform(9, 22))
        upper = (-1, -0.55, -0.45, -0.52, 0, 0, 0.45, -0.55, 1, -0.44)
        canvas.paint(frame.polygon(*upper, 0.4, -0.3, 0, 0.3, -0.4, -0.28), color, rough=0.3)
    x, y = canvas.rng.uniform(0, 1), canvas.rng.uniform(high / 2, high)
    canvas.speck(int(x * canvas.width), int(y * canvas.height), color)


def tree(canvas: Canvas, frame: Frame, color: Color) -> None:
    """A tree whose crown may have gaps."""
    trunk = canvas.paint(frame.rectangle(-0.07, -0.8, 0.07, 0), (104, 78, 58))
    x, y, size = frame
    gaps = [
        blob(canvas.rng, x + dx * size, y - (1.15 + dy) * size, size * 0.06, size * 0.05, 5)
        for dx, dy in canvas.rng.uniform(-0.25, 0.25, (int(canvas.rng.integers(0, 3)), 2))
    ]
    shape = blob(canvas.rng, x, y - size * 1.15, size * 0.52, size * 0.62, 13, 0.1)
    canvas.group(trunk, canvas.paint(shape, color, tint(color, 0.6), holes=gaps))


def pine(canvas: Canvas, frame: Frame, color: Color) -> None:
    """A pine in one piece."""
    trunk = frame.rectangle(-0.05, -0.2, 0.05, 0)
    parts = [canvas.paint(trunk, (92, 70, 54), annotate=False)]
    for step in range(3):
        low, half = -0.15 - 0.27 * step, 0.34 - 0.075 * step
        tier = (-half, low, 0, low - 0.48, half, low, half * 0.4, low + 0.05, 0, low)
        shade = tint(color, 1 + 0.12 * step)
        parts.append(canvas.paint(frame.polygon(*tier), shade, annotate=False, rough=2.0))
    canvas.group(*parts)


def boat(canvas: Canvas, frame: Frame) -> None:
    """A sailing boat."""
    hull_color, cloth = bright(canvas), tint((250, 244, 232), canvas.rng.uniform(0.9, 1))
    mast = frame.rectangle(-0.02, -1.7, 0.02, 0)
    parts = [canvas.paint(mast, (96, 72, 56), annotate=False)]
    sail = frame.polygon(0.05, -1.62, 0.8, -0.22, 0.05, -0.2)
    parts.append(canvas.paint(sail, cloth, tint(cloth, 0.88)))
    stripe = frame.polygon(0.05, -0.75, 0.51, -0.75, 0.62, -0.56, 0.05, -0.55)
    parts.append(canvas.paint(stripe, bright(canvas), part_of=parts[-1]))
    jib = frame.polygon(-0.06, -1.4, -0.06, -0.25, -0.62, -0.22)
    parts.append(canvas.paint(jib, tint(cloth, 0.94)))
    hull = frame.polygon(-0.85, -0.12, 0.95, -0.16, 0.62, 0.24, -0.6, 0.24)
    parts.append(canvas.paint(hull, hull_color))
    for x in (-0.4, 0.0, 0.4):
        porthole = frame.ellipse(x, 0.03, 0.055, 0.055)
        canvas.paint(porthole, (38, 48, 66), part_of=parts[-1], rough=0.3)
    canvas.group(*parts)


def lighthouse(canvas: Canvas, frame: Frame) -> None:
    """A striped lighthouse on its rock."""
    x, y, size = frame
    rock = blob(canvas.rng, x, y + 0.4 * size, size * 2.2, size * 0.6, 9)
    canvas.paint(rock, (112, 104, 98), (70, 68, 70))
    outline = frame.polygon(-0.42, 0.1, -0.26, -2.4, 0.26, -2.4, 0.42, 0.1)
    tower = canvas.paint(outline, (246, 242, 234), (220, 212, 204))
    for level in (0.3, 1.2):
        low, up, top = 0.42 - 0.064 * level, 0.388 - 0.064 * level, level + 0.5
        band = frame.polygon(-low, -level, -up, -top, up, -top, low, -level)
        canvas.paint(band, (204, 66, 58), part_of=tower, rough=0.5)
    lantern = canvas.paint(frame.rectangle(-0.2, -2.8, 0.2, -2.4), (255, 226, 140))
    roof = canvas.paint(frame.polygon(-0.32, -2.78, 0, -3.15, 0.32, -2.78), (150, 48, 48))
    canvas.group(tower, lantern, roof)


def balloon(canvas: Canvas, frame: Frame) -> None:
    """A hot-air balloon with stripes from top to bottom, narrow at its mouth."""
    first, second = bright(canvas), bright(canvas)
    along = np.linspace(0, 1, 40)
    reach = np.sin(np.pi * along**0.72) * (1 - 0.12 * along) + 0.16 * along
    heights = 2.3 * along - 1
    envelope = canvas.paint(frame.mirrored(heights, reach), first, rough=0.7)
    for left, right in ((-0.72, -0.38), (-0.16, 0.16), (0.38, 0.72)):
        edges = [np.stack([side * reach, heights], -1) for side in (left, right)]
        gore = frame.polygon(*np.vstack([edges[0], edges[1][::-1]]).reshape(-1))
        canvas.paint(gore, second, part_of=envelope, rough=0.5)
    basket = canvas.paint(frame.rectangle(-0.15, 1.58, 0.15, 1.8), (140, 96, 58))
    for side in (-1, 1):
        rope = frame.polygon(side * 0.13, 1.3, side * 0.16, 1.3, side * 0.14, 1.6, side * 0.11, 1.6)
        canvas.paint(rope, (90, 70, 54), annotate=False, rough=0.2)
    canvas.group(envelope, basket)


def house(canvas: Canvas, frame: Frame) -> None:
    """A house with three windows and a door that has a knob."""
    color = mix(bright(canvas), (248, 238, 222), 0.62)
    wall = canvas.paint(frame.rectangle(0, -1, 1.1, 0), color, tint(color, 0.9))
    chimney = canvas.paint(frame.rectangle(0.78, -1.62, 0.92, -1.1), (140, 86, 74))
    tiles = mix((176, 84, 64), (110, 92, 96), canvas.rng.random())
    roof = canvas.paint(frame.polygon(-0.12, -0.96, 0.55, -1.6, 1.22, -0.96), tiles)
    for x, y in ((0.14, -0.76), (0.68, -0.76), (0.68, -0.34)):
        outline = frame.rectangle(x, y, x + 0.25, y + 0.25)
        window = canvas.paint(outline, (250, 248, 242), part_of=wall, rough=0.5)
        glass = frame.rectangle(x + 0.03, y + 0.03, x + 0.22, y + 0.22)
        canvas.paint(glass, (112, 152, 178), (176, 204, 214), part_of=window, rough=0.4)
    outline = frame.rectangle(0.2, -0.46, 0.42, 0)
    door = canvas.paint(outline, tint(bright(canvas), 0.8), part_of=wall)
    knob = frame.ellipse(0.385, -0.22, 0.014, 0.014)
    canvas.paint(knob, (240, 214, 130), part_of=door, rough=0.2)
    canvas.group(wall, chimney, roof)


def fence(canvas: Canvas, y: float, posts: int) -> None:
    """A white fence from border to border."""
    rails = [Frame(0, y - up, 1).rectangle(-6, 0, canvas.width + 6, 13) for up in (70, 30)]
    parts = [canvas.paint(rail, (226, 216, 198), annotate=False) for rail in rails]
    for x in np.linspace(0, canvas.width, posts):
        post = Frame(x, y, 1).polygon(-13, 0, -13, -92, 0, -112, 13, -92, 13, 0)
        parts.append(canvas.paint(post, (240, 232, 216)))
    canvas.group(*parts)


def fruit(canvas: Canvas, frame: Frame) -> None:
    """A fruit with a stem, a leaf perhaps, and its shadow."""
    color = FRUIT[int(canvas.rng.integers(len(FRUIT)))]
    shadow = frame.ellipse(0.12, 0.82, 1.05, 0.24)
    canvas.paint(shadow, (74, 52, 44), annotate=False, opacity=0.4)
    x, y, size = frame
    outline = blob(canvas.rng, x, y, size, size * 0.94, 5, 0.03)
    body = canvas.paint(outline, tint(color, 1.1), tint(color, 0.62))
    glint = frame.ellipse(-0.36, -0.4, 0.2, 0.13)
    canvas.paint(glint, (255, 250, 240), part_of=body, annotate=False, opacity=0.55)
    outline = frame.polygon(-0.07, -0.82, 0.03, -1.18, 0.14, -1.16, 0.08, -0.82)
    stem = canvas.paint(outline, (92, 70, 44))
    if canvas.rng.random() < 0.6:
        leaf = canvas.paint(frame.ellipse(0.34, -1.08, 0.3, 0.12), (96, 146, 70))
        canvas.group(body, stem, leaf)


def flower(canvas: Canvas, frame: Frame, petals: int) -> None:
    """A flower in one piece, and its centre."""
    color = bright(canvas)
    parts = []
    turn = canvas.rng.uniform(0, 1)
    for angle in np.linspace(0, 2 * np.pi, petals, endpoint=False) + turn:
        petal = frame.ellipse(0.62 * np.cos(angle), 0.62 * np.sin(angle), 0.42, 0.4)
        parts.append(canvas.paint(petal, color, annotate=False, rough=0.6))
    heart = frame.ellipse(0, 0, 0.3, 0.3)
    canvas.group(*parts, canvas.paint(heart, (250, 214, 92), (206, 150, 52), rough=0.6))


def vase(canvas: Canvas, frame: Frame) -> None:
    """A vase of nine flowers, made for a frame of size 100."""
    tops = canvas.rng.uniform((-1.5, -6.6), (1.5, -4.2), (9, 2))
    for x, y in tops:
        stem = frame.polygon(x / 5 - 0.04, -3, x - 0.04, y, x + 0.04, y, x / 5 + 0.05, -3)
        canvas.paint(stem, (96, 140, 84), annotate=False)
    for x, y in tops:
        at = Frame(frame.x + x * frame.size, frame.y + y * frame.size, canvas.rng.uniform(36, 62))
        flower(canvas, at, 6)
    along = np.linspace(0, 1, 40)
    neck = 0.3 * np.exp(-(((along - 0.08) / 0.1) ** 2))
    reach = 0.62 + 0.52 * np.sin(np.pi * (along * 0.92 + 0.1)) - neck
    outline = frame.mirrored(3.3 * along - 3.3, reach)
    body = canvas.paint(outline, (72, 118, 160), (42, 76, 118))
    for share in (0.36, 0.66):
        half, top = float(np.interp(share, along, reach)) - 0.02, 3.3 * share - 3.3
        canvas.paint(frame.rectangle(-half, top, half, top + 0.24), (236, 226, 202), part_of=body)


def bowl(canvas: Canvas, frame: Frame) -> None:
    """A bowl of fruit."""
    for x, y in ((-0.5, -0.4), (0.0, -0.48), (0.48, -0.4), (-0.24, -0.28), (0.26, -0.28)):
        at = Frame(frame.x + x * frame.size, frame.y + y * frame.size, frame.size * 0.27)
        fruit(canvas, at)
    shadow = frame.ellipse(0.02, 0.58, 0.8, 0.1)
    canvas.paint(shadow, (74, 52, 44), annotate=False, opacity=0.4)
    foot = canvas.paint(frame.rectangle(-0.32, 0.5, 0.32, 0.62), (168, 166, 164))
    outline = frame.ellipse(0, -0.18, 1, 0.78, 0, 180)
    body = canvas.paint(outline, (226, 222, 214), (150, 150, 152))
    rim = frame.polygon(-0.95, -0.02, 0.95, -0.02, 0.86, 0.1, -0.86, 0.1)
    canvas.paint(rim, (70, 122, 152), part_of=body)
    canvas.group(foot, body)


def cup(canvas: Canvas, frame: Frame) -> None:
    """A cup of tea on a saucer; there is a hole in its handle."""
    color = bright(canvas)
    hole = frame.ellipse(0.94, -0.84, 0.36, 0.33)
    ring = frame.ellipse(0.92, -0.84, 0.62, 0.58)
    handle = canvas.paint(ring, tint(color, 0.94), holes=[hole])
    saucer = canvas.paint(frame.ellipse(0, 0, 1.68, 0.4), (240, 236, 228), (190, 186, 180))
    outline = frame.polygon(-0.98, -1.68, 0.98, -1.68, 0.7, -0.06, -0.7, -0.06)
    body = canvas.paint(outline, color, tint(color, 0.7))
    mouth = canvas.paint(frame.ellipse(0, -1.68, 0.98, 0.24), tint(color, 1.12))
    tea = canvas.paint(frame.ellipse(0, -1.64, 0.84, 0.17), (124, 70, 38), part_of=mouth)
    canvas.group(handle, body, mouth, tea)
    canvas.group(handle, body, mouth, tea, saucer)


def tower(canvas: Canvas, x: float, y: float, span: float, tall: float) -> None:
    """A tower block with lit windows, some of them annotated."""
    color = mix(bright(canvas), (40, 44, 78), 0.72)
    frame = Frame(x, y - tall, span)
    block = canvas.paint(frame.rectangle(0, 0, 1, (tall + 6) / span), color, tint(color, 0.75))
    mast = canvas.paint(frame.rectangle(0.48, -80 / span, 0.52, 0), (150, 150, 172), rough=0.4)
    for row in range(max(2, int(tall / 84))):
        for column in range(4):
            lit = canvas.rng.random() < 0.6
            window = Frame(x + span * (0.1 + 0.21 * column), y - tall + 30 + row * 78, 1)
            canvas.paint(
                window.rectangle(0, 0, span * 0.15, 46),
                (252, 216, 136) if lit else tint(color, 0.6),
                part_of=block,
                annotate=bool(lit and canvas.rng.random() < 0.36),
                rough=0.5,
            )
    canvas.group(block, mast)


def peak(canvas: Canvas, x: float, y: float, half: float, tall: float) -> None:
    """A mountain with snow on it."""
    jagged = canvas.rng.uniform(-18, 18, 12)
    left = [(x - half * (1 - i / 6), y - tall * i / 6 + jagged[i]) for i in range(6)]
    right = [(x + half * i / 6, y - tall * (1 - i / 6) + jagged[5 + i]) for i in range(1, 7)]
    tone = canvas.rng.uniform(0.92, 1.08)
    rock = canvas.paint(
        np.array([*left, (x, y - tall), *right]),
        tint((128, 134, 152), tone),
        tint((104, 118, 134), tone),
        rough=2,
    )
    folds = [(0.18, 0.58), (0.05, 0.68), (-0.12, 0.56), (-0.2, 0.66)]
    edge = [(x + half * far, y - tall * up) for far, up in folds]
    cap = np.array([(x, y - tall), right[0], right[1], *edge, left[4], left[5]])
    canvas.paint(cap, (252, 252, 254), (216, 226, 238), part_of=rock, rough=2)


def tent(canvas: Canvas, frame: Frame) -> None:
    """A tent with its door turned back."""
    color = bright(canvas)
    body = canvas.paint(frame.polygon(-1, 0, 0, -1.05, 1, 0), color)
    inside = frame.polygon(-0.26, 0, 0, -0.72, 0.26, 0)
    door = canvas.paint(inside, tint(color, 0.45), part_of=body)
    flap = frame.polygon(0, -0.72, 0.26, 0, 0.42, 0)
    canvas.paint(flap, tint(color, 1.15), part_of=door)


def windmill(canvas: Canvas, frame: Frame) -> None:
    """A windmill with slotted sails."""
    outline = frame.polygon(-0.36, 0, -0.2, -1.3, 0.2, -1.3, 0.36, 0)
    body = canvas.paint(outline, (236, 226, 210), (196, 184, 168))
    canvas.paint(frame.rectangle(-0.09, -0.36, 0.09, 0), (120, 78, 58), part_of=body)
    canvas.paint(frame.rectangle(-0.07, -0.86, 0.07, -0.68), (98, 130, 152), part_of=body)
    cap = canvas.paint(frame.ellipse(0, -1.3, 0.25, 0.24, 180, 360), (158, 76, 66))
    blade = np.array([(0.06, -0.02), (1.05, -0.02), (1.05, 0.17), (0.3, 0.17), (0.26, 0.03)])
    slot = np.array([(0, 0.03), (0.15, 0.03), (0.15, 0.13), (0, 0.13)])
    sails = []
    for angle in canvas.rng.uniform(0, np.pi / 2) + np.arange(4) * np.pi / 2:
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([(cos, sin), (-sin, cos)])

        def turned(shape: Outline, turn: Outline = turn) -> Outline:
            return frame.polygon(*(shape @ turn + (0, -1.32)).reshape(-1))

        slots = [turned(slot + np.array((far, 0))) for far in (0.36, 0.58, 0.8)]
        sails.append(canvas.paint(turned(blade), (250, 244, 232), holes=slots, rough=0.5))
    canvas.group(*sails)
    canvas.group(body, cap, *sails)
