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


OTHERS: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**70, 1.5, 1e400, "", "x", "../x", "all", "0" * 64),
    *([], {}, [1], [[[]]], {"a": 1}, {"_type": "Value"}, {"_type": "Path"}),
)
"""Values of every kind, to stand where another kind is due."""
REMOVE = "remove"
"""Stands for no value at all."""


def replaced(document: Document, path: tuple[str | int, ...], value: Any) -> bytes:
    """The document with one value replaced or removed, and signed if it can be."""
    changed = json.loads(json.dumps(document))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    if value is REMOVE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    try:
        changed = signed(changed)
    except ValueError:  # an infinite number
        changed["sha256"] = "0" * 64
    return json.dumps(changed).encode()
