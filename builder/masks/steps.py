"""Streams of bytes as the steps of a compressor: copy some bytes, write one.

Deflate (RFC 1951) has two kinds of tokens. A literal is one byte. A match copies bytes that stand
some distance before. Here every step is a match, or no match, and then a literal.

An example is the stream of five bytes ``0 0 0 0 9``. Its first byte is 0. Then three bytes are
copied, each from the byte before it, and 9 is written. The last step writes the end of the stream.
These are two steps, of which the first has a match::

    copies  values
         3       9    copy three bytes, write 9
         0     END    copy nothing, end the stream
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from asam_datasets.rle import Ints
from builder.masks.codes import END, FAR, LONGEST, NOTHING

Bools = npt.NDArray[np.bool_]

_FEWEST = 3  # bytes that a match can copy


@dataclass(frozen=True, slots=True)
class Steps:
    """N streams as steps, one behind the other.

    Each stream begins with the byte `first`. Then each step copies some bytes and writes one. The
    bytes are copied from one of two distances. The near distance is 1: the last byte is repeated.
    The far distance is that of the code: for masks it is a row, so the row above is copied.

    Parameters
    ----------
    first
        The first byte of all streams.
    copies
        (S,) how many bytes are copied, up to 258, and from where: an index into `Code.copies`.
    values
        (S,) the byte that is written. It is `END` in a stream's last step, and `NOTHING` in a step
        that does nothing, because a run before it holds its byte.
    ends
        (N,) one past the last step of each stream.
    long, times, far
        (L,) a match copies 258 bytes at the most. `long` are the steps that need several. `times`
        says how many matches of 258 bytes come before the one in `copies`, and `far` whether they
        copy from the far distance.
    adler
        (N,) the Adler-32 of each stream.
    """

    first: int
    copies: Ints
    values: Ints
    ends: Ints
    long: Ints
    times: Ints
    far: Bools
    adler: Ints

    def counts(self) -> Ints:
        """How many steps each stream has."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Streams as the bytes that are written, and the gaps of bytes between them.

    The bytes of a gap are known to be copies. They are either zeros, or those of the row above.

    Parameters
    ----------
    first
        The first byte of all streams.
    sizes
        (C,) how many bytes the gap before each written byte has.
    values
        (C,) what is written; `END` at the end of each stream.
    near
        (C,) whether the bytes of the gap are zeros. Then they can be copied from the byte before
        the gap if that is 0.
    lasts
        (N,) where each stream's `END` is.
    adler
        (N,) the Adler-32 of each stream.
    """

    first: int
    sizes: Ints
    values: Ints
    near: Bools
    lasts: Ints
    adler: Ints


def repeated(counts: Ints) -> Ints:
    """0, 1, ... up to each count, one series behind the other."""
    upto = np.cumsum(counts)
    series: Ints = np.arange(upto[-1] if len(upto) else 0)
    series -= np.repeat(upto - counts, counts)
    return series


def take_steps(
    gaps: Gaps,
    between: Callable[[Ints, Ints], npt.ArrayLike] | None = None,
    *,
    apart: bool = True,
    unit: int = 1,
) -> Steps:
    """Turn gaps into steps.

    The bytes of a gap are copied, with two exceptions. A gap of one or two bytes is written,
    because no match is that short. And if zeros follow a byte that is not 0, the first of them is
    written, so that the others can be copied from it.

    Parameters
    ----------
    gaps
        The streams.
    between
        Gives the bytes that must be written of gaps that aren't zeros. Called with the gaps'
        numbers, and how many bytes from the beginning of each, it returns these bytes. None if all
        gaps are zeros.
    apart
        Whether bytes can be copied from the far distance at all.
    unit
        The distance from which runs of equal values are copied: the bytes of a pixel.

    Examples
    --------
    The five bytes 0 0 0 0 9, and 7 0 0 0 9, where the first zero is written.

    >>> sizes, values = np.array([3, 0]), np.array([9, END])
    >>> zeros, lasts, adler = np.array([True, True]), np.array([1]), np.array([0])
    >>> steps = take_steps(Gaps(0, sizes, values, zeros, lasts, adler))
    >>> steps.copies.tolist(), steps.values.tolist() == [9, END]
    ([3, 0], True)
    >>> steps = take_steps(Gaps(7, sizes + [1, 0], values, zeros, lasts, adler))
    >>> steps.copies.tolist(), steps.values.tolist() == [0, 9, END]
    ([0, 3, 0], True)
    """
    values, near, lasts = gaps.values, gaps.near, gaps.lasts
    firsts = np.concatenate(([0], lasts[:-1] + 1))
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[firsts] = gaps.first
    written = (gaps.sizes > 0).astype(np.int64)
    written *= near
    written *= before != 0
    rest = gaps.sizes - written
    times = rest // LONGEST
    rest -= times * LONGEST
    few = np.flatnonzero((rest - 1).view(np.uint64) < _FEWEST - 1)
    written[few] += rest[few]
    rest[few] = 0
    if not apart:
        lost = np.flatnonzero(~near)
        written[lost] = gaps.sizes[lost]
        rest[lost] = times[lost] = 0

    at = np.flatnonzero(written)
    counts = written[at]
    moved = np.cumsum(written)
    moved += np.arange(len(values))
    every = int(moved[-1]) + 1
    all_values = np.zeros(every, np.int64)
    all_values[moved] = values
    if between:
        unknown = ~near[at]
        at, counts = at[unknown], counts[unknown]
        all_values[np.repeat(moved[at] - counts, counts) + repeated(counts)] = between(at, counts)
    far = rest != 0
    far &= ~near
    rest += far * FAR
    copies = np.zeros(every, np.int64)
    copies[moved] = rest

    long = np.flatnonzero(times)
    return _with_runs(
        Steps(
            gaps.first,
            copies,
            all_values,
            moved[lasts] + 1,
            moved[long],
            times[long],
            ~near[long],
            gaps.adler,
        ),
        unit,
    )


def _with_runs(steps: Steps, unit: int) -> Steps:
    """The same steps, but a run of three or more equal written bytes becomes one match.

    The match copies from `unit` bytes before. The steps of the run become `NOTHING`.
    """
    values, copies = steps.values, steps.copies
    free = copies == 0
    free[steps.long] = False
    equal = values[unit:] == values[:-unit]
    equal &= values[unit:] != END
    for back in range(unit):
        equal &= free[unit - back : len(free) - back]
    at = np.flatnonzero(equal)
    if not len(at):
        return steps
    at += unit
    cuts = np.flatnonzero(at[1:] - at[:-1] > 1) + 1
    bounds = np.concatenate(([0], cuts, [len(at)]))
    sizes = bounds[1:] - bounds[:-1]
    some = np.flatnonzero(sizes >= _FEWEST)
    begins, sizes = at[bounds[some]], sizes[some]
    # The step behind copies the run. If it copies something else, the run's last step does.
    sizes -= ~free[begins + sizes]
    nexts = begins + sizes
    times = sizes // LONGEST
    rest = sizes - times * LONGEST
    odd = np.where(rest < _FEWEST, rest, 0)
    sizes -= odd
    begins += odd
    values[np.repeat(begins, sizes) + repeated(sizes)] = NOTHING
    far = unit > 1
    copies[nexts] = np.where(rest > odd, rest + FAR * far, 0)
    more = np.flatnonzero(times)
    if not len(more):
        return steps
    return replace(
        steps,
        long=np.concatenate((steps.long, nexts[more])),
        times=np.concatenate((steps.times, times[more])),
        far=np.concatenate((steps.far, np.full(len(more), far))),
    )
