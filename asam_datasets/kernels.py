"""Masks on a GPU by two Triton kernels: one parses the strings, one fills the masks.

This module needs torch and Triton. The published file asam_datasets.py does not hold it.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from asam_datasets.edges import Edges
from asam_datasets.errors import CorruptDataError
from asam_datasets.rle import MAX_GROUP, characters, parse_rle
from asam_datasets.segmentation import Segmentations

TOO_FAR = 2**31 - 1  # above every pixel's number: stands for no edge


def parse_by_kernel(masks: Segmentations, device: torch.device) -> Edges:
    """Parse all strings on the device, by the rules of `parse_rle`.

    A mask has at most as many edges as its string has characters. So each mask's edges are stored
    where its characters stand.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed.
    """
    data, lengths = characters(masks.counts)
    stops = np.cumsum(lengths)
    sizes = np.array(masks.sizes, np.int64).reshape(-1, 2)
    table = torch.from_numpy(np.column_stack((stops - lengths, stops, sizes))).to(device)
    codes = torch.from_numpy(data.copy()).to(device)
    places = torch.empty(len(data), dtype=torch.int32, device=device)
    with torch.cuda.device_of(codes):  # type: ignore[no-untyped-call]
        parse_kernel[(len(lengths),)](codes, table, places, MAX_GROUP=MAX_GROUP, BLOCK=512)
    if (table[:, 0] == table[:, 1]).any():  # waits for the device
        for (height, width), which in masks.by_size():
            runs = parse_rle([masks.counts[i] for i in which], height * width)
            masks.refuse(runs.problems, which)
        raise CorruptDataError("a mask's RLE is malformed on the device, and is not on the CPU")
    return Edges(places, table)


def fill_by_kernel(out: torch.Tensor, edges: Edges, width: int, packed: bool) -> None:
    """Set the masks' pixels in `out`, (N, h, w) zeros. Strips without ones are not written."""
    number, height, _ = out.shape
    columns = 128
    target = out.view(torch.uint8) if out.dtype == torch.bool else out
    kernel = fill_kernel[(number * -(-width // columns),)]
    with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]
        # Two warps: most programs only search, so it matters that many of them run at a time.
        kernel(
            *(target, edges.places, edges.masks, height, width),
            *(packed, columns, TOO_FAR),
            num_warps=2,
        )


@triton.jit  # type: ignore[untyped-decorator]
def parse_kernel(  # type: ignore[no-untyped-def]
    codes,
    masks,
    places,
    MAX_GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program parses one mask's string, a block of characters at a time.

    The kernel writes the end of the mask's edges into `masks`. A malformed mask has no edges: its
    end is its start.
    """
    mask = tl.program_id(0)
    start = tl.load(masks + 4 * mask)
    stop = tl.load(masks + 4 * mask + 1)
    pixels = tl.load(masks + 4 * mask + 2) * tl.load(masks + 4 * mask + 3)
    last = tl.load(codes + stop - 1, mask=stop > start, other=48).to(tl.int32) - 48
    bad = (last & 32) != 0  # more characters should follow
    groups = 0
    zeros, ones, total = start * 0, start * 0, start * 0  # what counts and sums have come to
    base = start
    while base < stop:
        at = base + tl.arange(0, BLOCK)
        inside = at < stop
        code = tl.load(codes + at, mask=inside, other=48).to(tl.int32) - 48
        wrong = (code < 0) | (code > 63)
        ends = inside & ((code & 32) == 0)  # a group of characters, that is a count
        value = ((code & 31) - ((code & 16) << 1)).to(tl.int64)
        more = ends
        longest = 1
        going = 1
        while going > 0:
            here = at - longest
            before = tl.load(codes + here, mask=more & (here >= start), other=48)
            before = before.to(tl.int32) - 48
            more = more & ((before & 32) != 0)
            value = tl.where(more, value * 32 + (before & 31), value)
            longest += 1
            going = tl.where(longest <= MAX_GROUP, tl.max(more.to(tl.int32), 0), 0)
        wrong = wrong | more  # a group that is too long

        # From the fourth count on each is a difference from the count two before it.
        value = tl.minimum(tl.maximum(value, -pixels - 1), pixels + 1)
        order = groups + tl.cumsum(ends.to(tl.int32), 0) - 1
        of_ones = ends & (order % 2 == 1)
        of_zeros = ends & (order % 2 == 0) & (order > 0)
        later_zeros = zeros + tl.cumsum(tl.where(of_zeros, value, 0), 0)
        later_ones = ones + tl.cumsum(tl.where(of_ones, value, 0), 0)
        count = tl.where(of_ones, later_ones, tl.where(of_zeros, later_zeros, value))
        count = tl.where(ends, count, 0)
        wrong = wrong | (count < 0) | (count > pixels)
        place = total.to(tl.int32) + tl.cumsum(count.to(tl.int32), 0)
        tl.store(places + start + order, place, mask=ends)
        bad = bad | (tl.max(wrong.to(tl.int32), 0) > 0)
        groups += tl.sum(ends.to(tl.int32), 0)
        zeros += tl.sum(tl.where(of_zeros, value, 0), 0)
        ones += tl.sum(tl.where(of_ones, value, 0), 0)
        total += tl.sum(count, 0)
        base += BLOCK
    bad = bad | (total != pixels)
    tl.store(masks + 4 * mask + 1, tl.where(bad, start, start + groups))


@triton.jit  # type: ignore[untyped-decorator]
def count_edges(places, pixels, low, high, TOO_FAR: tl.constexpr):  # type: ignore[no-untyped-def]
    """Count the edges at or before each pixel, by a binary search for all pixels at a time.

    The count is known to lie between `low` and `high`. `pixels` may have any shape.
    """
    lows = tl.zeros_like(pixels) + low
    highs = tl.zeros_like(pixels) + high
    span = high - low
    while span > 0:
        middles = (lows + highs) // 2
        searching = lows < highs
        passed = tl.load(places + middles, mask=searching, other=TOO_FAR) <= pixels
        lows = tl.where(passed, middles + 1, lows)
        highs = tl.where(passed, highs, middles)
        span = span // 2
    return lows


@triton.jit  # type: ignore[untyped-decorator]
def fill_kernel(  # type: ignore[no-untyped-def]
    out,
    places,
    masks,
    height,
    width,
    PACKED: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOO_FAR: tl.constexpr,
):
    """One program fills a strip of columns of one mask.

    It searches the mask's edges for the strip's first and last pixel. Most strips lie between
    two edges and hold only zeros, which are there already. In the others each column finds its own
    edges and goes down from the first to the last, 32 rows at a time. A word holds these rows as
    bits, and an edge flips the bits at and below it.
    """
    strips = tl.cdiv(width, COLUMNS)
    mask = (tl.program_id(0) // strips).to(tl.int64)
    strip = tl.program_id(0) % strips
    start = tl.load(masks + 4 * mask)
    places += start  # the mask's own, from here on
    number = (tl.load(masks + 4 * mask + 1) - start).to(tl.int32)
    full_height = tl.load(masks + 4 * mask + 2)
    full_width = tl.load(masks + 4 * mask + 3)
    columns = strip.to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    # The source column that each column shows. Columns past the border repeat the last one.
    x = (2 * tl.minimum(columns, width - 1) + 1) * full_width // (2 * width)
    tops = (x * full_height).to(tl.int32)
    bottoms = tops + (full_height - 1).to(tl.int32)

    # How many edges are at or before the strip's first pixel, and its last.
    pair = tl.where(tl.arange(0, 2) == 0, tl.min(tops, 0), tl.max(bottoms, 0))
    lows = count_edges(places, pair, number * 0, number, TOO_FAR)
    low, high = tl.min(lows, 0), tl.max(lows, 0)
    if (low < high) | (low % 2 == 1):
        both = count_edges(places, tl.join(tops, bottoms), low, high, TOO_FAR)
        next_, ends = tl.split(both)

        # The rows that hold ones, and those of the output that show them.
        inside = -(next_ % 2)  # all bits of a word, or none
        some = next_ < ends
        first = tl.load(places + next_, mask=some, other=TOO_FAR) - tops
        last = tl.load(places + ends - 1, mask=some, other=0) - tops
        first = tl.min(tl.where(inside != 0, 0, tl.where(some, first, TOO_FAR)), 0)
        last = tl.where(some, last, 0)
        last = tl.max(tl.where(ends % 2 == 1, full_height.to(tl.int32), last), 0)
        first = tl.minimum(first, last).to(tl.int64)
        row = (first * height // full_height).to(tl.int32)
        below = tl.cdiv(last.to(tl.int64) * height, full_height).to(tl.int32)
        while row < below:
            word = inside
            flipping = 1
            while flipping > 0:
                edge = tl.load(places + next_, mask=next_ < ends, other=TOO_FAR) - tops
                # The first row that shows the edge's row or a later one.
                shown = (2 * edge.to(tl.int64) * height + full_height - 1) // (2 * full_height)
                bit = shown - row
                flips = (next_ < ends) & (bit < 32)
                word = word ^ tl.where(flips, -1 << tl.minimum(bit, 31).to(tl.int32), 0)
                next_ += flips.to(tl.int32)
                flipping = tl.max(flips.to(tl.int32), 0)
            bits = (word[None, :] >> tl.arange(0, 32)[:, None]) & 1
            inside = word >> 31  # what the last row had goes on below
            if PACKED:
                bits = tl.where((columns < width)[None, :], bits, 0)
                weights = 128 >> tl.arange(0, 8)
                bits = tl.reshape(bits, (32, COLUMNS // 8, 8)) * weights[None, None, :]
                stride = tl.cdiv(width, 8)
                across = strip * (COLUMNS // 8) + tl.arange(0, COLUMNS // 8)
                values = tl.sum(bits, axis=2)
            else:
                stride, across, values = width, columns, bits
            down = row + tl.arange(0, 32)
            corner = out + (mask * height + row) * stride
            tl.store(
                corner + tl.arange(0, 32)[:, None] * stride + across[None, :],
                values.to(out.dtype.element_ty),
                mask=(down < height)[:, None] & (across < stride)[None, :],
            )
            row += 32
