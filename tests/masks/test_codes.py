"""Prefix codes and block headers: zlib reads what is made of them."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.masks.codes import END, FAR, FARTHEST, LONGEST, Alphabet, huffman

ALL = Alphabet(huffman([1 + n % 5 for n in range(286)]))


def write(code_words: list[int], header: tuple[int, int]) -> bytes:
    """A deflate stream of one block, the last."""
    bits, size = header[0] | 1, header[1]
    for word in code_words:
        bits, size = bits | word >> 6 << size, size + (word & 63)
    return bits.to_bytes((size + 7) // 8, "little")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 10**6) | st.integers(0, 3), min_size=257, max_size=286), st.data())
def test_zlib_reads_literals_in_the_code_of_any_counts(
    counts: list[int], data: st.DataObject
) -> None:
    counts[END] = 1
    counts[0] += 1
    code = Alphabet(huffman(counts + [0] * (286 - len(counts)))).code(1, 300)
    used = [symbol for symbol in range(END) if counts[symbol]]
    text = data.draw(st.lists(st.sampled_from(used), max_size=50))
    stream = write([int(code.literals[byte]) for byte in [*text, END]], code.header)
    assert zlib.decompress(stream, -15) == bytes(text)


@pytest.mark.parametrize("far", [2, 3, 4, 5, 24, 25, 282, 2251, 24576, 24577, FARTHEST])
def test_zlib_reads_each_length_from_both_distances(far: int) -> None:
    code = ALL.code(1, far)
    text = random.Random(far).randbytes(far)
    words, expected = [int(code.literals[byte]) for byte in text], bytearray(text)
    for length in range(3, LONGEST + 1):
        words += [int(code.copies[length]), int(code.literals[7]), int(code.copies[FAR + length])]
        expected += expected[-1:] * length + b"\7"
        for _ in range(length):
            expected.append(expected[-far])
    assert zlib.decompress(write([*words, int(code.literals[END])], code.header), -15) == expected


@given(
    st.lists(st.integers(0, 10**9) | st.integers(0, 2), min_size=2, max_size=300),
    st.integers(9, 15),
)
def test_a_code_is_complete_and_no_word_is_too_long(counts: list[int], most: int) -> None:
    counts[:2] = [1, 1]
    sizes = huffman(counts, most)
    assert max(sizes) <= most
    assert [size > 0 for size in sizes] == [count > 0 for count in counts]
    assert sum(2.0**-size for size in sizes if size) == 1


def test_a_code_without_a_limit_is_the_shortest() -> None:
    counts = [45, 13, 12, 16, 9, 5]  # Cormen et al., Introduction to Algorithms, 16.3
    assert huffman(counts) == [1, 3, 3, 3, 4, 4]
