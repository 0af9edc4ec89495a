"""The pictures of the sample: eight kinds of scene, each painted on a Canvas.

Sizes are for SA-1B's short side of 1500 pixels; every scene fits itself to its width and height.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from builder.sources.sample_canvas import Canvas, Color, blob, ellipse, polygon, rectangle, ridge

BRIGHT: Sequence[Color] = (
    *((214, 69, 65), (242, 155, 56), (247, 202, 80), (88, 148, 98), (58, 124, 165)),
    *((120, 94, 163), (226, 121, 142), (45, 160, 156), (238, 228, 205)),
)


def _tint(color: Color, factor: float) -> Color:
    """The colour, darker (below 1) or lighter."""
    r, g, b = (min(255.0, value * factor) for value in color)
    return r, g, b


def _mix(a: Color, b: Color, share: float) -> Color:
    """`share` of b in a."""
    r, g, blue = ((1 - share) * x + share * y for x, y in zip(a, b, strict=True))
    return r, g, blue


def _bright(canvas: Canvas) -> Color:
    return BRIGHT[int(canvas.rng.integers(len(BRIGHT)))]


def _sun(canvas: Canvas, x: float, y: float, radius: float, color: Color) -> None:
    canvas.paint(
        ellipse(x, y, 2.1 * radius, 2.1 * radius), color, color, annotate=False, opacity=0.12
    )
    canvas.paint(
        ellipse(x, y, 1.5 * radius, 1.5 * radius), color, color, annotate=False, opacity=0.2
    )
    canvas.paint(ellipse(x, y, radius, radius), color, _tint(color, 0.96))


def _cloud(canvas: Canvas, x: float, y: float, size: float, color: Color) -> None:
    canvas.paint(
        blob(canvas.rng, x, y, size, size * 0.3, 11), color, _tint(color, 0.88), opacity=0.93
    )


def _clouds(canvas: Canvas, count: int, low: float, color: Color) -> None:
    for _ in range(count):
        x, y = canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(0.04, low) * canvas.height
        _cloud(canvas, x, y, canvas.rng.uniform(70, 190), color)


def _bird(canvas: Canvas, x: float, y: float, size: float, color: Color) -> None:
    wing = size * 0.55
    canvas.paint(
        polygon(
            *(
                (x - size, y - wing),
                (x - size * 0.45, y - wing * 0.95),
                (x, y),
                (x + size * 0.45, y - wing),
            ),
            *((x + size, y - wing * 0.8), (x + size * 0.4, y - wing * 0.55), (x, y + size * 0.3)),
            (x - size * 0.4, y - wing * 0.5),
        ),
        color,
        rough=0.3,
    )


def _tree(canvas: Canvas, x: float, y: float, size: float, color: Color) -> None:
    trunk = canvas.paint(
        rectangle(x - size * 0.07, y - size * 0.8, x + size * 0.07, y), (104, 78, 58)
    )
    gaps = [
        blob(canvas.rng, x + dx * size, y - (1.15 + dy) * size, size * 0.06, size * 0.05, 5)
        for dx, dy in canvas.rng.uniform(-0.25, 0.25, (int(canvas.rng.integers(0, 3)), 2))
    ]
    crown = canvas.paint(
        blob(canvas.rng, x, y - size * 1.15, size * 0.52, size * 0.62, 13, 0.1),
        color,
        _tint(color, 0.6),
        holes=gaps,
    )
    canvas.group(trunk, crown)


def _pine(canvas: Canvas, x: float, y: float, size: float, color: Color) -> None:
    parts = [
        canvas.paint(
            rectangle(x - size * 0.05, y - size * 0.2, x + size * 0.05, y),
            (92, 70, 54),
            annotate=False,
        )
    ]
    for step in range(3):
        base, half = y - size * (0.15 + 0.27 * step), size * (0.34 - 0.075 * step)
        tip = base - size * 0.48
        shape = polygon(
            (x - half, base),
            (x, tip),
            (x + half, base),
            (x + half * 0.4, base + size * 0.05),
            (x, base),
        )
        parts.append(canvas.paint(shape, _tint(color, 1 + 0.12 * step), annotate=False, rough=2.0))
    canvas.group(*parts)


def _boat(canvas: Canvas, x: float, y: float, size: float) -> None:
    hull_color, sail_color = _bright(canvas), _tint((250, 244, 232), canvas.rng.uniform(0.9, 1))
    mast = canvas.paint(
        rectangle(x - size * 0.02, y - size * 1.7, x + size * 0.02, y), (96, 72, 56), annotate=False
    )
    main = canvas.paint(
        polygon(
            (x + size * 0.05, y - size * 1.62),
            (x + size * 0.8, y - size * 0.22),
            (x + size * 0.05, y - size * 0.2),
        ),
        sail_color,
        _tint(sail_color, 0.88),
    )
    stripe = canvas.paint(
        polygon(
            *((x + size * 0.05, y - size * 0.75), (x + size * 0.51, y - size * 0.75)),
            *((x + size * 0.62, y - size * 0.56), (x + size * 0.05, y - size * 0.55)),
        ),
        _bright(canvas),
        part_of=main,
    )
    jib = canvas.paint(
        polygon(
            (x - size * 0.06, y - size * 1.4),
            (x - size * 0.06, y - size * 0.25),
            (x - size * 0.62, y - size * 0.22),
        ),
        _tint(sail_color, 0.94),
    )
    hull = canvas.paint(
        polygon(
            (x - size * 0.85, y - size * 0.12),
            (x + size * 0.95, y - size * 0.16),
            (x + size * 0.62, y + size * 0.24),
            (x - size * 0.6, y + size * 0.24),
        ),
        hull_color,
    )
    for port in (-0.4, 0.0, 0.4):
        canvas.paint(
            ellipse(x + port * size, y + size * 0.03, size * 0.055, size * 0.055),
            (38, 48, 66),
            part_of=hull,
            rough=0.3,
        )
    canvas.group(mast, main, stripe, jib, hull)


def harbour(canvas: Canvas, dusk: bool) -> None:
    """Boats before hills, with a lighthouse and buoys."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((72, 84, 140), (196, 120, 138), (250, 190, 130), (250, 190, 130))
        far, near, sea, white = (132, 100, 136), (84, 74, 112), (94, 92, 138), (244, 190, 170)
    else:
        canvas.sky((96, 164, 214), (190, 222, 236), (236, 242, 236), (236, 242, 236))
        far, near, sea, white = (142, 172, 176), (96, 140, 120), (56, 126, 158), (252, 252, 250)
    horizon = 0.46 * height
    _sun(canvas, rng.uniform(0.2, 0.8) * width, 0.3 * height, 74, (255, 232, 170))
    _clouds(canvas, 6, 0.26, white)
    canvas.paint(ridge(rng, width, height, horizon - 90, 70, 4), far)
    canvas.paint(ridge(rng, width, height, horizon - 20, 48, 5), near)
    canvas.paint(
        polygon((-6, horizon), (width + 6, horizon), (width + 6, height + 6), (-6, height + 6)),
        _mix(sea, white, 0.35),
        _tint(sea, 0.75),
    )
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(horizon + 30, height)
        reach = 30 + 160 * (y - horizon) / (height - horizon)
        canvas.paint(
            ellipse(x, y, reach, 2 + reach * 0.03),
            white,
            white,
            annotate=bool(rng.random() < 0.4),
            opacity=0.45,
        )
    _lighthouse(canvas, 0.87 * width, horizon + 70, 1.0)
    for y in np.sort(rng.uniform(horizon + 50, height * 0.84, 7)):
        _boat(
            canvas, rng.uniform(0.06, 0.8) * width, y, 60 + 150 * (y - horizon) / (height - horizon)
        )
    for y in np.sort(rng.uniform(0.7, 0.95, 5)) * height:
        x, size = rng.uniform(0.05, 0.95) * width, 34 * y / height
        canvas.paint(
            ellipse(x, y, size, size * 0.72),
            _bright(canvas),
            holes=[ellipse(x, y, size * 0.5, size * 0.34)],
        )
    for _ in range(9):
        _bird(
            canvas,
            rng.uniform(0.05, 0.95) * width,
            rng.uniform(0.08, 0.4) * height,
            rng.uniform(9, 24),
            (64, 64, 80),
        )
    for _ in range(2):
        canvas.speck(int(rng.uniform(0, width)), int(rng.uniform(0.1, 0.2) * height), (40, 40, 50))


def _lighthouse(canvas: Canvas, x: float, y: float, scale: float) -> None:
    s = 100 * scale
    canvas.paint(
        blob(canvas.rng, x, y + s * 0.4, s * 2.2, s * 0.6, 9), (112, 104, 98), (70, 68, 70)
    )
    tower = canvas.paint(
        polygon(
            (x - s * 0.42, y + s * 0.1),
            (x - s * 0.26, y - s * 2.4),
            (x + s * 0.26, y - s * 2.4),
            (x + s * 0.42, y + s * 0.1),
        ),
        (246, 242, 234),
        (220, 212, 204),
    )
    for level in (0.3, 1.2):
        lower, upper = 0.42 - 0.064 * level, 0.42 - 0.064 * (level + 0.5)
        canvas.paint(
            polygon(
                (x - s * lower, y - s * level),
                (x - s * upper, y - s * (level + 0.5)),
                (x + s * upper, y - s * (level + 0.5)),
                (x + s * lower, y - s * level),
            ),
            (204, 66, 58),
            part_of=tower,
            rough=0.5,
        )
    lantern = canvas.paint(
        rectangle(x - s * 0.2, y - s * 2.8, x + s * 0.2, y - s * 2.4), (255, 226, 140)
    )
    roof = canvas.paint(
        polygon((x - s * 0.32, y - s * 2.78), (x, y - s * 3.15), (x + s * 0.32, y - s * 2.78)),
        (150, 48, 48),
    )
    canvas.group(tower, lantern, roof)


def balloons(canvas: Canvas, dusk: bool) -> None:
    """Hot-air balloons over fields."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((92, 110, 178), (232, 166, 164), (255, 216, 160), (255, 216, 160))
    else:
        canvas.sky((74, 146, 214), (160, 208, 238), (228, 240, 240), (228, 240, 240))
    _sun(canvas, 0.16 * width, 0.42 * height, 60, (255, 238, 186))
    _clouds(canvas, 7, 0.5, (255, 246, 240))
    greens: Sequence[Color] = ((150, 170, 150), (124, 160, 112), (150, 178, 88), (108, 150, 76))
    for index, green in enumerate(greens):
        canvas.paint(
            ridge(rng, width, height, height * (0.66 + 0.075 * index), 44 - 5 * index, 3 + index),
            green,
        )
    for _ in range(10):
        x, y = rng.uniform(0, width), rng.uniform(0.86, 0.99) * height
        shape = polygon((x - 120, y - 16), (x + 90, y - 22), (x + 140, y + 16), (x - 90, y + 24))
        canvas.paint(shape, _mix((196, 178, 92), (96, 140, 70), rng.random()), opacity=0.85)
    for x in np.sort(rng.uniform(0, width, 9)):
        _tree(canvas, x, rng.uniform(0.83, 0.97) * height, rng.uniform(45, 85), (74, 122, 66))
    for size in np.sort(rng.uniform(50, 190, 9)):
        _balloon(canvas, rng.uniform(0.06, 0.94) * width, rng.uniform(0.14, 0.56) * height, size)
    for _ in range(5):
        _bird(
            canvas,
            rng.uniform(0.05, 0.95) * width,
            rng.uniform(0.3, 0.6) * height,
            rng.uniform(8, 16),
            (70, 74, 90),
        )
    canvas.speck(int(0.5 * width), int(0.03 * height), (30, 30, 40))


def _balloon(canvas: Canvas, x: float, y: float, size: float) -> None:
    first, second = _bright(canvas), _bright(canvas)
    half = np.linspace(0, 1, 40)
    # A balloon's profile: round above, drawn in to its mouth below.
    reach = np.sin(np.pi * half**0.72) * (1 - 0.12 * half) + 0.16 * half
    heights = y - size + half * 2.3 * size

    def gore(left: float, right: float) -> np.ndarray:
        edges = [np.stack([x + side * size * reach, heights], -1) for side in (left, right)]
        return np.vstack([edges[0], edges[1][::-1]])

    envelope = canvas.paint(gore(-1, 1), first, rough=0.7)
    for left, right in ((-0.72, -0.38), (-0.16, 0.16), (0.38, 0.72)):
        canvas.paint(gore(left, right), second, part_of=envelope, rough=0.5)
    low = y + 1.3 * size
    basket = rectangle(x - size * 0.15, low + size * 0.28, x + size * 0.15, low + size * 0.5)
    wicker = canvas.paint(basket, (140, 96, 58))
    for side in (-1, 1):
        rope = polygon(
            (x + side * size * 0.13, low),
            (x + side * size * 0.16, low),
            (x + side * size * 0.14, low + size * 0.3),
            (x + side * size * 0.11, low + size * 0.3),
        )
        canvas.paint(rope, (90, 70, 54), annotate=False, rough=0.2)
    canvas.group(envelope, wicker)


def _house(canvas: Canvas, x: float, y: float, size: float) -> None:
    wall_color = _mix(_bright(canvas), (248, 238, 222), 0.62)
    wall = canvas.paint(
        rectangle(x, y - size, x + 1.1 * size, y), wall_color, _tint(wall_color, 0.9)
    )
    chimney = canvas.paint(
        rectangle(x + size * 0.78, y - size * 1.62, x + size * 0.92, y - size * 1.1), (140, 86, 74)
    )
    roof = canvas.paint(
        polygon(
            (x - size * 0.12, y - size * 0.96),
            (x + size * 0.55, y - size * 1.6),
            (x + size * 1.22, y - size * 0.96),
        ),
        _mix((176, 84, 64), (110, 92, 96), canvas.rng.random()),
    )
    panes = [(0.14, 0.76), (0.68, 0.76), (0.68, 0.34)]
    for left, up in panes:
        at, top, span = x + left * size, y - up * size, 0.25 * size
        frame = canvas.paint(
            rectangle(at, top, at + span, top + span), (250, 248, 242), part_of=wall, rough=0.5
        )
        glass = rectangle(at + span * 0.12, top + span * 0.12, at + span * 0.88, top + span * 0.88)
        canvas.paint(glass, (112, 152, 178), (176, 204, 214), part_of=frame, rough=0.4)
    door = canvas.paint(
        rectangle(x + size * 0.2, y - size * 0.46, x + size * 0.42, y),
        _tint(_bright(canvas), 0.8),
        part_of=wall,
    )
    canvas.paint(
        ellipse(x + size * 0.385, y - size * 0.22, size * 0.014, size * 0.014),
        (240, 214, 130),
        part_of=door,
        rough=0.2,
    )
    canvas.group(wall, chimney, roof)


def village(canvas: Canvas, dusk: bool) -> None:
    """Houses under trees along a road."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((104, 116, 172), (222, 160, 160), (252, 214, 170), (252, 214, 170))
    else:
        canvas.sky((104, 172, 222), (196, 226, 238), (240, 242, 232), (240, 242, 232))
    _sun(canvas, 0.78 * width, 0.17 * height, 66, (255, 236, 176))
    _clouds(canvas, 6, 0.3, (254, 250, 246))
    canvas.paint(ridge(rng, width, height, 0.46 * height, 60, 4), (140, 166, 150))
    canvas.paint(ridge(rng, width, height, 0.54 * height, 30, 6), (120, 158, 104))
    canvas.paint(ridge(rng, width, height, 0.63 * height, 14, 5), (132, 172, 92), (92, 140, 72))
    middle = rng.uniform(0.35, 0.65) * width
    canvas.paint(
        polygon(
            (middle - 30, 0.64 * height),
            (middle + 30, 0.64 * height),
            (middle + 420, height + 6),
            (middle - 300, height + 6),
        ),
        (206, 190, 160),
        (176, 158, 130),
    )
    spots = np.linspace(0.01, 0.84, max(3, width // 420)) * width
    for index, x in enumerate(spots):
        _tree(canvas, x + rng.uniform(-70, 10), 0.67 * height, rng.uniform(110, 150), (86, 132, 74))
        _house(
            canvas,
            x + rng.uniform(0, 40),
            (0.7 + 0.045 * (index % 2)) * height,
            rng.uniform(170, 215),
        )
    for x in rng.uniform(0.02, 0.98, 6) * width:
        _tree(
            canvas,
            x,
            rng.uniform(0.83, 0.94) * height,
            rng.uniform(60, 110),
            _mix((74, 122, 66), (196, 150, 60), rng.random() * 0.7),
        )
    _fence(canvas, 0.965 * height, 14)
    for _ in range(5):
        _bird(
            canvas,
            rng.uniform(0.05, 0.95) * width,
            rng.uniform(0.08, 0.34) * height,
            rng.uniform(9, 20),
            (72, 72, 84),
        )
    canvas.speck(int(0.31 * width), int(0.06 * height), (60, 60, 70))


def _fence(canvas: Canvas, y: float, posts: int) -> None:
    parts = []
    for up in (70, 30):
        parts.append(
            canvas.paint(
                rectangle(-6, y - up, canvas.width + 6, y - up + 13),
                (226, 216, 198),
                annotate=False,
            )
        )
    for x in np.linspace(0, canvas.width, posts):
        post = polygon((x - 13, y), (x - 13, y - 92), (x, y - 112), (x + 13, y - 92), (x + 13, y))
        parts.append(canvas.paint(post, (240, 232, 216)))
    canvas.group(*parts)


def still_life(canvas: Canvas, dusk: bool) -> None:
    """A table with fruit, a vase of flowers and a cup, before a tiled wall."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    wall: Color = (94, 108, 124) if dusk else (222, 206, 182)
    canvas.sky(_tint(wall, 1.05), _tint(wall, 0.85))
    table = 0.62 * height
    columns = max(5, width // 260)
    side = width / columns
    glaze = [_mix(_bright(canvas), wall, 0.62) for _ in range(4)]
    for row in range(int(table / side) + 1):
        for column in range(columns):
            x, y = column * side, table - (row + 1) * side
            color = glaze[(row + column) % len(glaze)]
            tile = canvas.paint(
                rectangle(x + 5, y + 5, x + side - 5, y + side - 5),
                color,
                _tint(color, 0.93),
                rough=0.5,
                annotate=(row + column) % 2 == 0,
            )
            if (row + column) % 3 == 0:
                diamond = polygon(
                    (x + side / 2, y + side * 0.2),
                    (x + side * 0.8, y + side / 2),
                    (x + side / 2, y + side * 0.8),
                    (x + side * 0.2, y + side / 2),
                )
                canvas.paint(diamond, _tint(color, 0.84), part_of=tile, rough=0.5)
    canvas.paint(rectangle(-6, table, width + 6, height + 6), (166, 116, 78), (112, 74, 52))
    cloth = canvas.paint(
        polygon(
            (0.12 * width, table + 50),
            (0.86 * width, table + 40),
            (0.98 * width, height + 6),
            (0.02 * width, height + 6),
        ),
        (240, 234, 222),
        (208, 200, 190),
    )
    for share in (0.2, 0.4, 0.6, 0.8):
        top, bottom = (0.12 + 0.74 * share) * width, (0.02 + 0.96 * share) * width
        canvas.paint(
            polygon(
                (top - 14, table + 46),
                (top + 14, table + 46),
                (bottom + 22, height + 6),
                (bottom - 22, height + 6),
            ),
            (186, 96, 90),
            part_of=cloth,
        )
    _vase(canvas, 0.24 * width, table + 190)
    _bowl(canvas, 0.58 * width, table + 240, 270)
    _cup(canvas, 0.86 * width, table + 180)
    for x in np.linspace(0.16, 0.82, 7) * width:
        _fruit(
            canvas, x + rng.uniform(-40, 40), height * rng.uniform(0.88, 0.95), rng.uniform(48, 76)
        )
    canvas.speck(int(0.5 * width), int(0.05 * height), (20, 20, 20))


def _fruit(canvas: Canvas, x: float, y: float, size: float) -> None:
    colors: Sequence[Color] = (
        (206, 58, 52),
        (240, 150, 44),
        (236, 204, 70),
        (126, 164, 62),
        (122, 62, 104),
    )
    color = colors[int(canvas.rng.integers(len(colors)))]
    canvas.paint(
        ellipse(x + 8, y + size * 0.82, size * 1.05, size * 0.24),
        (74, 52, 44),
        annotate=False,
        opacity=0.4,
    )
    body = canvas.paint(
        blob(canvas.rng, x, y, size, size * 0.94, 5, 0.03), _tint(color, 1.1), _tint(color, 0.62)
    )
    canvas.paint(
        ellipse(x - size * 0.36, y - size * 0.4, size * 0.2, size * 0.13),
        (255, 250, 240),
        part_of=body,
        annotate=False,
        opacity=0.55,
    )
    stem = canvas.paint(
        polygon(
            (x - 4, y - size * 0.82),
            (x + 2, y - size * 1.18),
            (x + 9, y - size * 1.16),
            (x + 5, y - size * 0.82),
        ),
        (92, 70, 44),
    )
    if canvas.rng.random() < 0.6:
        leaf = canvas.paint(
            ellipse(x + size * 0.34, y - size * 1.08, size * 0.3, size * 0.12), (96, 146, 70)
        )
        canvas.group(body, stem, leaf)


def _vase(canvas: Canvas, x: float, y: float) -> None:
    heights = np.linspace(0, 1, 40)
    reach = (
        62
        + 52 * np.sin(np.pi * (heights * 0.92 + 0.1))
        - 30 * np.exp(-(((heights - 0.08) / 0.1) ** 2))
    )
    edges = [np.stack([x + side * reach, y - 330 + 330 * heights], -1) for side in (-1, 1)]
    stems = canvas.rng.uniform((-150, -330), (150, -90), (9, 2))
    for dx, dy in stems:
        canvas.paint(
            polygon(
                (x + dx * 0.2 - 4, y - 300),
                (x + dx - 4, y - 330 + dy),
                (x + dx + 4, y - 330 + dy),
                (x + dx * 0.2 + 5, y - 300),
            ),
            (96, 140, 84),
            annotate=False,
        )
    for dx, dy in stems:
        _flower(canvas, x + dx, y - 330 + dy, canvas.rng.uniform(36, 62), 6)
    vase = canvas.paint(np.vstack([edges[0], edges[1][::-1]]), (72, 118, 160), (42, 76, 118))
    for band in (0.36, 0.66):
        half = float(np.interp(band, heights, reach)) - 2
        canvas.paint(
            rectangle(x - half, y - 330 + 330 * band, x + half, y - 306 + 330 * band),
            (236, 226, 202),
            part_of=vase,
        )


def _flower(canvas: Canvas, x: float, y: float, size: float, petals: int) -> None:
    color = _bright(canvas)
    parts = []
    for angle in np.linspace(0, 2 * np.pi, petals, endpoint=False) + canvas.rng.uniform(0, 1):
        at = (x + 0.62 * size * np.cos(angle), y + 0.62 * size * np.sin(angle))
        parts.append(
            canvas.paint(ellipse(*at, size * 0.42, size * 0.4), color, annotate=False, rough=0.6)
        )
    core = canvas.paint(
        ellipse(x, y, size * 0.3, size * 0.3), (250, 214, 92), (206, 150, 52), rough=0.6
    )
    canvas.group(*parts, core)


def _bowl(canvas: Canvas, x: float, y: float, size: float) -> None:
    for dx, dy in ((-0.5, -0.18), (0.0, -0.26), (0.48, -0.18), (-0.24, -0.06), (0.26, -0.06)):
        _fruit(canvas, x + dx * size, y + (dy - 0.22) * size, size * 0.27)
    bowl = canvas.paint(
        ellipse(x, y - size * 0.18, size, size * 0.78, 0, 180), (226, 222, 214), (150, 150, 152)
    )
    rim = polygon(
        (x - size * 0.95, y - size * 0.02),
        (x + size * 0.95, y - size * 0.02),
        (x + size * 0.86, y + size * 0.1),
        (x - size * 0.86, y + size * 0.1),
    )
    canvas.paint(rim, (70, 122, 152), part_of=bowl)


def _cup(canvas: Canvas, x: float, y: float) -> None:
    color = _bright(canvas)
    handle = canvas.paint(
        ellipse(x + 92, y - 84, 62, 58), _tint(color, 0.94), holes=[ellipse(x + 94, y - 84, 36, 33)]
    )
    saucer = canvas.paint(ellipse(x, y, 168, 40), (240, 236, 228), (190, 186, 180))
    body = canvas.paint(
        polygon((x - 98, y - 168), (x + 98, y - 168), (x + 70, y - 6), (x - 70, y - 6)),
        color,
        _tint(color, 0.7),
    )
    mouth = canvas.paint(ellipse(x, y - 168, 98, 24), _tint(color, 1.12))
    tea = canvas.paint(ellipse(x, y - 164, 84, 17), (124, 70, 38), part_of=mouth)
    canvas.group(handle, body, mouth, tea)
    canvas.group(handle, body, mouth, tea, saucer)


def city(canvas: Canvas, dusk: bool) -> None:
    """Towers with lit windows along a river, under stars."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((58, 62, 116), (176, 104, 132), (248, 172, 124), (248, 172, 124))
    else:
        canvas.sky((16, 22, 50), (34, 44, 88), (74, 84, 134), (74, 84, 134))
    _sun(canvas, rng.uniform(0.15, 0.85) * width, 0.17 * height, 58, (250, 244, 220))
    for _ in range(6):
        canvas.speck(int(rng.uniform(0, width)), int(rng.uniform(0, 0.3) * height), (255, 252, 236))
    for _ in range(9):
        x, y = rng.uniform(0, width), rng.uniform(0.02, 0.3) * height
        canvas.paint(ellipse(x, y, 4, 4), (255, 250, 226), rough=0.2)
    _clouds(canvas, 3, 0.34, (108, 104, 150))
    shore = 0.8 * height
    x, towers = -30.0, []
    while x < width:
        span = rng.uniform(90, 190)
        canvas.paint(
            rectangle(x, shore - rng.uniform(200, 560), x + span, shore + 6),
            (66, 70, 112),
            (92, 86, 124),
        )
        x += span + rng.uniform(-20, 30)
    x = rng.uniform(-60, 0)
    while x < width:
        span = rng.uniform(190, 270)
        towers.append((x, span, rng.uniform(280, 760)))
        x += span + rng.uniform(40, 110)
    for x, span, tall in towers:
        _tower(canvas, x, shore, span, tall)
    canvas.paint(rectangle(-6, shore, width + 6, height + 6), (52, 58, 104), (22, 26, 58))
    for x, span, _ in towers:
        glow = rectangle(x + span * 0.3, shore + 26, x + span * 0.7, shore + rng.uniform(120, 240))
        canvas.paint(glow, (240, 196, 120), (60, 60, 100), annotate=False, opacity=0.4, rough=3)
    for x in rng.uniform(0.1, 0.9, 3) * width:
        _boat(canvas, x, rng.uniform(0.88, 0.95) * height, 95)


def _tower(canvas: Canvas, x: float, y: float, span: float, tall: float) -> None:
    color = _mix(_bright(canvas), (40, 44, 78), 0.72)
    tower = canvas.paint(rectangle(x, y - tall, x + span, y + 6), color, _tint(color, 0.75))
    mast = canvas.paint(
        rectangle(x + span * 0.48, y - tall - 80, x + span * 0.52, y - tall),
        (150, 150, 172),
        rough=0.4,
    )
    columns, rows = 4, max(2, int(tall / 84))
    for row in range(rows):
        for column in range(columns):
            lit = canvas.rng.random() < 0.6
            at, top = x + span * (0.1 + 0.21 * column), y - tall + 30 + row * 78
            light: Color = (252, 216, 136) if lit else _tint(color, 0.6)
            canvas.paint(
                rectangle(at, top, at + span * 0.15, top + 46),
                light,
                part_of=tower,
                annotate=bool(lit and canvas.rng.random() < 0.42),
                rough=0.5,
            )
    canvas.group(tower, mast)


def mountains(canvas: Canvas, dusk: bool) -> None:
    """Snow peaks over a lake, pines and tents."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((80, 96, 160), (214, 156, 170), (252, 220, 180), (252, 220, 180))
    else:
        canvas.sky((84, 156, 216), (176, 214, 236), (232, 240, 240), (232, 240, 240))
    _clouds(canvas, 6, 0.24, (250, 248, 248))
    base = 0.6 * height
    for x in np.linspace(0.05, 0.95, 5) * width + rng.uniform(-80, 80, 5):
        _peak(canvas, x, base, rng.uniform(340, 520), rng.uniform(380, 640))
    canvas.paint(ridge(rng, width, height, base - 30, 34, 6), (106, 138, 128))
    canvas.paint(ridge(rng, width, height, base + 40, 16, 6), (112, 148, 92), (98, 136, 80))
    canvas.paint(
        blob(rng, 0.5 * width, 0.76 * height, 0.4 * width, 0.075 * height, 15, 0.05),
        (140, 186, 204),
        (84, 140, 172),
    )
    for x in np.sort(rng.uniform(0, width, 24)):
        y = base + rng.uniform(20, 110)
        _pine(canvas, x, y, rng.uniform(90, 170), _mix((56, 96, 76), (38, 74, 70), rng.random()))
    for x in (0.16, 0.52, 0.82):
        _tent(
            canvas,
            (x + rng.uniform(-0.05, 0.05)) * width,
            rng.uniform(0.9, 0.94) * height,
            rng.uniform(100, 140),
        )
    for x in rng.uniform(0, width, 16):
        y, size = rng.uniform(0.86, 0.99) * height, rng.uniform(16, 52)
        canvas.paint(blob(rng, x, y, size, size * 0.6, 7, 0.1), (156, 150, 146), (96, 92, 94))
    for x in (0.01, 0.97):
        _pine(canvas, x * width, 0.99 * height, 460, (46, 84, 70))
    for _ in range(4):
        _bird(
            canvas,
            rng.uniform(0.1, 0.9) * width,
            rng.uniform(0.1, 0.3) * height,
            rng.uniform(10, 22),
            (60, 66, 84),
        )
    canvas.speck(int(0.64 * width), int(0.09 * height), (40, 44, 60))


def _peak(canvas: Canvas, x: float, y: float, half: float, tall: float) -> None:
    jagged = canvas.rng.uniform(-18, 18, 12)
    left = [(x - half * (1 - i / 6), y - tall * (i / 6) + jagged[i]) for i in range(6)]
    right = [(x + half * i / 6, y - tall * (1 - i / 6) + jagged[5 + i]) for i in range(1, 7)]
    tone = canvas.rng.uniform(0.92, 1.08)
    rock = canvas.paint(
        polygon(*left, (x, y - tall), *right),
        _tint((128, 134, 152), tone),
        _tint((104, 118, 134), tone),
        rough=2,
    )
    cap = polygon(
        (x, y - tall),
        right[0],
        right[1],
        (x + half * 0.18, y - tall * 0.58),
        (x + half * 0.05, y - tall * 0.68),
        (x - half * 0.12, y - tall * 0.56),
        (x - half * 0.2, y - tall * 0.66),
        left[4],
        left[5],
    )
    canvas.paint(cap, (252, 252, 254), (216, 226, 238), part_of=rock, rough=2)


def _tent(canvas: Canvas, x: float, y: float, size: float) -> None:
    color = _bright(canvas)
    tent = canvas.paint(polygon((x - size, y), (x, y - size * 1.05), (x + size, y)), color)
    door = canvas.paint(
        polygon((x - size * 0.26, y), (x, y - size * 0.72), (x + size * 0.26, y)),
        _tint(color, 0.45),
        part_of=tent,
    )
    canvas.paint(
        polygon((x, y - size * 0.72), (x + size * 0.26, y), (x + size * 0.42, y)),
        _tint(color, 1.15),
        part_of=door,
    )


def meadow(canvas: Canvas, dusk: bool) -> None:
    """Large flowers before a windmill."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    if dusk:
        canvas.sky((116, 120, 178), (236, 176, 160), (255, 226, 180), (255, 226, 180))
    else:
        canvas.sky((110, 180, 226), (206, 232, 240), (244, 246, 236), (244, 246, 236))
    _clouds(canvas, 7, 0.36, (255, 252, 250))
    canvas.paint(ridge(rng, width, height, 0.52 * height, 40, 4), (150, 182, 150))
    canvas.paint(ridge(rng, width, height, 0.6 * height, 20, 5), (138, 180, 104), (84, 136, 72))
    _windmill(canvas, rng.uniform(0.25, 0.75) * width, 0.63 * height, 230)
    for x in np.sort(rng.uniform(0, width, 6)):
        _tree(canvas, x, rng.uniform(0.61, 0.66) * height, rng.uniform(50, 90), (86, 134, 80))
    for y in np.sort(rng.uniform(0.68, 0.97, 26)) * height:
        x, size = rng.uniform(0, width), 26 + 330 * (y / height - 0.66)
        canvas.paint(
            polygon((x - 5, y), (x + 5, y), (x + 9, y + size * 2.2), (x - 3, y + size * 2.2)),
            (74, 124, 62),
            annotate=False,
        )
        canvas.paint(
            ellipse(x + size * 0.5, y + size * 1.4, size * 0.46, size * 0.16),
            (92, 146, 74),
            annotate=bool(size > 60),
        )
        _flower(canvas, x, y, size, int(rng.integers(5, 9)))
    for _ in range(5):
        _bird(
            canvas,
            rng.uniform(0.05, 0.95) * width,
            rng.uniform(0.08, 0.34) * height,
            rng.uniform(9, 20),
            (80, 78, 92),
        )
    canvas.speck(int(0.4 * width), int(0.08 * height), (70, 70, 80))


def _windmill(canvas: Canvas, x: float, y: float, size: float) -> None:
    tower = canvas.paint(
        polygon(
            (x - size * 0.36, y),
            (x - size * 0.2, y - size * 1.3),
            (x + size * 0.2, y - size * 1.3),
            (x + size * 0.36, y),
        ),
        (236, 226, 210),
        (196, 184, 168),
    )
    canvas.paint(
        rectangle(x - size * 0.09, y - size * 0.36, x + size * 0.09, y),
        (120, 78, 58),
        part_of=tower,
    )
    canvas.paint(
        rectangle(x - size * 0.07, y - size * 0.86, x + size * 0.07, y - size * 0.68),
        (98, 130, 152),
        part_of=tower,
    )
    cap = canvas.paint(
        ellipse(x, y - size * 1.3, size * 0.25, size * 0.24, 180, 360), (158, 76, 66)
    )
    sails = []
    turn = canvas.rng.uniform(0, np.pi / 2)
    for angle in turn + np.arange(4) * np.pi / 2:
        along, across = (
            np.array((np.cos(angle), np.sin(angle))),
            np.array((-np.sin(angle), np.cos(angle))),
        )
        hub = np.array((x, y - size * 1.32))

        def at(
            far: float,
            wide: float,
            hub: np.ndarray = hub,
            along: np.ndarray = along,
            across: np.ndarray = across,
        ) -> np.ndarray:
            return hub + size * (far * along + wide * across)

        blade = np.stack(
            [at(0.06, -0.02), at(1.05, -0.02), at(1.05, 0.17), at(0.3, 0.17), at(0.26, 0.03)]
        )
        slots = [
            np.stack([at(a, 0.03), at(a + 0.15, 0.03), at(a + 0.15, 0.13), at(a, 0.13)])
            for a in (0.36, 0.58, 0.8)
        ]
        sails.append(canvas.paint(blade, (250, 244, 232), holes=slots, rough=0.5))
    canvas.group(*sails)
    canvas.group(tower, cap, *sails)


def fog(canvas: Canvas, dusk: bool) -> None:
    """A misty sky over water: nothing to segment."""
    del dusk
    canvas.sky((176, 190, 206), (222, 222, 222), (240, 228, 214), (196, 206, 214), (160, 180, 196))
