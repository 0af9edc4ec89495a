"""The control image: every mask in its own colour, masks with smaller boxes on top.

The order, the colours and the decoding are in `asam_datasets`, because readers need them too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from asam_datasets import control_colors, decode_control, mask_order
from builder.masks.png import LEVEL, PALETTE, RGB, assemble, chunk
from builder.masks.rle import RleBatch

__all__ = ["control_colors", "decode_control", "mask_order", "paint"]

_PALETTE_MASKS = 255  # the palette's first entry is the background
_BLOCK = (128, 256)  # of the transposition: both sides stay in the cache


def paint(batch: RleBatch, order: npt.NDArray[np.int64]) -> bytes:
    """The control image of an image's masks, as a PNG of the image's size.

    The masks are painted over each other on black. Up to 255 masks are stored as an 8-bit palette
    PNG, more as 24-bit RGB. Both decode to the same RGB.

    Parameters
    ----------
    batch
        The masks of one image.
    order
        (N,) int64, the mask of each rank: `mask_order` of the annotations. Rank j is painted before
        rank j + 1, in the j-th colour of `control_colors`.
    """
    height, width, n = batch.height, batch.width, len(batch)
    canvas = np.zeros(height * width, np.uint8 if n <= _PALETTE_MASKS else np.int32)
    starts, ends = batch.runs.starts.tolist(), batch.runs.ends.tolist()
    offsets = batch.runs.offsets.tolist()
    for rank, i in enumerate(order.tolist(), start=1):
        for k in range(offsets[i], offsets[i + 1]):
            canvas[starts[k] : ends[k]] = rank

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
