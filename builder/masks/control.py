"""The control image: every mask in a colour of its own, small masks on top of large ones.

`asam_datasets` holds the colours and the inverse, for those who read the image.
"""

from __future__ import annotations

import numpy as np
from isal import isal_zlib

from asam_datasets import control_colors, decode_control
from builder.masks.png import LEVEL, PALETTE, RGB, assemble, chunk
from builder.masks.rle import RleBatch

__all__ = ["control_colors", "decode_control", "paint"]

_PALETTE_MASKS = 255  # the palette's first entry is the background
_BLOCK = (128, 256)  # of the transposition: both sides stay in the cache


def paint(batch: RleBatch) -> bytes:
    """The control image of an image's masks, as a PNG.

    Masks are painted in descending area, ties in order, on black. Up to 255 masks are stored as a
    palette PNG of 8 bits, more as 24-bit RGB; both read as the same RGB.
    """
    height, width, n = batch.height, batch.width, len(batch)
    canvas = np.zeros(height * width, np.uint8 if n <= _PALETTE_MASKS else np.int32)
    starts, ends = batch.runs.starts.tolist(), batch.runs.ends.tolist()
    offsets = batch.runs.offsets.tolist()
    for i in np.argsort(-batch.areas, kind="stable").tolist():
        for k in range(offsets[i], offsets[i + 1]):
            canvas[starts[k] : ends[k]] = i + 1

    columns = canvas.reshape(width, height)
    palette = np.concatenate((np.zeros((1, 3), np.uint8), control_colors(n)))
    depth = 1 if n <= _PALETTE_MASKS else 3
    rows = np.zeros((height, 1 + width * depth), np.uint8)  # filter 0 and the row
    pixels = rows[:, 1:].reshape(height, width, depth) if depth == 3 else rows[:, 1:]
    for y in range(0, height, _BLOCK[0]):
        for x in range(0, width, _BLOCK[1]):
            block = columns[x : x + _BLOCK[1], y : y + _BLOCK[0]].T
            pixels[y : y + _BLOCK[0], x : x + _BLOCK[1]] = block if depth == 1 else palette[block]
    data = isal_zlib.compress(rows, LEVEL, isal_zlib.MAX_WBITS)
    if depth == 3:
        return assemble(height, width, 8, RGB, pixels=data)
    return assemble(height, width, 8, PALETTE, chunk(b"PLTE", palette.tobytes()), pixels=data)
