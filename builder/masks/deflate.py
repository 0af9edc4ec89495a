"""Steps become zlib streams (RFC 1950 and 1951), those of many pictures at a time.

Each stream is one block of deflate. The bytes depend on the steps and the codes alone: integers are
shifted, added and compared, which gives the same on every machine and with every library.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asam_datasets.rle import Ints
from builder.masks.codes import (
    FAR,
    LENGTH_SYMBOLS,
    LONGEST,
    NOTHING,
    Alphabet,
    Code,
    Words,
    huffman,
)
from builder.masks.steps import Steps, repeated

_ZLIB = 0x0178  # RFC 1950, 2.2: deflate with a window of 32 KiB, then the check bits
_ZLIB_BITS = 16
_SIX, _SIX_BITS = np.uint64(6), np.uint64(63)  # where a word's size is
_WORD = 64

MANY_STEPS = 1 << 12  # a stream of more is worth a code of its own

# Three sums of bits share one integer. A stream of no more steps than that can't fill its share.
_MOST_CODES = 3
_SHARE = np.uint64(21)
_NEVER = np.iinfo(np.uint64).max


def pack(steps: Steps, codes: Sequence[Code], chosen: Ints) -> list[bytes]:
    """The zlib stream of each stream of steps.

    Parameters
    ----------
    steps
        The streams.
    codes
        The codes.
    chosen
        (N,) which of them each stream is written in.
    """
    literals = np.stack([code.literals for code in codes])
    copies = np.stack([code.copies for code in codes])
    counts, lasts = steps.counts(), steps.ends - 1
    firsts = steps.ends - counts

    # The words of the steps: that of the copy first, in the lower bits.
    at = np.repeat(chosen * copies.shape[1], counts)
    at += steps.copies
    words = copies.take(at)
    at = np.repeat(chosen * literals.shape[1], counts)
    at += steps.values
    written = literals.take(at)
    sizes = words & _SIX_BITS
    words >>= _SIX
    words |= (written >> _SIX) << sizes
    written &= _SIX_BITS
    sizes += written
    places = sizes.view(np.int64)  # how many bits each takes at first, and then where it stands

    # What is copied 258 bytes at a time.
    long_words = copies[np.repeat(chosen, counts)[steps.long], LONGEST + FAR * steps.far]
    long_bits = steps.times * _sizes(long_words)
    places[steps.long] += long_bits

    header_bits = np.array([code.header[1] for code in codes])[chosen]
    first_words = literals[chosen, steps.first]
    before = _ZLIB_BITS + header_bits + _sizes(first_words)
    upto = np.cumsum(places)
    np.subtract(upto, places, out=places)
    bits = before + upto[lasts] - places[firsts]
    number = (bits + 7) // 8
    room = (number + 4 + 7) // 8  # words of 64 bits
    begins = np.cumsum(room) - room
    places += np.repeat(begins * _WORD + before - places[firsts], counts)

    header_words = _headers(codes)[chosen]
    buffer = np.zeros(int(room.sum()) + header_words.shape[1] + 1, np.uint64)
    buffer[begins] = _ZLIB
    begins *= _WORD
    pieces = np.arange(header_words.shape[1]) * _WORD
    _put(buffer, (begins[:, None] + _ZLIB_BITS + pieces).reshape(-1), header_words.reshape(-1))
    _put(buffer, begins + _ZLIB_BITS + header_bits, first_words >> _SIX)
    _repeat(buffer, places[steps.long], steps.times, long_words)
    places[steps.long] += long_bits
    _put(buffer, places, words)

    data = buffer.astype("<u8", copy=False).view(np.uint8)
    begins //= 8
    stops = begins + number
    data[stops[:, None] + np.arange(4)] = steps.adler.astype(">u4").view(np.uint8).reshape(-1, 4)
    stream = data.tobytes()
    return [stream[i:j] for i, j in zip(begins.tolist(), (stops + 4).tolist(), strict=True)]


def choose(steps: Steps, codes: Sequence[Code]) -> Ints:
    """The code in which each stream takes the fewest bits; 0 for one of more than `MANY_STEPS`.

    Parameters
    ----------
    steps
        The streams.
    codes
        Up to three codes, in which 258 bytes take the same number of bits. A code that lacks a
        word for a literal of a stream is not chosen. The first one lacks none.
    """
    if len(codes) > _MOST_CODES:
        raise ValueError(f"{len(codes)} codes: expected at most {_MOST_CODES}")
    literals = np.stack([code.literals for code in codes])
    copies = np.stack([code.copies for code in codes])
    shares = np.arange(len(codes), dtype=np.uint64)[:, None] * _SHARE
    sizes = (literals & _SIX_BITS) << shares
    bits = sizes.sum(axis=0).take(steps.values)
    sizes = (copies & _SIX_BITS) << shares
    bits += sizes.sum(axis=0).take(steps.copies)
    counts = steps.counts()
    begins = steps.ends - counts
    sums = np.add.reduceat(bits, begins) >> shares
    sums &= (np.uint64(1) << _SHARE) - np.uint64(1)
    sums += np.array([code.header[1] for code in codes], np.uint64)[:, None]
    for own, absent in zip(sums, literals == 0, strict=True):
        absent[NOTHING] = False
        if absent.any():
            own[np.logical_or.reduceat(absent.take(steps.values), begins)] = _NEVER
    chosen: Ints = np.where(counts > MANY_STEPS, 0, sums.argmin(axis=0))
    return chosen


def fit(steps: Steps, number: int) -> Alphabet:
    """The Huffman code of the counts of one stream."""
    end = int(steps.ends[number])
    own = slice(int(steps.ends[number - 1]) if number else 0, end)
    counts = np.bincount(steps.values[own], minlength=NOTHING + 1)[:NOTHING].tolist()
    counts[steps.first] += 1
    lengths = np.bincount(steps.copies[own], minlength=2 * FAR).reshape(2, FAR).sum(axis=0)
    symbols = np.bincount(LENGTH_SYMBOLS[3:], lengths[3:]).astype(np.int64)
    symbols[-1] += steps.times[(steps.long >= own.start) & (steps.long < end)].sum()
    return Alphabet(huffman([*counts, *symbols.tolist()]))


def _sizes(words: Words) -> Ints:
    return (words & _SIX_BITS).view(np.int64)


def _headers(codes: Sequence[Code]) -> Words:
    """The headers of one block, the last, in pieces of 64 bits, (K, pieces)."""
    most = -(-max(code.header[1] for code in codes) // _WORD)
    headers = [(code.header[0] | 1).to_bytes(8 * most, "little") for code in codes]
    words: npt.NDArray[np.uint64] = np.frombuffer(b"".join(headers), "<u8").astype(np.uint64)
    return words.reshape(len(codes), most)


def _repeat(buffer: Words, places: Ints, times: Ints, words: Words) -> None:
    """Write words several times each, one behind the other; words of zeros are there already."""
    some = np.flatnonzero((words >> _SIX != 0) & (times > 0))
    times, words = times[some], words[some]
    every = np.repeat(places[some], times)
    every += repeated(times) * np.repeat(_sizes(words), times)
    _put(buffer, every, np.repeat(words >> _SIX, times))


def _put(buffer: Words, places: Ints, words: Words) -> None:
    """Write words at places in bits. No two overlap, so they can be added."""
    shifts = places.view(np.uint64) & _SIX_BITS
    index = places >> 6
    np.add.at(buffer, index, words << shifts)
    index += 1
    shifts ^= _SIX_BITS
    words = words >> np.uint64(1)
    words >>= shifts
    np.add.at(buffer, index, words)
