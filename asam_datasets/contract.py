"""JSON from someone else, checked field by field.

index.json and the receipts are read through `Node`, which checks the kind and the range of each
value. Both files state the sha256 of their own content, so a flipped bit anywhere is found.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

from asam_datasets.errors import ContractError

MAX_CONTRACT_BYTES = 256 << 20  # the index of a whole SA-1B tar has about 2 MB
MAX_DEPTH = 64  # lists and objects within one another; an index has 8
_NESTED = frozenset((dict, list))
MAX_COUNT = 2**53  # what JSON readers of any language hold exactly
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHECKSUM = "sha256"  # the field that holds a document's own checksum
REMEDY = "the file is damaged or was not written by this project: get it or build it again"


@dataclass(slots=True)  # a frozen one takes three times as long to make, and an index has 10,000
class Node:
    """A value of a JSON document, and where it stands.

    Parameters
    ----------
    file
        The document's name, for messages.
    path
        The value's place in the document, such as `splits.train.shards[0].rows`.
    value
        What `json.loads` gave.

    Each method returns the value in the form that its name says, and raises ContractError if the
    value is something else.
    """

    file: str
    path: str
    value: Any

    def fail(self, expected: str) -> NoReturn:
        """Raise a ContractError that says what was expected here and what was found."""
        where = self.path or "the document"
        found = reprlib.repr(self.value)
        raise ContractError(f"{self.file}: {where}: expected {expected}, found {found}; {REMEDY}")

    def __getitem__(self, key: str) -> Node:
        """A member of an object; raises ContractError if there is none."""
        members = self.mapping()
        if key not in members:
            where = self.path or "the document"
            raise ContractError(
                f"{self.file}: {where}: expected a field {key!r}, found none; {REMEDY}"
            )
        name = key if key.isprintable() and len(key) < 100 else reprlib.repr(key)
        return Node(self.file, f"{self.path}.{name}" if self.path else name, members[key])

    def mapping(self) -> dict[str, Any]:
        """An object, as plain values."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def members(self) -> dict[str, Node]:
        """An object's members."""
        return {key: self[key] for key in self.mapping()}

    def items(self) -> list[Node]:
        """A list's items."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return [Node(self.file, f"{self.path}[{i}]", x) for i, x in enumerate(self.value)]

    def integer(self, low: int, high: int = MAX_COUNT) -> int:
        """An integer from `low` to `high`."""
        if type(self.value) is not int or not low <= self.value <= high:  # bool is no integer
            self.fail(f"an integer from {low} to {high}")
        return self.value

    def integers(self, count: int, low: int, high: int) -> tuple[int, ...]:
        """A list of `count` integers from `low` to `high`."""
        found = self.value
        good = isinstance(found, list) and len(found) == count and {*map(type, found)} <= {int}
        if not good or (found and not low <= min(found) <= max(found) <= high):
            self.fail(f"{count} integers from {low} to {high}")
        return tuple(found)

    def text(self, pattern: re.Pattern[str] | None = None, expected: str = "a string") -> str:
        """A string, the whole of which matches the pattern."""
        if not isinstance(self.value, str) or (pattern and not pattern.fullmatch(self.value)):
            self.fail(expected)
        return self.value

    def choice(self, *values: str) -> str:
        """One of these strings."""
        if not isinstance(self.value, str) or self.value not in values:
            self.fail(f"one of {', '.join(values)}")
        return self.value

    def sha256(self) -> str:
        """A sha256 in hex."""
        return self.text(_SHA256, "64 hexadecimal digits")

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def equal(self, value: object) -> None:
        """Check that this is the value that the rest of the document implies."""
        if type(self.value) is not type(value) or self.value != value:
            self.fail(repr(value))

    def count(self, key: str) -> int:
        """A member that is a number from 0. It is 0 in documents of versions that lack it."""
        return self[key].integer(0) if key in self.mapping() else 0

    def counts(self) -> dict[str, int]:
        """An object of numbers from 0."""
        return {key: node.integer(0) for key, node in self.members().items()}


def sha256_json(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hex.

    Canonical JSON has sorted keys, no spaces and only ASCII characters, so equal values have equal
    checksums. Raises ValueError for NaN and infinity, which JSON can't hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the checksum of all its other fields."""
    rest = {key: value for key, value in document.items() if key != _CHECKSUM}
    return {_CHECKSUM: sha256_json(rest), **rest}


def check_size(size: int, file: str) -> None:
    """Raise ContractError for a file that is too large to be read whole."""
    if size > MAX_CONTRACT_BYTES:
        raise ContractError(f"{file}: expected at most {MAX_CONTRACT_BYTES} bytes, found {size}")


def parse_json(content: bytes, file: str) -> Any:
    """Parse JSON from someone else.

    Parameters
    ----------
    content
        The file's bytes.
    file
        The file's name, for messages.

    Raises
    ------
    ContractError
        It is too large, is not JSON, or is nested so deeply that a function that calls itself for
        each level would fail.
    """
    check_size(len(content), file)
    try:
        value = json.loads(content, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or far too deep
        raise ContractError(f"{file}: expected JSON, found {error}; {REMEDY}") from error
    level = [value] if type(value) in _NESTED else []
    for _ in range(MAX_DEPTH):
        objects = (node.values() for node in level if type(node) is dict)
        lists = (node for node in level if type(node) is list)
        deeper = (node for node in chain(objects, lists) if not _NESTED.isdisjoint(map(type, node)))
        level = [x for node in deeper for x in node if type(x) in _NESTED]
        if not level:
            return value
    raise ContractError(
        f"{file}: expected at most {MAX_DEPTH} lists and objects within one another, found more; "
        f"{REMEDY}"
    )


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"the number {text}, which JSON doesn't have")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def read_document(content: bytes, file: str, newest: int) -> tuple[Node, int]:
    """Parse a document and check its checksum; returns it and its format's number.

    Parameters
    ----------
    content
        The file's bytes.
    file
        The file's name, for messages.
    newest
        The highest format that the caller reads. Format 1 had no checksum.

    Raises
    ------
    ContractError
        The file is too large, is not JSON, has a newer format, or differs from its checksum.
    """
    node = Node(file, "", parse_json(content, file))
    try:
        version = node["format_version"].integer(1)
        if version > newest:
            raise ContractError(
                f"{file} is of format {version}, this version of asam_datasets reads up to "
                f"{newest}: get a newer one, such as the repo's own asam_datasets.py"
            )
        if version > 1:
            stated = node[_CHECKSUM].sha256()
            if (found := signed(node.value)[_CHECKSUM]) != stated:
                raise ContractError(
                    f"{file}: sha256: its content was expected to have {stated}, and has {found}; "
                    f"{REMEDY}"
                )
    except ValueError as error:  # an infinite number
        raise ContractError(f"{file}: expected JSON, found {error}; {REMEDY}") from error
    return node, version
