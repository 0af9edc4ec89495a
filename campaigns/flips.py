"""`python -m campaigns.flips`: one flipped bit in each file of a dist.

verify finds the flip if it is in its scope. `load` refuses the file or gives equal rows: a stream
always, a mapped Dataset with `verify=True`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from asam_datasets import AsamDatasetsError, load
from builder.core.console import Progress, say
from builder.core.layout import CARD
from campaigns.common import Options, Row, main
from campaigns.targets import CONFIG, small_dist, verify
from tests.checking.test_flips import same_card

SMALL = 4_000  # bytes up to which every bit of a file is flipped
FLIPS = 2_000  # of a larger file


def campaign(options: Options) -> list[Row]:
    """Flip bits in each file."""
    dist = small_dist(options.scratch)
    expected = _rows(dist)
    files = sorted(p for p in dist.rglob("*") if p.is_file() and p.suffix != ".lock")
    places = {path: list(_places(path, options)) for path in files}
    rows = []
    with Progress(sum(map(len, places.values())), "flip", "flips") as progress:
        for path in files:
            rows.append(_flip(dist, path, places[path], expected, progress))
    return rows


def _flip(dist: Path, path: Path, places: list[int], expected: Any, progress: Progress) -> Row:
    whole = path.read_bytes()
    name = path.relative_to(dist).as_posix()
    found = equal = odd = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        if verify(dist, fast=True):
            found += 1
        elif _same(name, whole, bytes(damaged), place // 8):
            equal += 1
        else:
            odd += 1
            say(f"{name}, bit {place}: verify finds nothing")
        if name.endswith((".arrow", "index.json")) and not _refused_or(dist, expected):
            odd += 1
            say(f"{name}, bit {place}: other rows")
        progress.update()
    path.write_bytes(whole)
    return {"file": name, "flips": len(places), "found": found, "same meaning": equal, "odd": odd}


def _places(path: Path, options: Options) -> Iterator[int]:
    bits = path.stat().st_size * 8
    chance = random.Random(f"{options.seed} {path.name}")
    number = options.times(bits if bits <= SMALL * 8 else FLIPS)
    yield from sorted(chance.sample(range(bits), number))


def _rows(dist: Path) -> list[Any]:
    return list(load(CONFIG, repo_or_path=dist, streaming=True))


def _refused_or(dist: Path, expected: list[Any]) -> bool:
    """Whether both ways to load refuse the dist or give these rows."""

    def mapped() -> list[Any]:
        return list(load(CONFIG, repo_or_path=dist, verify=True))

    return all(_gives(each, expected) for each in (lambda: _rows(dist), mapped))


def _gives(rows: Callable[[], list[Any]], expected: list[Any]) -> bool:
    try:
        return rows() == expected
    except AsamDatasetsError:
        return True


def _same(name: str, whole: bytes, damaged: bytes, place: int) -> bool:
    """Whether a flip changes nothing that a reader uses: the maintainer's text, a letter's case."""
    if name == CARD:
        return same_card(whole, damaged, place)
    try:
        return bool(json.loads(damaged) == json.loads(whole))
    except ValueError:
        return False


if __name__ == "__main__":
    main("flips", campaign)
