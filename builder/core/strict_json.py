"""JSON in which each key stands once in its object.

Python's parser takes the last value of a repeated key and says nothing, so the others are lost.
"""

from __future__ import annotations

import json
from typing import Any


class DuplicateKeyError(ValueError):
    """A key stands more than once in an object."""


def loads(data: bytes | str) -> Any:
    """Parse JSON as `json.loads` does.

    Raises
    ------
    DuplicateKeyError
        A key stands more than once in an object.
    ValueError, RecursionError
        As `json.loads` raises them.

    >>> loads('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    builder.core.strict_json.DuplicateKeyError: the key 'a' twice in an object
    """
    return json.loads(data, object_pairs_hook=_object)


def repeated_key(pairs: list[tuple[str, Any]]) -> str | None:
    """The first key that stands more than once among the pairs of an object."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise DuplicateKeyError(f"the key {repeated_key(pairs)!r} twice in an object")
    return value
