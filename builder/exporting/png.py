"""Converts the shards' PNGs to the kinds that ASAM's readers need, with little recoding.

PIL, OpenCV and scikit-image agree on few kinds of PNG. scikit-image reads a 1-bit grayscale mask as
booleans. With a palette of black and white, all three read it as 0 and 255. A control image with a
palette has two dimensions in PIL, but a released script of ASAM expects three. So it becomes 24-bit
RGB.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from builder.core.errors import ShardError, what_went_wrong
from builder.masks.control import compress_changes
from builder.masks.png import PALETTE, RGB, assemble, chunk

_HEAD = 33  # bytes up to the end of IHDR: signature 8, length 4, kind 4, data 13, crc 4
_DEPTH, _COLOUR = 24, 25  # positions of the bit depth and the colour type
_BLACK_AND_WHITE = chunk(b"PLTE", bytes((0, 0, 0, 255, 255, 255)))


@lru_cache(maxsize=4)
def _palette_head(head: bytes) -> bytes:
    """The first chunks of a palette PNG that has the size of the gray one."""
    if len(head) != _HEAD or head[12:16] != b"IHDR" or head[_DEPTH : _COLOUR + 1] != b"\x01\x00":
        raise ShardError(
            "a mask is not a 1-bit grayscale PNG: check the dist with python -m builder.verify"
        )
    ihdr = head[16:_COLOUR] + bytes((PALETTE,)) + head[_COLOUR + 1 : 29]
    return head[:8] + chunk(b"IHDR", ihdr) + _BLACK_AND_WHITE


def palette_mask(png: bytes) -> bytes:
    """Convert a 1-bit grayscale PNG to a 1-bit palette PNG of black and white.

    The compressed pixels are copied as they are.

    Raises
    ------
    ShardError
        The bytes are not a 1-bit grayscale PNG.
    """
    return _palette_head(png[:_HEAD]) + png[_HEAD:]


def rgb_control(png: bytes) -> bytes:
    """Convert a palette control image to a 24-bit RGB PNG. An RGB one is returned as it is.

    Each row is stored as its difference from the row above, which is 0 nearly everywhere. So
    colours are looked up only where the palette's index differs from the one above.

    Raises
    ------
    ShardError
        The PNG has neither a palette nor RGB.
    """
    if png[_COLOUR : _COLOUR + 1] == bytes((RGB,)):
        return png
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            mode = image.mode
            palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
            indices = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ShardError(f"a control image can't be read: {what_went_wrong(error)}") from error
    if mode != "P" or indices.max(initial=0) >= len(palette):
        raise ShardError(
            f"a control image is a PNG of mode {mode}, expected P or RGB and a palette"
        )
    height, width = indices.shape
    shown = palette[indices[0]]
    columns = np.flatnonzero(shown.any(axis=1))
    above, below = indices[:-1].reshape(-1), indices[1:].reshape(-1)
    changes = np.flatnonzero(above != below)
    rows = np.concatenate((np.zeros_like(columns), changes // width + 1))
    differences = np.concatenate(
        (shown[columns], palette[below[changes]] - palette[above[changes]])
    )
    columns = np.concatenate((columns, changes % width))
    pixels = compress_changes(height, width, rows, columns, differences)
    return assemble(height, width, 8, RGB, pixels=pixels)
