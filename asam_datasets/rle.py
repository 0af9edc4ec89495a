"""Parses compressed COCO RLE: all strings of an image at once, without a loop over masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
MAX_PIXELS = 2**31 - 1  # of a mask: the sums of its counts stay far below 2**63
MAX_GROUP = 12  # characters of one count: 60 bits, so that no sum below leaves int64
# The characters that a mask may have: its counts add up to its pixels, so without counts of zero
# there are at most two for each. Twice that leaves room for those.
_PER_PIXEL, _MORE = 4, 128


@dataclass(frozen=True, slots=True)
class MaskRuns:
    """The runs of ones of N masks, as pixel numbers in column-major order.

    Run k covers the pixels [starts[k], ends[k]) and is never empty; mask i owns the runs
    offsets[i] to offsets[i + 1]. `problems` maps the masks whose RLE is malformed, which have no
    runs, to (reason, expected, found).
    """

    starts: Ints  # (R,)
    ends: Ints  # (R,)
    offsets: Ints  # (N + 1,)
    problems: dict[int, tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def parse_rle(counts: Sequence[str | bytes], pixels: int | npt.ArrayLike) -> MaskRuns:
    """Parse compressed COCO RLE strings, one per mask.

    The format is that of `rleFrString` in pycocotools' maskApi.c. A count is one or more
    characters, each a number less 48. A character holds 5 bits of the count, the lowest first. Its
    bit 5 is set when more characters follow, and bit 4 of the last one is the sign. From the fourth
    count on, what stands there is the difference from the count two before it.

    Parameters
    ----------
    counts
        The strings.
    pixels
        The height times the width, one number for all masks or one for each. A mask of more than
        `MAX_PIXELS` is malformed.

    Returns
    -------
    MaskRuns
        The runs of each mask. A malformed string raises no error: its mask has no runs, and
        `problems` says why.

    Examples
    --------
    Of six pixels, the first mask has one zero, one 1 and four zeros. The second ends too early.

    >>> runs = parse_rle(["114", "11"], 6)
    >>> runs.starts.tolist(), runs.ends.tolist(), runs.offsets.tolist()
    ([1], [2], [0, 1, 1])
    >>> runs.problems
    {1: ('rle_too_short', '6 pixels', 'counts that add up to 2')}
    """
    number = len(counts)
    sizes = np.broadcast_to(np.asarray(pixels, np.int64), (number,))
    problems: dict[int, tuple[str, str, str]] = {}
    for i in np.flatnonzero((sizes < 0) | (sizes > MAX_PIXELS)).tolist():
        problems[i] = ("rle_size", f"a mask of 0 to {MAX_PIXELS} pixels", f"{sizes[i]} pixels")
    sizes = np.clip(sizes, 0, MAX_PIXELS)
    for i, most in enumerate(_PER_PIXEL * size + _MORE for size in sizes.tolist()):
        if (
            i not in problems and len(counts[i]) > most
        ):  # before it is parsed, which takes 60 times its bytes
            expected = f"at most {most} characters for {sizes[i]} pixels"
            problems[i] = ("rle_too_long", expected, f"{len(counts[i])} characters")
    data, lengths = characters([b"" if i in problems else c for i, c in enumerate(counts)])
    for i in np.flatnonzero(lengths == 0).tolist():
        if i in problems:
            continue
        problems[i] = ("rle_empty", "a compressed COCO RLE", "an empty string")
    if not len(data):
        nothing = np.zeros(0, np.int64)
        return MaskRuns(nothing, nothing, np.zeros(number + 1, np.int64), problems)

    stops = np.cumsum(lengths)  # the end of each mask's characters
    codes = data - np.uint8(48)
    if codes.max() > 63:
        bad = np.flatnonzero(codes > 63)
        masks, first = np.unique(np.searchsorted(stops, bad, side="right"), return_index=True)
        for i, at in zip(masks.tolist(), bad[first].tolist(), strict=True):
            found = f"byte 0x{data[at]:02x} at {at - stops[i] + lengths[i]}"
            problems[i] = ("rle_bad_character", "characters from '0' to 'o'", found)
    final = (codes & 32) == 0  # the last character of a group
    last = stops[lengths > 0] - 1
    for i in np.flatnonzero(lengths > 0)[~final[last]].tolist():
        expected = "a last character without the continuation bit"
        found = repr(chr(data[stops[i] - 1]))
        problems.setdefault(i, ("rle_unterminated", expected, found))
    final[last] = True

    values, group_sizes = _group_values(codes, final)
    counted = np.concatenate(([0], np.cumsum(final)))[stops]  # groups up to each mask's end
    if group_sizes.max() > MAX_GROUP:
        bad = np.flatnonzero(group_sizes > MAX_GROUP)
        masks, first = np.unique(np.searchsorted(counted, bad, side="right"), return_index=True)
        for i, size in zip(masks.tolist(), group_sizes[bad[first]].tolist(), strict=True):
            expected = f"at most {MAX_GROUP} characters a count"
            problems.setdefault(i, ("rle_overflow", expected, f"{size} characters"))
    per_mask = np.diff(counted, prepend=0)
    for i in problems:
        values[counted[i] - per_mask[i] : counted[i]] = 0
    limit = int(sizes.max()) + 1  # above every valid count, so that sums stay small
    np.clip(values, -limit, limit, out=values)

    # The table has two columns: counts of zeros and counts of ones. Each mask begins on a new line.
    # A count is then its difference added to the count above it, so a running sum down the columns
    # gives all counts. The first count of a mask is no difference and is left out of the sum.
    lines = (per_mask + 1) // 2
    tops = np.cumsum(lines) - lines
    table = np.zeros((int(lines.sum()), 2), np.int64)
    shift = np.repeat(2 * tops - (counted - per_mask), per_mask)
    table.reshape(-1)[np.arange(len(values)) + shift] = values
    some = np.flatnonzero(lines)
    tops, bottoms, lines = tops[some], (tops + lines - 1)[some], lines[some]
    firsts = table[tops, 0]
    table[tops, 0] = 0
    np.cumsum(table, axis=0, out=table)
    table[bottoms[0] + 1 :] -= np.repeat(table[bottoms[:-1]], lines[1:], axis=0)
    table[tops, 0] = firsts
    table[bottoms[per_mask[some] % 2 == 1], 1] = 0

    if table.min() < 0 or table.max() > sizes.min():
        owners = np.repeat(some, lines)
        bad = np.flatnonzero((table < 0) | (table > sizes[owners, None]))
        masks, first = np.unique(owners[bad // 2], return_index=True)
        for i, count in zip(masks.tolist(), table.reshape(-1)[bad[first]].tolist(), strict=True):
            if count < 0:
                problem = ("rle_negative", "counts of 0 or more", f"a count of {count}")
            else:
                problem = ("rle_too_long", f"{sizes[i]} pixels", f"a count of {count} or more")
            problems.setdefault(i, problem)
        table[np.isin(owners, masks)] = 0
    edges = np.cumsum(table.reshape(-1)).reshape(-1, 2)
    edges[bottoms[0] + 1 :] -= np.repeat(edges[bottoms[:-1], 1], lines[1:])[:, None]
    totals = edges[bottoms, 1]
    wrong = totals != sizes[some]
    for i, total in zip(some[wrong].tolist(), totals[wrong].tolist(), strict=True):
        reason = "rle_too_short" if total < sizes[i] else "rle_too_long"
        found = f"counts that add up to {total}"
        problems.setdefault(i, (reason, f"{sizes[i]} pixels", found))

    keep = edges[:, 1] > edges[:, 0]
    if problems:
        keep &= ~np.isin(np.repeat(some, lines), list(problems))
    offsets = np.zeros(number + 1, np.int64)
    offsets[some + 1] = np.add.reduceat(keep, tops, dtype=np.int64)
    np.cumsum(offsets, out=offsets)
    kept = np.flatnonzero(keep)
    starts, ends = edges[:, 0].take(kept), edges[:, 1].take(kept)
    return MaskRuns(starts, ends, offsets, dict(sorted(problems.items())))


def _group_values(codes: npt.NDArray[np.uint8], final: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The signed number that each group of characters encodes, and the group's size, (G,) each."""
    stops = np.flatnonzero(final)
    sizes = np.diff(stops, prepend=-1)
    starts = stops - sizes + 1
    signed = (codes & 48) == 16  # a last character below 0: its 5 bits less 32
    parts = ((codes & 31) - signed * np.uint8(32)).view(np.int8)
    values = parts.take(starts).astype(np.int64)
    more = np.flatnonzero(sizes > 1)
    for k in range(1, min(int(sizes.max()), MAX_GROUP)):
        values[more] += parts.take(starts.take(more) + k).astype(np.int64) << (5 * k)
        more = more.take(np.flatnonzero(sizes.take(more) > k + 1))
    return values, sizes


def characters(counts: Sequence[str | bytes]) -> tuple[npt.NDArray[np.uint8], Ints]:
    """All strings in one array of bytes, and the length of each."""
    encoded = [c.encode("utf-8", "surrogatepass") if isinstance(c, str) else c for c in counts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), lengths
