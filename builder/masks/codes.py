"""Prefix codes and block headers of deflate (RFC 1951), as tables to look up whole arrays in.

A code word and its size are kept in one number: the word, lowest bit first, times 64, plus the
number of its bits. So one look-up gives both. A match takes up to 34 bits, and a literal 15.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

END = 256  # the symbol that ends a block
NOTHING = 257  # as a literal: no symbol at all
LONGEST = 258  # bytes that a match can copy
FAR = LONGEST + 1  # added to a length: copied from the far distance, and not from the near one
FARTHEST = 1 << 15  # distance

_MOST_BITS = 15
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def _ranges(first: int, symbols: int, plain: int, group: int) -> Iterable[tuple[int, int]]:
    """(first value, extra bits) of each symbol, by the tables of RFC 1951, 3.2.5."""
    for symbol in range(symbols):
        extra = max(0, symbol - plain) // group if symbol >= plain + group else 0
        yield first, extra
        first += 1 << extra


_LENGTHS = [*_ranges(3, 28, 4, 4), (LONGEST, 0)]
_DISTANCES = [*_ranges(1, 30, 2, 2)]


def _symbol(value: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """The symbol of a length or distance, its extra bits, and how many there are."""
    number = max(i for i, (first, _) in enumerate(ranges) if first <= value)
    first, extra = ranges[number]
    return number, value - first, extra


_OF_LENGTH = [(0, 0, 0)] * 3 + [_symbol(n, _LENGTHS) for n in range(3, LONGEST + 1)]
LENGTH_SYMBOLS = np.array([symbol for symbol, _, _ in _OF_LENGTH])  # less END + 1


def canonical(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The code words of the symbols, (word, size), lowest bit first; RFC 1951, 3.2.2."""
    words = [(0, 0)] * len(sizes)
    code = last = 0
    for size, symbol in sorted((size, symbol) for symbol, size in enumerate(sizes) if size):
        code <<= size - last
        words[symbol] = int(f"{code:0{size}b}"[::-1], 2), size
        code, last = code + 1, size
    return words


def huffman(counts: Sequence[int], most: int = _MOST_BITS) -> list[int]:
    """The sizes of the words of a Huffman code; symbols that are never used have none.

    Where a word would be longer than `most` bits, all counts are halved until none is. Ties are
    decided by the symbols' order, so the same counts give the same code.
    """
    counts = list(counts)
    while True:
        heap = [(count, symbol) for symbol, count in enumerate(counts) if count]
        heapq.heapify(heap)
        parents: dict[int, int] = {}
        node = len(counts)
        while len(heap) > 1:
            one, other = heapq.heappop(heap), heap[0]
            heapq.heapreplace(heap, (one[0] + other[0], node))
            parents[one[1]] = parents[other[1]] = node
            node += 1
        depths = {heap[0][1]: 0 if parents else 1}
        for child in sorted(parents, reverse=True):
            depths[child] = depths[parents[child]] + 1
        sizes = [depths.get(symbol, 0) for symbol in range(len(counts))]
        if max(sizes) <= most:
            return sizes
        counts = [(count + 1) // 2 for count in counts]


def _repeats(sizes: Sequence[int]) -> Iterable[tuple[int, int, int]]:
    """The sizes of code words as (symbol, extra, extra bits), by RFC 1951, 3.2.7."""
    at = 0
    while at < len(sizes):
        size, end = sizes[at], at
        while end < len(sizes) and sizes[end] == size:
            end += 1
        left, at = end - at, end
        if size:
            yield size, 0, 0
            left -= 1
        while left > 2:
            if size:
                run = min(left, 6)
                yield 16, run - 3, 2
            elif left > 10:
                run = min(left, 138)
                yield 18, run - 11, 7
            else:
                run = left
                yield 17, run - 3, 3
            left -= run
        yield from [(size, 0, 0)] * left


def block_header(sizes: Sequence[int], distances: Sequence[int]) -> tuple[int, int]:
    """The bits before the first symbol of a block that is not the last, and their number.

    Parameters
    ----------
    sizes
        The size of the word of each literal and length.
    distances
        The size of the word of each distance.
    """
    bits, number = 0, 0

    def put(value: int, count: int) -> None:
        nonlocal bits, number
        bits, number = bits | value << number, number + count

    sizes = list(sizes)
    while len(sizes) > END + 1 and not sizes[-1]:
        sizes.pop()
    symbols = [*_repeats([*sizes, *distances])]
    counts = [0] * 19
    for symbol, _, _ in symbols:
        counts[symbol] += 1
    lengths = huffman(counts, 7)
    words = canonical(lengths)
    sent = max(i for i, symbol in enumerate(_ORDER) if lengths[symbol]) + 1
    put(0b100, 3)
    put(len(sizes) - END - 1, 5)
    put(len(distances) - 1, 5)
    put(sent - 4, 4)
    for symbol in _ORDER[:sent]:
        put(lengths[symbol], 3)
    for symbol, extra, extra_bits in symbols:
        put(*words[symbol])
        put(extra, extra_bits)
    return bits, number


@dataclass(frozen=True, slots=True)
class Code:
    """The code of a block whose matches copy from two distances, a near and a far one.

    Parameters
    ----------
    literals
        (258,) the words of the literals, of `END` and of `NOTHING`.
    copies
        (518,) the words of a match, length and distance: of `length` bytes from the near distance,
        of `FAR + length` bytes from the far one. A length of 0 is no match.
    header
        The bits before the first symbol, and their number.
    """

    literals: Words
    copies: Words
    header: tuple[int, int]


class Alphabet:
    """The words of literals and lengths, given by their sizes (286 numbers, 0 to 15)."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        words = canonical(sizes)
        literals = [bits << 6 | size for bits, size in words[: END + 1]]
        self._literals = np.array([*literals, 0], np.uint64)
        lengths = np.array(words[END + 1 : 286], np.uint64)
        symbol, extra, extra_bits = np.array(_OF_LENGTH, np.uint64).T
        bits, size = lengths[symbol].T
        self._bits = bits | extra << size
        self._bit_sizes = size + extra_bits
        self._headers: dict[tuple[int, int], tuple[int, int]] = {}

    def code(self, near: int, far: int) -> Code:
        """The code of a block that copies from two distances, with one bit for each.

        Parameters
        ----------
        near, far
            The distances. `near` is less than `far`, and `far` is at most `FARTHEST`.
        """
        distances = [_symbol(distance, _DISTANCES) for distance in (near, far)]
        key = distances[0][0], distances[1][0]
        if key not in self._headers:
            self._headers[key] = block_header(
                self.sizes, [int(i in key) for i in range(key[1] + 1)]
            )
        copies = np.zeros((2, FAR), np.uint64)
        for word, (_, extra, extra_bits) in enumerate(distances):
            bits = self._bits | np.uint64(word | extra << 1) << self._bit_sizes
            sizes = self._bit_sizes + np.uint64(1 + extra_bits)
            copies[word, 3:] = (bits << np.uint64(6) | sizes)[3:]
        return Code(self._literals, copies.reshape(-1), self._headers[key])
