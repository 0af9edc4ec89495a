"""What changes from one row of a mask to the next, found from its runs: no bitmap is made.

A PNG of one bit a pixel has eight pixels in a byte. Look down a column of bytes: a byte differs
from the one above it only where a run of the mask begins or ends in one of its eight pixels. So the
pixels where runs begin and end are sorted down the columns, and their bits are summed up by
exclusive or. That gives all bytes that differ from the byte above. Then they are sorted along the
rows. They are the bytes that have to be written. The bytes between them are equal to those above,
and are copied from there. If all of them are zeros, they are copied from the byte before, which
takes fewer bits.

An example is a mask of 32 x 3 pixels. A row has five bytes: the filter byte and four bytes of
pixels. Only one byte differs between the rows::

    0  31 255 255 252    written, except the first 0: nothing stands above
    0  31 255 255 252    the 0 is written, the rest is copied from the row above
    0  31 255 240 252    0 31 255 are copied, too; 240 is written; 252 is one byte, so it is written

`mask_steps` has this example as a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asam_datasets import MaskRuns
from asam_datasets.bits import mask_segments
from asam_datasets.rle import Ints
from builder.masks.codes import END, FARTHEST
from builder.masks.steps import Bools, Gaps, Steps, repeated, take_steps

_BIT = (1 << np.arange(7, -1, -1)).astype(np.uint8)
_ADLER = 65521


@dataclass(frozen=True, slots=True)
class _Columns:
    """The bytes that differ from those above them, down the columns of all masks.

    A key is made of the mask, the column and the row. Column 0 is that of the filters. A column
    that reaches the last row ends in the row below it. The first entry is no change.
    """

    number: int
    height: int
    stride: int
    keys: Ints
    values: npt.NDArray[np.uint8]
    row_bits: int
    mask_bits: int

    def at(self, masks: Ints, rows: Ints, columns: Ints) -> npt.NDArray[np.uint8]:
        """The bytes at some places, changed or not."""
        keys = masks << self.mask_bits
        keys |= columns << self.row_bits
        keys |= rows
        found: npt.NDArray[np.uint8] = self.values[self.keys.searchsorted(keys, "right") - 1]
        return found


def _columns(runs: MaskRuns, height: int, width: int) -> _Columns:
    segments = mask_segments(runs, height)
    stride = 1 + (width + 7) // 8
    row_bits = height.bit_length()
    mask_bits = row_bits + stride.bit_length()
    base = segments.columns >> 3
    base += 1
    base <<= row_bits + 3
    base |= segments.columns & 7
    masks = np.arange(len(runs)) << mask_bits + 3
    base |= np.repeat(masks, segments.offsets[1:] - segments.offsets[:-1])
    flips = np.empty(2 * len(base) + 2, np.int64)
    flips[-2:] = -8, np.iinfo(np.int64).max
    np.left_shift(segments.tops, 3, out=flips[: len(base)])
    np.left_shift(segments.bottoms, 3, out=flips[len(base) : -2])
    flips[: len(base)] += base
    flips[len(base) : -2] += base
    flips.sort()
    values = _BIT.take(flips & 7)
    values[0] = 0
    np.bitwise_xor.accumulate(values, out=values)
    flips >>= 3
    last = np.flatnonzero(flips[1:] != flips[:-1])
    return _Columns(
        len(runs), height, stride, flips.take(last), values.take(last), row_bits, mask_bits
    )


def mask_steps(runs: MaskRuns, height: int, width: int) -> Steps:
    """The rows of masks as steps; a row is a filter byte of 0, and the packed pixels.

    Parameters
    ----------
    runs
        The masks.
    height, width
        Their size in pixels.

    Examples
    --------
    The mask of the example above. After five written bytes, seven are copied from the row above:
    a copy from there has `FAR` added to it.

    >>> from asam_datasets import parse_rle
    >>> from builder.masks.codes import FAR
    >>> from builder.masks.rle import encode
    >>> mask = np.ones((3, 32), np.uint8)
    >>> mask[:, :3] = mask[:, 30:] = mask[2, 20:24] = 0
    >>> np.packbits(mask, axis=1)[2].tolist()
    [31, 255, 240, 252]
    >>> steps = mask_steps(parse_rle([encode(mask)], mask.size), 3, 32)
    >>> steps.values.tolist() == [31, 255, 255, 252, 0, 240, 252, END]
    True
    >>> steps.copies.tolist() == [0, 0, 0, 0, 0, 7 + FAR, 0, 0]
    True
    """
    down = _columns(runs, height, width)
    number, stride = down.number, down.stride
    room = (height + 1) * stride  # so that the masks have no row in common
    keys = down.keys[1:]
    rows = keys & (1 << down.row_bits) - 1
    columns = keys >> down.row_bits
    columns &= (1 << down.mask_bits - down.row_bits) - 1
    masks = keys >> down.mask_bits
    values = down.values.astype(np.int64)
    changed = values[1:] - values[:-1]
    adler = _adler(down, changed, masks, rows, columns)
    top = np.zeros(number, np.bool_)  # whether a mask has ones in its first row, or in its last
    bottom = np.zeros(number, np.bool_)
    top[masks[rows == 0]] = True
    bottom[masks[rows == height]] = True

    # From here on, everything is sorted along the rows. Nothing stands above the first row, so its
    # gaps are zeros, copied from the byte before. They end with the filter byte of the second row.
    # Therefore that byte is written if the first row has ones.
    masks *= room
    masks += rows * stride
    masks += columns
    masks <<= 9
    masks |= values[1:]
    starts = np.arange(number) * room
    ends = starts + height * stride << 9 | END
    second = starts[top] + stride << 9 if height > 1 else starts[:0]
    order = np.concatenate((masks[(changed != 0) & (rows != height)], ends, second))
    order.sort()
    lasts = order.searchsorted(ends)
    firsts = np.concatenate(([0], lasts[:-1] + 1))
    places = order >> 9
    sizes = np.empty_like(places)
    sizes[1:] = places[1:] - places[:-1]
    sizes[firsts] = places[firsts] - starts
    sizes -= 1
    near = _zeros(places, stride, lasts, bottom)
    near[firsts] = True
    near[lasts[~bottom]] = True
    for first, end in zip(
        firsts[top].tolist(), order.searchsorted(second, "right").tolist(), strict=False
    ):
        near[first:end] = True
    if height == 1:
        near[:] = True

    def between(gaps: Ints, counts: Ints) -> npt.NDArray[np.uint8]:
        masks = places[gaps] // room
        begins = places[gaps] - sizes[gaps] - masks * room
        place = np.repeat(begins, counts)
        place += repeated(counts)
        rows = place // stride
        return down.at(np.repeat(masks, counts), rows, place - rows * stride)

    order &= 511
    gaps = Gaps(0, sizes, order, near, lasts, adler)
    return take_steps(gaps, between, apart=stride <= FARTHEST)


def _zeros(places: Ints, stride: int, lasts: Ints, bottom: Bools) -> Bools:
    """Whether the gap before each written byte is known to hold zeros only.

    Only gaps from one row into the next are looked at. Such a gap has two parts. The first part is
    right of the last change in its row. The second part is left of the first change in the next
    row. The second part is zeros in either of two cases. No byte has changed there in any row
    above. Or no byte changes there in any row below, and the mask's last row is zeros. The same
    holds for the first part.
    """
    rows = places // stride
    columns = places - rows * stride
    starts = np.flatnonzero(rows[1:] != rows[:-1])
    starts += 1
    left = np.empty(len(starts) + 1, np.int64)
    right = np.empty_like(left)
    left[0] = columns[0]
    left[1:] = columns.take(starts)
    right[:-1] = columns.take(starts - 1)
    ends = starts.searchsorted(lasts, "right")  # each END stands in a row of its own
    outside = 1 << 40
    left[ends] = np.where(bottom, -1, outside)
    right[ends] = np.where(bottom, outside, -1)
    # Minima and maxima of one mask only: the other masks' columns are moved out of the way.
    masks = np.zeros_like(left)
    masks[ends[:-1] + 1] = 1 << 42
    np.cumsum(masks, out=masks)
    good = _is_least(left - masks)
    good |= _is_least((left + masks)[::-1])[::-1]
    also = _is_least(-masks - right)
    also |= _is_least((masks - right)[::-1])[::-1]
    next_row = rows.take(starts)
    next_row -= rows.take(starts - 1)
    near = np.zeros(len(places), np.bool_)
    near[starts[good[1:] & also[:-1] & (next_row == 1)]] = True
    return near


def _is_least(numbers: Ints) -> Bools:
    """Whether each number is the least of all up to it."""
    least: Bools = np.minimum.accumulate(numbers) == numbers
    return least


def _adler(down: _Columns, changed: Ints, masks: Ints, rows: Ints, columns: Ints) -> Ints:
    """The Adler-32 of each mask's stream (RFC 1950, 2.2), in closed form.

    A byte that is larger than the one above by `changed` adds that to its own row and to all rows
    below. The second sum of the checksum counts each byte once for each place from it to the end.
    """
    size = down.height * down.stride
    changed = changed * (down.height - rows)
    weights = (size - columns) * 2
    weights -= (rows + down.height - 1) * down.stride
    weights *= changed
    low, high = np.zeros((2, down.number), np.int64)
    begins = np.flatnonzero(masks[1:] != masks[:-1]) + 1
    if len(masks):
        begins = np.concatenate(([0], begins))
        low[masks[begins]] = np.add.reduceat(changed, begins)
        high[masks[begins]] = np.add.reduceat(weights, begins)
    low = (1 + low) % _ADLER
    high = (size + (high >> 1)) % _ADLER
    adler: Ints = high << 16 | low
    return adler
