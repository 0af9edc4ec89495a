"""Runs become bits: the masks' bounding boxes, and the pixels within them, packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from asam_datasets.rle import Ints, MaskRuns

_CANVAS_WORDS = 1 << 17  # one MiB of bits at a time: it stays in the cache


@dataclass(frozen=True, slots=True)
class MaskSegments:
    """Runs cut at the ends of columns: segment k covers the rows [tops[k], bottoms[k]).

    Mask i owns the segments offsets[i] to offsets[i + 1].
    """

    columns: Ints  # (S,)
    tops: Ints  # (S,)
    bottoms: Ints  # (S,)
    offsets: Ints  # (N + 1,)


def mask_segments(runs: MaskRuns, height: int) -> MaskSegments:
    """The runs, cut where a column ends."""
    columns = runs.starts // height
    tops = runs.starts - columns * height
    bottoms = runs.ends - runs.starts
    bottoms += tops
    if not len(bottoms) or bottoms.max() <= height:
        return MaskSegments(columns, tops, bottoms, runs.offsets)
    last = (runs.ends - 1) // height
    parts = last - columns + 1
    bottoms = runs.ends - last * height
    ends = np.cumsum(parts)
    which = np.repeat(np.arange(len(parts)), parts)
    columns = np.arange(len(which)) + (columns - (ends - parts))[which]
    all_tops, all_bottoms = np.zeros_like(columns), np.full_like(columns, height)
    all_tops[ends - parts] = tops
    all_bottoms[ends - 1] = bottoms
    offsets = np.concatenate(([0], ends))[runs.offsets]
    return MaskSegments(columns, all_tops, all_bottoms, offsets)


def mask_boxes(runs: MaskRuns, height: int) -> Ints:
    """The (x0, y0, x1, y1) of each mask's ones, ends excluded, (N, 4); zeros for empty masks.

    Examples
    --------
    A pixel in the second row and the first column of an image of two rows.

    >>> from asam_datasets.rle import parse_rle
    >>> mask_boxes(parse_rle(["114"], 6), height=2).tolist()
    [[0, 1, 1, 2]]
    """
    return _boxes(mask_segments(runs, height))


def _boxes(segments: MaskSegments) -> Ints:
    offsets = segments.offsets
    boxes = np.zeros((len(offsets) - 1, 4), np.int64)
    some = np.flatnonzero(np.diff(offsets))
    if len(some):
        begins = offsets[some]
        boxes[some, 0] = segments.columns[begins]
        boxes[some, 1] = np.minimum.reduceat(segments.tops, begins)
        boxes[some, 2] = segments.columns[offsets[some + 1] - 1] + 1
        boxes[some, 3] = np.maximum.reduceat(segments.bottoms, begins)
    return boxes


def mask_bits(
    runs: MaskRuns, height: int
) -> Iterator[tuple[int, int, int, int, npt.NDArray[np.uint8]]]:
    """Each mask that is not empty as packed bits of its bounding box.

    Yields (mask, y0, x0, x1, bits): bits[r] are the pixels from x0, a multiple of 8, to x1 of row
    y0 + r, most significant bit first, as `np.packbits` gives them; bits past x1 are 0.

    Many masks share one canvas of 64-bit words. Each box is cut into columns that are 64 pixels
    wide. The columns follow one another on the canvas, one word a row. A bit is flipped where a run
    begins and where it ends. A running exclusive or along the canvas then sets all bits between, in
    all masks at once. Each column has one row more than the box. A run that reaches the bottom of
    the box ends in that row, so the next column starts with zeros.
    """
    segments = mask_segments(runs, height)
    boxes = _boxes(segments)
    x0, y0 = boxes[:, 0] & ~7, boxes[:, 1]
    rows = boxes[:, 3] - y0 + 1
    words = (boxes[:, 2] - x0 + 63) // 64  # 0 for empty masks
    sizes = rows * words
    ends = np.cumsum(sizes)
    table = np.stack((x0, y0, boxes[:, 2], rows, words, ends), axis=1)
    groups = np.flatnonzero(np.diff(ends // _CANVAS_WORDS, prepend=-1))
    for first, stop in pairwise([*groups.tolist(), len(sizes)]):
        start = ends[first] - sizes[first]
        span = slice(segments.offsets[first], segments.offsets[stop])
        owner = np.repeat(np.arange(first, stop), np.diff(segments.offsets[first : stop + 1]))
        x = segments.columns[span] - x0[owner]
        column = (ends - sizes - start - y0)[owner] + (x >> 6) * rows[owner]
        bit = np.left_shift(np.uint64(1), ((x & 63) ^ 7).astype(np.uint64))
        canvas = np.zeros(ends[stop - 1] - start, "<u8")
        np.bitwise_xor.at(canvas, column + segments.tops[span], bit)
        np.bitwise_xor.at(canvas, column + segments.bottoms[span], bit)
        np.bitwise_xor.accumulate(canvas, out=canvas)
        for i, (left, top, right, high, wide, end) in enumerate(table[first:stop].tolist(), first):
            if wide:
                block = canvas[end - start - high * wide : end - start].reshape(wide, high)
                bits = np.ascontiguousarray(block[:, :-1].T).view(np.uint8)
                yield i, top, left, right, bits[:, : (right - left + 7) // 8]
