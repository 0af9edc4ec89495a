"""Damages valid inputs, by bytes and by structure."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from pycocotools import mask as coco

from asam_datasets.contract import signed

ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", "x", "é", "\x1b[31m", "../x", "0" * 5_000, [], [[]], [None], [1, 2], {}),
    *({"a": 1}, [[1, 2, 3, 4, 5, 6]], "2026-01-01", "1e999", "NaN"),
)
_NUMBERS = (b"-1", b"0", b"1", b"4294967296", b"99999999999999999999", b"1e999", b"0x10", b"")
PIXELS = 408  # of a mask
BLOCK = 512  # of a tar
# Fields of a tar's header: name, mode, size, type, link, magic, prefix.
_SIZE, _TYPE = (124, 136), (156, 157)
_FIELDS = ((0, 100), (100, 108), _SIZE, _SIZE, _TYPE, (157, 257), (257, 265), (345, 500))
_SIZES = (b"\xff" * 12, b"\x80" + bytes(3) + b"\xff" * 8, b"7" * 11 + b"\0", b"-0000000001\0")


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """One to four changes at random places: bits, slices, ends, numbers."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(damaged) + 1)
        length = min(1 << chance.randrange(12), len(damaged) - place)
        kind = chance.randrange(8)
        if kind == 0 and place < len(damaged):
            damaged[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(damaged):
            damaged[place] = chance.choice((0, 9, 10, 32, 48, 127, 128, 255))
        elif kind == 2:
            del damaged[place : place + length]
        elif kind == 3:
            damaged[place:place] = damaged[place : place + length]
        elif kind == 4:
            damaged[place : place + length] = bytes(length)
        elif kind == 5:
            damaged[place:place] = chance.randbytes(chance.randint(1, 8))
        elif kind == 6:
            del damaged[place:]
        else:
            at = next((i for i in range(place, len(damaged)) if 48 <= damaged[i] < 58), None)
            if at is not None:
                damaged[at : at + 1] = chance.choice(_NUMBERS)
    return bytes(damaged)


def mutate_value(value: Any, chance: random.Random) -> Any:
    """The value with one of its nodes, at any depth, replaced, removed or repeated."""
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.1:
        return chance.choice(ODD)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    key = chance.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    kind = chance.random()
    if kind < 0.1:
        del copy[key]
    elif kind < 0.15 and isinstance(copy, list):
        copy += [copy[key]] * chance.randint(1, 50)
    elif kind < 0.2 and isinstance(copy, dict):
        copy[chance.choice(("x", "id", "\x1b[2J", "__class__"))] = copy[key]
    else:
        copy[key] = mutate_value(copy[key], chance)
    return copy


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    """A JSON document with one node changed; once in five, its bytes are damaged instead."""
    if chance.random() < 0.2:
        return mutate_bytes(data, chance)
    return json.dumps(mutate_value(json.loads(data), chance)).encode("utf-8", "surrogatepass")


def mutate_signed(data: bytes, chance: random.Random) -> bytes:
    """A signed document with one node changed; half of them with a checksum that fits."""
    damaged = mutate_json(data, chance)
    if chance.random() < 0.5:
        return damaged
    try:
        return json.dumps(signed(json.loads(damaged))).encode()
    except (ValueError, TypeError, AttributeError):
        return damaged


def mutate_rle(data: bytes, chance: random.Random) -> bytes:
    """A compressed RLE of another mask of as many pixels, or one with a damaged character."""
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    share = chance.choice((0.01, 0.1, 0.5, 0.99))
    pixels = np.array([[chance.random() < share] for _ in range(PIXELS)], np.uint8)
    counts = bytearray(coco.encode(np.asfortranarray(pixels))["counts"])
    if chance.random() < 0.7:
        counts[chance.randrange(len(counts))] ^= 1 << chance.randrange(7)
    return bytes(counts)


def mutate_card(data: bytes, chance: random.Random) -> bytes:
    """A card with one value of its YAML changed, or damaged bytes."""
    _, block, text = data.decode().split("---\n", 2)
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    value = mutate_value(yaml.safe_load(block), chance)
    return f"---\n{yaml.safe_dump(value, allow_unicode=True)}---\n{text}".encode("utf-8", "replace")


def mutate_lines(data: bytes, chance: random.Random) -> bytes:
    """JSON Lines with one line changed, or damaged bytes."""
    if chance.random() < 0.2:
        return mutate_bytes(data, chance)
    lines = data.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = mutate_json(lines[at], chance).replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n"


def mutate_tar(data: bytes, chance: random.Random) -> bytes:
    """A tar with a damaged header whose checksum fits, whole blocks moved, or damaged bytes."""
    kind = chance.random()
    if kind < 0.3:
        return mutate_bytes(data, chance)
    blocks = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)]
    headers = [i for i, block in enumerate(blocks) if block[257:262] == b"ustar"]
    at = chance.choice(headers)
    if kind < 0.45:
        other = chance.randrange(len(blocks))
        blocks[at], blocks[other] = blocks[other], blocks[at]
    elif kind < 0.55:
        blocks[at] = bytes(BLOCK)
    else:
        header = bytearray(blocks[at])
        start, stop = chance.choice(_FIELDS)
        if (start, stop) == _TYPE:
            header[156:157] = chance.choice((b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S", b"\0"))
        elif (start, stop) == _SIZE:
            header[start:stop] = chance.choice(_SIZES)
        else:
            field = mutate_bytes(bytes(header[start:stop]), chance)[: stop - start]
            header[start:stop] = field.ljust(stop - start, b"\0")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks[at] = bytes(header)
    return b"".join(blocks)
