"""1-bit grayscale PNGs of masks, made from runs without ever making the full bitmap.

Only the rows of a mask's bounding box are deflated (ISA-L, about 4 GB/s on such data). The zero
rows above and below become one deflate block each, written down directly: in a block whose Huffman
code gives the match (length 258, distance 1) two zero bits, n such matches are 2 n zero bits, and
no encoder does better (RFC 1951; zlib's level 9 comes to the same size a thousand times slower).
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image

from asam_datasets import mask_bits
from builder.masks.rle import RleBatch

GRAY, RGB, PALETTE = 0, 2, 3  # PNG colour types
LEVEL = 1  # ISA-L's: half the bytes of level 0; 2 and 3 gain nothing on masks

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEADER = b"\x78\x01"
_ADLER_MODULUS = 65521
_MATCH = 258
_FEWEST_MATCHES = 9  # below, a zero block's header costs more than its matches gain


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    crc = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return b"%b%b%b%b" % (struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc))


def assemble(
    height: int, width: int, depth: int, colour: int, *chunks: bytes, pixels: bytes
) -> bytes:
    """A PNG from its zlib stream; `chunks` stand before the pixels."""
    parts = [_SIGNATURE, chunk(b"IHDR", _header(height, width, depth, colour)), *chunks]
    return b"".join([*parts, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def _header(height: int, width: int, depth: int = 1, colour: int = GRAY) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def _zero_block_header() -> tuple[int, int]:
    """The bits before the matches of a zero block (lowest first), and how many there are.

    A dynamic block (RFC 1951, 3.2.7) with the codes 285 (length 258) -> 0, literal 0 -> 10,
    end of block -> 11, distance 1 -> 0; then the literal 0 that the first match repeats.
    """
    bits, size = 0, 0

    def put(value: int, count: int) -> None:
        nonlocal bits, size
        bits, size = bits | value << size, size + count

    put(0b100, 3)  # not final, dynamic
    put(286 - 257, 5)
    put(1 - 1, 5)
    put(19 - 4, 4)
    lengths = {18: 1, 1: 2, 2: 2}  # of the codes of the code lengths, in the order below
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
        put(lengths.get(symbol, 0), 3)
    one, two, zeros = (0b01, 2), (0b11, 2), (0b0, 1)
    put(*two)  # literal 0
    for count in (138, 117):  # literals 1 to 255
        put(*zeros)
        put(count - 11, 7)
    put(*two)  # end of block
    put(*zeros)  # lengths 3 to 257
    put(28 - 11, 7)
    put(*one)  # length 258
    put(*one)  # distance 1
    put(0b01, 2)  # the literal 0
    return bits, size


_HEADER, _HEADER_BITS = _zero_block_header()


def _zero_block(matches: int, *, final: bool) -> bytes:
    """A deflate block of 1 + 258 x matches zero bytes; `_matches` makes it whole bytes."""
    bits = _HEADER_BITS + 2 * matches + 2
    value = _HEADER | int(final) | 0b11 << (bits - 2)
    return value.to_bytes(bits // 8, "little")


def _matches(size: int) -> int:
    """How many matches of `size` zero bytes go to a zero block; -1 when none is worth its head.

    The block's 108 bits of header, two bits a match and two for its end make whole bytes when
    there is one match more than a multiple of four.
    """
    matches = (((size - 1) // _MATCH - 1) & ~3) | 1
    return matches if matches >= _FEWEST_MATCHES else -1


class _Encoder:
    """Encodes masks of one size; holds the rows being deflated, between two margins of zeros."""

    MARGIN = (_FEWEST_MATCHES + 5) * _MATCH  # more than `_matches` ever leaves over

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.stride = 1 + (width + 7) // 8  # filter 0 and the row
        self._scratch = np.zeros(2 * self.MARGIN + height * self.stride, np.uint8)
        self._head = _SIGNATURE + chunk(b"IHDR", _header(height, width))
        self._tail = chunk(b"IEND", b"")

    def encode(self, y0: int, x0: int, bits: npt.NDArray[np.uint8]) -> bytes:
        """The PNG of a mask whose rows from y0 have `bits` from x0 on, a multiple of 8."""
        rows, stride, margin = len(bits), self.stride, self.MARGIN
        size = rows * stride
        column = 1 + x0 // 8
        window = self._scratch[margin : margin + size].reshape(rows, stride)
        window = window[:, column : column + bits.shape[1]]
        window[:] = bits
        above, below = y0 * stride, (self.height - y0 - rows) * stride
        top, bottom = _matches(above), _matches(below)
        above_rest = above if top < 0 else above - 1 - top * _MATCH
        below_rest = below if bottom < 0 else below - 1 - bottom * _MATCH
        data = self._scratch[margin - above_rest : margin + size + below_rest]

        # The adler32 of n zero bytes is 1 in the low half and n in the high one.
        adler = isal_zlib.adler32(data, (above - above_rest) % _ADLER_MODULUS << 16 | 1)
        low, high = adler & 0xFFFF, adler >> 16
        high = (high + (below - below_rest) * low) % _ADLER_MODULUS
        squeeze = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
        window_flush = isal_zlib.Z_FINISH if bottom < 0 else isal_zlib.Z_FULL_FLUSH
        parts = (
            _ZLIB_HEADER,
            b"" if top < 0 else _zero_block(top, final=False),
            squeeze.compress(data),
            squeeze.flush(window_flush),
            b"" if bottom < 0 else _zero_block(bottom, final=True),
            struct.pack(">HH", high, low),
        )
        window[:] = 0
        return b"".join((self._head, chunk(b"IDAT", b"".join(parts)), self._tail))


def encode_masks(batch: RleBatch) -> list[bytes]:
    """Each mask as a 1-bit grayscale PNG of the image's size, in order."""
    encoder = _Encoder(batch.height, batch.width)
    nothing = np.zeros((0, 1), np.uint8)
    pngs = [b""] * len(batch)
    for i, y0, x0, _, bits in mask_bits(batch.runs, batch.height):
        pngs[i] = encoder.encode(y0, x0, bits)
    if not all(pngs):
        empty = encoder.encode(0, 0, nothing)
        pngs = [png or empty for png in pngs]
    return pngs


def encode_bitmap(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as a 1-bit grayscale PNG; what is not 0 is foreground."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    y0, y1 = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
    return _Encoder(height, width).encode(y0, 0, np.packbits(mask[y0:y1] != 0, axis=1))


def read_bits(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The packed rows of a 1-bit grayscale PNG of that size, (height, ceil(width / 8)).

    By the letter of the PNG specification (W3C, third edition) as far as such a file needs it: not
    interlaced, no row filtered. zlib and its checksums read what ISA-L wrote.

    Raises
    ------
    ValueError
        It is something else, or damaged.
    """
    kinds, parts, at = [], [], len(_SIGNATURE)
    if data[:at] != _SIGNATURE:
        raise ValueError("not a PNG")
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if int.from_bytes(data[at + 8 + size : at + 12 + size]) != zlib.crc32(kind + body):
            raise ValueError(f"the checksum of chunk {kind!r} is wrong")
        kinds.append(kind)
        parts.append(body)
        at += 12 + size
    if kinds != [b"IHDR", b"IDAT", b"IEND"] or parts[0] != _header(height, width):
        raise ValueError(f"not a 1-bit grayscale PNG of {width} x {height} pixels")
    stride = 1 + (width + 7) // 8
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(parts[1], height * stride)
        whole = inflate.decompress(inflate.unconsumed_tail, 1) == b"" and inflate.eof
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(rows) != height * stride or not whole:
        raise ValueError(f"expected {height} rows of {stride} bytes, found {len(rows)} bytes")
    table = np.frombuffer(rows, np.uint8).reshape(height, stride)
    if table[:, 0].any():
        raise ValueError("rows are filtered")
    return table[:, 1:]


def decode_png(data: bytes) -> npt.NDArray[np.bool_]:
    """The mask of a 1-bit PNG, (H, W); raises what PIL raises when it is none."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image.convert("1"), dtype=np.bool_)
