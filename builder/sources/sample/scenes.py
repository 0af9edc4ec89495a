"""The pictures of the sample: eight kinds of scene, by day or at dusk, painted on a Canvas.

Lengths are meant for SA-1B's short side of 1500 pixels. Every scene adapts to the canvas's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from builder.sources.sample import things
from builder.sources.sample.canvas import Canvas, Color, Outline, blob, ellipse, ridge
from builder.sources.sample.things import Frame, bright, mix, tint


def _below(canvas: Canvas, y: float) -> Outline:
    """The area below a level."""
    return Frame(0, 0, 1).rectangle(-6, y, canvas.width + 6, canvas.height + 6)


def harbour(canvas: Canvas, dusk: bool) -> None:
    """Boats before hills, with a lighthouse and buoys."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    far: Color = (132, 100, 136) if dusk else (142, 172, 176)
    near: Color = (84, 74, 112) if dusk else (96, 140, 120)
    sea: Color = (94, 92, 138) if dusk else (56, 126, 158)
    white: Color = (244, 190, 170) if dusk else (252, 252, 250)
    if dusk:
        canvas.sky((72, 84, 140), (196, 120, 138), (250, 190, 130), (250, 190, 130))
    else:
        canvas.sky((96, 164, 214), (190, 222, 236), (236, 242, 236), (236, 242, 236))
    horizon = 0.46 * height
    things.sun(canvas, rng.uniform(0.2, 0.8) * width, 0.3 * height, 74, (255, 232, 170))
    things.clouds(canvas, 6, 0.26, white)
    canvas.paint(ridge(rng, width, height, horizon - 90, 70, 4), far)
    canvas.paint(ridge(rng, width, height, horizon - 20, 48, 5), near)
    canvas.paint(_below(canvas, horizon), mix(sea, white, 0.35), tint(sea, 0.75))
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(horizon + 30, height)
        reach = 30 + 160 * (y - horizon) / (height - horizon)
        wave, told = ellipse(x, y, reach, 2 + reach * 0.03), bool(rng.random() < 0.4)
        canvas.paint(wave, white, white, annotate=told, opacity=0.45)
    things.lighthouse(canvas, Frame(0.87 * width, horizon + 70, 100))
    for y in np.sort(rng.uniform(horizon + 50, height * 0.84, 7)):
        size = 60 + 150 * (y - horizon) / (height - horizon)
        things.boat(canvas, Frame(rng.uniform(0.06, 0.8) * width, y, size))
    for y in np.sort(rng.uniform(0.7, 0.95, 5)) * height:
        buoy = Frame(rng.uniform(0.05, 0.95) * width, y, 34 * y / height)
        ring, hole = buoy.ellipse(0, 0, 1, 0.72), buoy.ellipse(0, 0, 0.5, 0.34)
        canvas.paint(ring, bright(canvas), holes=[hole])
    things.birds(canvas, 9, 0.08, 0.4, (64, 64, 80))


def balloons(canvas: Canvas, dusk: bool) -> None:
    """Hot-air balloons over fields."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((92, 110, 178), (232, 166, 164), (255, 216, 160), (255, 216, 160))
    else:
        canvas.sky((74, 146, 214), (160, 208, 238), (228, 240, 240), (228, 240, 240))
    things.sun(canvas, 0.16 * width, 0.42 * height, 60, (255, 238, 186))
    things.clouds(canvas, 7, 0.5, (255, 246, 240))
    greens: Sequence[Color] = ((150, 170, 150), (124, 160, 112), (150, 178, 88), (108, 150, 76))
    for index, green in enumerate(greens):
        level = height * (0.66 + 0.075 * index)
        canvas.paint(ridge(rng, width, height, level, 44 - 5 * index, 3 + index), green)
    for _ in range(10):
        field = Frame(rng.uniform(0, width), rng.uniform(0.86, 0.99) * height, 1)
        outline = field.polygon(-120, -16, 90, -22, 140, 16, -90, 24)
        canvas.paint(outline, mix((196, 178, 92), (96, 140, 70), rng.random()), opacity=0.85)
    for x in np.sort(rng.uniform(0, width, 9)):
        frame = Frame(x, rng.uniform(0.83, 0.97) * height, rng.uniform(45, 85))
        things.tree(canvas, frame, (74, 122, 66))
    for size in np.sort(rng.uniform(50, 190, 9)):
        x, y = rng.uniform(0.06, 0.94) * width, rng.uniform(0.14, 0.56) * height
        things.balloon(canvas, Frame(x, y, size))
    things.birds(canvas, 5, 0.3, 0.6, (70, 74, 90))


def village(canvas: Canvas, dusk: bool) -> None:
    """Houses under trees along a road."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((104, 116, 172), (222, 160, 160), (252, 214, 170), (252, 214, 170))
    else:
        canvas.sky((104, 172, 222), (196, 226, 238), (240, 242, 232), (240, 242, 232))
    things.sun(canvas, 0.78 * width, 0.17 * height, 66, (255, 236, 176))
    things.clouds(canvas, 6, 0.3, (254, 250, 246))
    canvas.paint(ridge(rng, width, height, 0.46 * height, 60, 4), (140, 166, 150))
    canvas.paint(ridge(rng, width, height, 0.54 * height, 30, 6), (120, 158, 104))
    canvas.paint(ridge(rng, width, height, 0.63 * height, 14, 5), (132, 172, 92), (92, 140, 72))
    top, low = 0.64 * height, height + 6
    road = Frame(rng.uniform(0.35, 0.65) * width, 0, 1)
    outline = road.polygon(-30, top, 30, top, 420, low, -300, low)
    canvas.paint(outline, (206, 190, 160), (176, 158, 130))
    for index, x in enumerate(np.linspace(0.01, 0.84, max(3, width // 420)) * width):
        beside = Frame(x + rng.uniform(-70, 10), 0.67 * height, rng.uniform(110, 150))
        things.tree(canvas, beside, (86, 132, 74))
        y = (0.7 + 0.045 * (index % 2)) * height
        things.house(canvas, Frame(x + rng.uniform(0, 40), y, rng.uniform(170, 215)))
    for x in rng.uniform(0.02, 0.98, 6) * width:
        frame = Frame(x, rng.uniform(0.83, 0.94) * height, rng.uniform(60, 110))
        things.tree(canvas, frame, mix((74, 122, 66), (196, 150, 60), rng.random() * 0.7))
    things.fence(canvas, 0.965 * height, 14)
    things.birds(canvas, 5, 0.08, 0.34, (72, 72, 84))


def still_life(canvas: Canvas, dusk: bool) -> None:
    """A table with fruit, a vase of flowers and a cup, before a tiled wall."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    wall: Color = (94, 108, 124) if dusk else (222, 206, 182)
    canvas.sky(tint(wall, 1.05), tint(wall, 0.85))
    table = 0.62 * height
    columns = max(5, width // 260)
    side = width / columns
    glaze = [mix(bright(canvas), wall, 0.62) for _ in range(4)]
    for row in range(int(table / side) + 1):
        for column in range(columns):
            frame, number = Frame(column * side, table - (row + 1) * side, side), row + column
            color, square = glaze[number % len(glaze)], frame.rectangle(0.02, 0.02, 0.98, 0.98)
            told = number % 2 == 0
            tile = canvas.paint(square, color, tint(color, 0.93), rough=0.5, annotate=told)
            if number % 3 == 0:
                diamond = frame.polygon(0.5, 0.2, 0.8, 0.5, 0.5, 0.8, 0.2, 0.5)
                canvas.paint(diamond, tint(color, 0.84), part_of=tile, rough=0.5)
    canvas.paint(_below(canvas, table), (166, 116, 78), (112, 74, 52))
    top, low, whole = table + 45, height + 6, Frame(0, 0, 1)
    outline = whole.polygon(
        0.12 * width, top, 0.86 * width, top, 0.98 * width, low, 0.02 * width, low
    )
    cloth = canvas.paint(outline, (240, 234, 222), (208, 200, 190))
    for share in (0.2, 0.4, 0.6, 0.8):
        far, near = (0.12 + 0.74 * share) * width, (0.02 + 0.96 * share) * width
        stripe = whole.polygon(far - 14, top, far + 14, top, near + 22, low, near - 22, low)
        canvas.paint(stripe, (186, 96, 90), part_of=cloth)
    things.vase(canvas, Frame(0.24 * width, table + 190, 100))
    things.bowl(canvas, Frame(0.58 * width, table + 200, 260))
    things.cup(canvas, Frame(0.86 * width, table + 180, 100))
    for x in np.linspace(0.12, 0.84, 7) * width:
        y = rng.uniform(0.87, 0.95) * height
        things.fruit(canvas, Frame(x + rng.uniform(-40, 40), y, rng.uniform(48, 70)))
    canvas.speck(int(0.5 * width), int(0.05 * height), (20, 20, 20))


def city(canvas: Canvas, dusk: bool) -> None:
    """Towers with lit windows along a river, under stars."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((58, 62, 116), (176, 104, 132), (248, 172, 124), (248, 172, 124))
    else:
        canvas.sky((16, 22, 50), (34, 44, 88), (74, 84, 134), (74, 84, 134))
    things.sun(canvas, rng.uniform(0.15, 0.85) * width, 0.17 * height, 58, (250, 244, 220))
    for _ in range(6):
        x, y = rng.uniform(0, width), rng.uniform(0, 0.3) * height
        canvas.speck(int(x), int(y), (255, 252, 236))
    for _ in range(9):
        x, y = rng.uniform(0, width), rng.uniform(0.02, 0.3) * height
        canvas.paint(ellipse(x, y, 4, 4), (255, 250, 226), rough=0.2)
    things.clouds(canvas, 3, 0.34, (108, 104, 150))
    shore = 0.8 * height
    x = -30.0
    while x < width:
        block = Frame(x, shore, rng.uniform(90, 190))
        outline = block.rectangle(0, -rng.uniform(200, 560) / block.size, 1, 0.05)
        canvas.paint(outline, (66, 70, 112), (92, 86, 124))
        x += block.size + rng.uniform(-20, 30)
    spans = []
    x = rng.uniform(-60, 0)
    while x < width:
        spans.append((x, rng.uniform(190, 270)))
        things.tower(canvas, x, shore, spans[-1][1], rng.uniform(280, 760))
        x += spans[-1][1] + rng.uniform(40, 110)
    canvas.paint(_below(canvas, shore), (52, 58, 104), (22, 26, 58))
    for x, span in spans:
        glow = Frame(x, shore, span).rectangle(0.3, 0.12, 0.7, rng.uniform(0.5, 1))
        canvas.paint(glow, (240, 196, 120), (60, 60, 100), annotate=False, opacity=0.4, rough=3)
    for x in rng.uniform(0.1, 0.9, 3) * width:
        things.boat(canvas, Frame(x, rng.uniform(0.88, 0.95) * height, 95))


def mountains(canvas: Canvas, dusk: bool) -> None:
    """Snow peaks over a lake, pines and tents."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((80, 96, 160), (214, 156, 170), (252, 220, 180), (252, 220, 180))
    else:
        canvas.sky((84, 156, 216), (176, 214, 236), (232, 240, 240), (232, 240, 240))
    things.clouds(canvas, 6, 0.24, (250, 248, 248))
    base = 0.6 * height
    for x in np.linspace(0.05, 0.95, 5) * width + rng.uniform(-80, 80, 5):
        things.peak(canvas, x, base, rng.uniform(340, 520), rng.uniform(380, 640))
    canvas.paint(ridge(rng, width, height, base - 30, 34, 6), (106, 138, 128))
    canvas.paint(ridge(rng, width, height, base + 40, 16, 6), (112, 148, 92), (98, 136, 80))
    lake = blob(rng, 0.5 * width, 0.76 * height, 0.4 * width, 0.075 * height, 15, 0.05)
    canvas.paint(lake, (140, 186, 204), (84, 140, 172))
    for x in np.sort(rng.uniform(0, width, 24)):
        frame = Frame(x, base + rng.uniform(20, 110), rng.uniform(90, 170))
        things.pine(canvas, frame, mix((56, 96, 76), (38, 74, 70), rng.random()))
    for x in (0.16, 0.52, 0.82):
        at = (x + rng.uniform(-0.05, 0.05)) * width
        things.tent(canvas, Frame(at, rng.uniform(0.9, 0.94) * height, rng.uniform(100, 140)))
    for x in rng.uniform(0, width, 16):
        y, size = rng.uniform(0.86, 0.99) * height, rng.uniform(16, 52)
        canvas.paint(blob(rng, x, y, size, size * 0.6, 7, 0.1), (156, 150, 146), (96, 92, 94))
    for x in (0.01, 0.97):
        things.pine(canvas, Frame(x * width, 0.99 * height, 460), (46, 84, 70))
    things.birds(canvas, 4, 0.1, 0.3, (60, 66, 84))


def meadow(canvas: Canvas, dusk: bool) -> None:
    """Large flowers before a windmill."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((116, 120, 178), (236, 176, 160), (255, 226, 180), (255, 226, 180))
    else:
        canvas.sky((110, 180, 226), (206, 232, 240), (244, 246, 236), (244, 246, 236))
    things.clouds(canvas, 7, 0.36, (255, 252, 250))
    canvas.paint(ridge(rng, width, height, 0.52 * height, 40, 4), (150, 182, 150))
    canvas.paint(ridge(rng, width, height, 0.6 * height, 20, 5), (138, 180, 104), (84, 136, 72))
    things.windmill(canvas, Frame(rng.uniform(0.25, 0.75) * width, 0.63 * height, 260))
    for x in np.sort(rng.uniform(0, width, 6)):
        frame = Frame(x, rng.uniform(0.61, 0.66) * height, rng.uniform(50, 90))
        things.tree(canvas, frame, (86, 134, 80))
    for y in np.sort(rng.uniform(0.68, 0.97, 26)) * height:
        size = 26 + 330 * (y / height - 0.66)
        frame = Frame(rng.uniform(0, width), y, size)
        stem = frame.polygon(-5 / size, 0, 5 / size, 0, 9 / size, 2.2, -3 / size, 2.2)
        canvas.paint(stem, (74, 124, 62), annotate=False)
        leaf = frame.ellipse(0.5, 1.4, 0.46, 0.16)
        canvas.paint(leaf, (92, 146, 74), annotate=bool(size > 60))
        things.flower(canvas, frame, int(rng.integers(5, 9)))
    things.birds(canvas, 5, 0.08, 0.34, (80, 78, 92))


def fog(canvas: Canvas, dusk: bool) -> None:
    """A misty sky over water: nothing to segment."""
    del dusk
    canvas.sky((176, 190, 206), (222, 222, 222), (240, 228, 214), (196, 206, 214), (160, 180, 196))
