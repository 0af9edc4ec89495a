"""Masks become a numpy array on the CPU, at any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asam_datasets.bits import mask_bits, mask_boxes, mask_segments
from asam_datasets.frames import nearest
from asam_datasets.rle import Ints, MaskRuns, parse_rle
from asam_datasets.segmentation import Segmentations


@dataclass(frozen=True)
class Samples:
    """Masks sampled by nearest neighbour, as runs.

    `runs` are of pictures of `height` rows that show each sampled column once. The column j of the
    result is their column `columns[j]`, and None means that they are the same.
    """

    runs: MaskRuns
    height: int
    columns: Ints | None

    def areas(self) -> Ints:
        """The pixels of each mask, (N,)."""
        segments = mask_segments(self.runs, self.height)
        sizes = segments.bottoms - segments.tops
        if self.columns is not None:
            sizes = sizes * np.bincount(self.columns)[segments.columns]
        sums = np.concatenate(([0], np.cumsum(sizes)))
        areas: Ints = np.diff(sums[segments.offsets])
        return areas

    def boxes(self) -> Ints:
        """The (x0, y0, x1, y1) of each mask, ends excluded, (N, 4); zeros for empty masks."""
        boxes = mask_boxes(self.runs, self.height)
        if self.columns is not None:
            boxes[:, ::2] = np.searchsorted(self.columns, boxes[:, ::2])
        return boxes

    def fill(self, out: npt.NDArray[Any], which: list[int], packed: bool = False) -> None:
        """Set the ones of mask k in out[which[k]], which is (h, w), or packed (h, ceil(w / 8))."""
        columns = self.columns
        for k, y0, x0, x1, bits in mask_bits(self.runs, self.height):
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


def sample(runs: MaskRuns, full: tuple[int, int], rows: Ints, columns: Ints) -> Samples:
    """Masks that show the given rows and columns of masks of (height, width) `full`.

    `rows` and `columns` are in order, and may repeat. A boundary of a run moves to the number of
    sampled pixels before it. These are the sampled pixels of all columns before its own, and, if
    its own column is sampled, those of the rows above it.
    """
    once, shown = np.unique(columns, return_inverse=True)
    height, repeats = len(rows), len(once) < len(columns)
    rows_before = np.searchsorted(rows, np.arange(full[0]))
    columns_before = np.searchsorted(once, np.arange(full[1] + 2))
    sampled = np.diff(columns_before)

    def move(boundaries: Ints) -> Ints:
        at = boundaries // full[0]
        row = boundaries - at * full[0]
        moved: Ints = columns_before[at] * height + sampled[at] * rows_before[row]
        return moved

    starts, ends = move(runs.starts), move(runs.ends)
    keep = ends > starts
    kept = np.concatenate(([0], np.cumsum(keep)))
    left = MaskRuns(starts[keep], ends[keep], kept[runs.offsets], runs.problems)
    return Samples(left, height, shown if repeats else None)


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
        samples = Samples(runs, height, None)
        if full != size:
            rows, columns = nearest(full[0], height, 0, height), nearest(full[1], width, 0, width)
            samples = sample(runs, full, rows, columns)
        samples.fill(out, which, packed)
    return out
