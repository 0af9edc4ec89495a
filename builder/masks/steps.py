"""Streams of bytes as the steps of a compressor: copy some bytes, write one."""

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

    Each stream begins with the byte `first`. Then each step copies some bytes and writes one. A
    near copy is from the last byte. The other distance is that of the code.

    Parameters
    ----------
    first
        The first byte of all streams.
    copies
        (S,) how many bytes are copied, up to 258, and from where: an index into `Code.copies`.
    values
        (S,) the byte written; `END` in a stream's last step, `NOTHING` in a void one.
    ends
        (N,) one past the last step of each stream.
    long, times, far
        (L,) the steps that first copy 258 bytes more, how many times, and whether from the far
        distance.
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
    """What is written, and how many bytes are copied before each.

    Parameters
    ----------
    first
        The first byte of all streams.
    sizes
        (C,) the bytes before each one that is written, in its stream.
    values
        (C,) what is written; `END` at the end of each stream.
    near
        (C,) whether these bytes are zeros, which may be copied from the last one, if that is 0.
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
    """The steps that make streams of what is written and what is between.

    What is between is copied. One or two bytes are written, because no match is that short, and so
    is a zero that zeros can be copied from.

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
    """The same with runs of equal values copied from `unit` bytes before, of three or more."""
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
