"""The control image: every mask in its own colour, masks with smaller boxes on top.

The order, the colours and the decoding are in `asam_datasets`, because readers need them too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asam_datasets import control_colors, decode_control, mask_order
from asam_datasets.rle import Ints
from builder.masks.codes import END
from builder.masks.deflate import fit, pack
from builder.masks.png import PALETTE, RGB, assemble, chunk
from builder.masks.rle import RleBatch
from builder.masks.steps import Gaps, repeated, take_steps

__all__ = ["compress_changes", "control_colors", "decode_control", "mask_order", "paint"]

_PALETTE_MASKS = 255  # the palette's first entry is the background
_UP = 2  # the PNG filter
_ADLER = 65521
_MOST_CELLS = 1 << 20  # painted at a time


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
    places, shown = _shown(batch, order)
    columns = places // height
    rows = places - columns * height
    above = np.zeros_like(shown)
    above[1:] = shown[:-1]
    above[rows == 0] = 0
    some = np.flatnonzero(shown != above)
    rows, columns, shown, above = (a.take(some) for a in (rows, columns, shown, above))
    palette = np.concatenate((np.zeros((1, 3), np.uint8), control_colors(n)))
    if n > _PALETTE_MASKS:
        data = compress_changes(height, width, rows, columns, palette[shown] - palette[above])
        return assemble(height, width, 8, RGB, pixels=data)
    differences = (shown - above).astype(np.uint8)[:, None]
    data = compress_changes(height, width, rows, columns, differences)
    return assemble(height, width, 8, PALETTE, chunk(b"PLTE", palette.tobytes()), pixels=data)


def _shown(batch: RleBatch, order: Ints) -> tuple[Ints, Ints]:
    """Where the mask that is on top can change down the columns, and its rank, 0 for none.

    Between two places where any run begins or ends, or a column does, nothing changes. So a mask is
    painted on one cell for all pixels between.
    """
    runs = batch.runs
    tops = np.arange(batch.width) * batch.height
    places = np.concatenate((runs.starts, runs.ends, tops))
    places.sort()
    new = np.ones(len(places), np.bool_)
    np.not_equal(places[1:], places[:-1], out=new[1:])
    places = places[new]
    ranks = np.empty(len(batch), np.int64)
    ranks[order] = np.arange(1, len(batch) + 1)
    ranks = np.repeat(ranks, np.diff(runs.offsets))
    firsts = places.searchsorted(runs.starts)
    counts = places.searchsorted(runs.ends) - firsts
    cells = np.zeros(len(places), np.int64)
    upto = np.cumsum(counts)
    first = 0
    while first < len(upto):
        most = (upto[first - 1] if first else 0) + _MOST_CELLS
        stop = max(first + 1, int(upto.searchsorted(most, "right")))
        some, first = slice(first, stop), stop
        at = np.repeat(firsts[some], counts[some])
        at += repeated(counts[some])
        np.maximum.at(cells, at, np.repeat(ranks[some], counts[some]))
    inside = int(places.searchsorted(batch.height * batch.width))
    return places[:inside], cells[:inside]


def compress_changes(
    height: int, width: int, rows: Ints, columns: Ints, differences: npt.NDArray[np.uint8]
) -> bytes:
    """The zlib stream of a PNG of 8 bits a channel, given where it changes from row to row.

    All rows have the filter Up (PNG specification, 9.2): a byte is what the pixel has more than the
    one above, modulo 256. That is 0 nearly everywhere.

    Parameters
    ----------
    height, width
        The image's size in pixels.
    rows, columns
        (N,) the pixels that differ from the one above, those of the first row from 0.
    differences
        (N, channels) by how much they differ.
    """
    channels = differences.shape[1]
    stride = 1 + width * channels
    keys = rows * stride
    keys += columns * channels
    every = keys[:, None] + np.arange(1, 1 + channels) << 9 | differences
    filters = np.arange(1, height) * stride << 9 | _UP
    size = height * stride
    keys = np.concatenate((every.reshape(-1), filters, [size << 9 | END]))
    keys.sort()
    places, values = keys >> 9, keys & 511
    gaps = np.diff(places, prepend=0)
    gaps -= 1
    near = np.ones(len(values), np.bool_)
    last = np.array([len(values) - 1])
    # Adler-32 (RFC 1950, 2.2). The second sum counts a byte once for each place up to the end.
    low = (1 + _UP + values[:-1].sum()) % _ADLER
    high = (size + _UP * size + ((size - places[:-1]) * values[:-1]).sum()) % _ADLER
    adler = np.array([high << 16 | low])
    steps = take_steps(Gaps(_UP, gaps, values, near, last, adler), unit=channels)
    code = fit(steps, 0).code(1, max(2, channels))
    (data,) = pack(steps, [code], np.zeros(1, np.int64))
    return data
