"""1-bit grayscale PNGs of masks, made from runs without ever making the bitmap.

The compressor is this project's own (`deflate.py`), because the bytes of a shard must depend on the
pixels alone. Those of ISA-L depend on addresses in memory, those of zlib on who built it, and those
of zlib-ng on the processor. It knows its data: a row is the row above and a few bytes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from asam_datasets import MaskRuns
from builder.masks.changes import mask_steps
from builder.masks.codes import FARTHEST, Code
from builder.masks.deflate import MANY_STEPS, choose, fit, pack
from builder.masks.rle import RleBatch, encode
from builder.masks.steps import Steps
from builder.masks.tables import MASK_ALPHABETS

GRAY, RGB, PALETTE = 0, 2, 3  # PNG colour types

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IDAT_CRC = zlib.crc32(b"IDAT")
_MOST_RUNS, _MOST_MASKS = 1 << 18, 1 << 12  # encoded at a time


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    crc = zlib.crc32(data, zlib.crc32(kind))
    return b"%b%b%b%b" % (struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc))


def assemble(
    height: int, width: int, depth: int, colour: int, *chunks: bytes, pixels: bytes
) -> bytes:
    """A PNG from its zlib stream; `chunks` stand before the pixels."""
    parts = [_SIGNATURE, chunk(b"IHDR", _header(height, width, depth, colour)), *chunks]
    return b"".join([*parts, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def _header(height: int, width: int, depth: int = 1, colour: int = GRAY) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def encode_masks(batch: RleBatch) -> list[bytes]:
    """Each mask as a 1-bit grayscale PNG of the image's size, in order."""
    head = _SIGNATURE + chunk(b"IHDR", _header(batch.height, batch.width))
    tail = chunk(b"IEND", b"")
    pngs = []
    for runs in _groups(batch.runs):
        for data in _compress(mask_steps(runs, batch.height, batch.width), batch.width):
            size, crc = len(data).to_bytes(4), zlib.crc32(data, _IDAT_CRC).to_bytes(4)
            pngs.append(b"%b%bIDAT%b%b%b" % (head, size, data, crc, tail))
    return pngs


def encode_bitmap(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as a 1-bit grayscale PNG; what is not 0 is foreground."""
    (png,) = encode_masks(RleBatch.parse([encode(mask)], *mask.shape))
    return png


def _compress(steps: Steps, width: int) -> list[bytes]:
    """The zlib streams of masks: in the codes that all share, those of many steps in their own."""
    stride = min(1 + (width + 7) // 8, FARTHEST)
    codes = [*_mask_codes(stride)]
    chosen = choose(steps, codes)
    for number in np.flatnonzero(steps.counts() > MANY_STEPS).tolist():
        chosen[number] = len(codes)
        codes.append(fit(steps, number).code(1, stride))
    return pack(steps, codes, chosen)


@lru_cache(maxsize=64)
def _mask_codes(stride: int) -> tuple[Code, ...]:
    return tuple(alphabet.code(1, stride) for alphabet in MASK_ALPHABETS)


def _groups(runs: MaskRuns) -> Iterator[MaskRuns]:
    """The masks, some at a time, so that large images don't take much memory."""
    first = 0
    while first < len(runs):
        most = int(runs.offsets[first]) + _MOST_RUNS
        stop = max(first + 1, int(runs.offsets.searchsorted(most, "right")) - 1)
        stop = min(stop, first + _MOST_MASKS)
        offsets = runs.offsets[first : stop + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        yield MaskRuns(runs.starts[part], runs.ends[part], offsets - offsets[0], {})
        first = stop


def read_bits(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The packed rows of a 1-bit grayscale PNG of that size, (height, ceil(width / 8)).

    By the letter of the PNG specification (W3C, third edition) as far as such a file needs it: not
    interlaced, no row filtered. zlib and its checksums read what `deflate.py` wrote.

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
