"""Masks become a numpy array on the CPU, at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asam_datasets.bits import mask_bits
from asam_datasets.rle import Ints, MaskRuns, parse_rle
from asam_datasets.segmentation import Segmentations


def decode_to_array(
    masks: Segmentations, size: tuple[int, int], dtype: Any, packed: bool
) -> npt.NDArray[Any]:
    """Decode masks on the CPU.

    Parameters
    ----------
    masks
        N masks, whose own sizes may differ.
    size
        (h, w) in pixels: the size to sample to.
    dtype
        A numpy dtype; unused when `packed`.
    packed
        Whether each byte holds eight pixels, the leftmost in the highest bit.

    Returns
    -------
    numpy.ndarray
        (N, h, w) of 0 and 1, or (N, h, ceil(w / 8)) uint8 when `packed`.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed.
    """
    height, width = size
    if packed:
        out = np.zeros((len(masks.counts), height, (width + 7) // 8), np.uint8)
    else:
        out = np.zeros((len(masks.counts), height, width), dtype)
    for full, which in masks.by_size():
        runs = parse_rle([masks.counts[i] for i in which], full[0] * full[1])
        masks.refuse(runs.problems, which)
        if full != size:
            runs = _sample(runs, full, (height, min(width, full[1])))
        # Where columns are shown more than once, each is decoded once and then repeated.
        columns = _centres(full[1], width) if width > full[1] else None
        for k, y0, x0, x1, bits in mask_bits(runs, height):
            target = out[which[k], y0 : y0 + len(bits)]
            if packed and columns is None:
                target[:, x0 // 8 : x0 // 8 + bits.shape[1]] = bits
                continue
            window = np.unpackbits(bits, axis=1, count=x1 - x0)
            if columns is None:
                target[:, x0:x1] = window
                continue
            first, stop = np.searchsorted(columns, (x0, x1))
            window = window[:, columns[first:stop] - x0]
            if packed:
                window = np.packbits(np.pad(window, ((0, 0), (first % 8, 0))), axis=1)
                target[:, first // 8 : first // 8 + window.shape[1]] = window
            else:
                target[:, first:stop] = window
    return out


def _centres(full: int, small: int) -> Ints:
    """The source index that each of `small` samples of an axis of `full` shows, (small,)."""
    centres: Ints = (2 * np.arange(small, dtype=np.int64) + 1) * full // (2 * small)
    return centres


def _sample(runs: MaskRuns, full: tuple[int, int], small: tuple[int, int]) -> MaskRuns:
    """The runs that nearest-neighbour sampling leaves, in the small image's pixel numbers.

    A boundary moves to the number of sampled pixels before it. These are the sampled pixels of all
    columns before its own, and, if its own column is sampled, those of the rows above it. The
    caller makes sure that no column is sampled twice.
    """
    rows_before = np.searchsorted(_centres(full[0], small[0]), np.arange(full[0]))
    columns_before = np.searchsorted(_centres(full[1], small[1]), np.arange(full[1] + 2))
    sampled = np.diff(columns_before)

    def move(boundaries: Ints) -> Ints:
        columns = boundaries // full[0]
        rows = boundaries - columns * full[0]
        moved: Ints = columns_before[columns] * small[0] + sampled[columns] * rows_before[rows]
        return moved

    starts, ends = move(runs.starts), move(runs.ends)
    keep = ends > starts
    kept = np.concatenate(([0], np.cumsum(keep)))
    return MaskRuns(starts[keep], ends[keep], kept[runs.offsets], runs.problems)
