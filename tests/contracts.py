"""Indexes and receipts, changed by a test and signed again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from asam_datasets.contract import signed

Document = dict[str, Any]


def rewrite(path: Path, change: Callable[[Document], object]) -> None:
    """Change a document in place; its checksum fits what it then holds."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(signed(document)))


def set_in(*path: str | int, value: object) -> Callable[[Document], None]:
    """What sets a field of a document."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def flips(content: bytes) -> Iterator[bytes]:
    """The content with each of its bits flipped, one at a time."""
    damaged = bytearray(content)
    for place in range(len(content)):
        for bit in range(8):
            damaged[place] ^= 1 << bit
            yield bytes(damaged)
            damaged[place] ^= 1 << bit


def nodes(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all values in a document, from the top down."""
    found = [path]
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        found += nodes(item, (*path, key))
    return found
