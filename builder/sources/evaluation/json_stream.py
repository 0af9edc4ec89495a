"""Reads the arrays of a large JSON object one element at a time, with each element's place.

An annotation file can have half a gigabyte (LVIS has over 200 MB). Parsed as a whole it takes five
to ten times as much memory. Here only a window of the text and one element are in memory. Each
element is yielded with its place in the file, so that it can be read again alone. Listing a COCO
JSON of 500 MB (13,000 images, 648,000 annotations) adds 54 MB to the process, `json.load` 3.1 GB
(benchmarks/evaluation.py).

The text is scanned as Latin-1, in which each character is one byte. JSON's structure is the same as
in UTF-8. Strings with other characters are decoded as UTF-8 afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from builder.core.errors import SourceError
from builder.core.strict_json import repeated_key

WINDOW = 1 << 22  # bytes of text in memory at once, unless one element needs more
MAX_ELEMENT = 1 << 24  # bytes of one element; parsed, it takes up to 25 times as many
_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER_A_VALUE = tuple(" \t\r\n,:]}")


class Element(NamedTuple):
    """An element of the array `key`, at `file[offset : offset + length]`.

    `repeated` is a key that stands twice in an object of it. Then `value` lacks something.
    """

    key: str
    offset: int
    length: int
    value: Any
    repeated: str | None


def elements(path: Path) -> Iterator[Element]:
    """Yield the elements of every array that is a value of the top-level object.

    Raises
    ------
    SourceError
        The file can't be read, is not a JSON object, holds a key twice, or is cut off.
    """
    try:
        with path.open("rb") as file:
            yield from _Scanner(path, file).elements()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


class _Scanner:
    def __init__(self, path: Path, file: BinaryIO, window: int = WINDOW) -> None:
        self.path, self.file, self.window = path, file, window
        self.text, self.at, self.start = (
            "",
            0,
            0,
        )  # the window, the position in it, its offset in the file
        self.ended = False
        self.repeated: str | None = None  # a key that stands twice in the value last parsed
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def elements(self) -> Iterator[Element]:
        self._more()
        if self.text.startswith("\xef\xbb\xbf"):  # a byte order mark
            self.at = 3
        self._expect("{")
        if self._peek() == "}":
            return
        seen: set[str] = set()
        while True:
            key = self._value()[2]
            if not isinstance(key, str):
                raise self._error("a key in quotes")
            if key in seen:
                raise self._error(f"one key {key!r}, not another")
            seen.add(key)
            self._expect(":")
            if self._peek() == "[":
                yield from self._array(key)
            else:
                self._value()
            if self._expect(",}") == "}":
                return

    def _array(self, key: str) -> Iterator[Element]:
        self._expect("[")
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            yield Element(key, *self._value(), self.repeated)
            if self._expect(",]") == "]":
                return

    def _value(self) -> tuple[int, int, Any]:
        """The next value, with its offset and length."""
        self._peek()
        while True:
            self.repeated = None
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self.ended or isinstance(error, RecursionError):
                    raise self._error("a JSON value", error) from error
            else:
                if self.ended or self.text[end : end + 1] in _AFTER_A_VALUE:
                    break  # otherwise a number may continue in the next window
            self._more()
        begin, self.at = self.at, end
        text = self.text[begin:end]
        if not text.isascii():
            try:
                value = json.loads(text.encode("latin-1"))
            except (ValueError, RecursionError) as error:
                raise self._error("UTF-8 text", error) from error
        return self.start + begin, end - begin, value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            self.repeated = repeated_key(pairs)
        return value

    def _peek(self) -> str:
        """The next character that is not a space, or "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._more()

    def _expect(self, characters: str) -> str:
        character = self._peek()
        if not character or character not in characters:
            raise self._error(" or ".join(characters))
        self.at += 1
        return character

    def _more(self) -> None:
        """Drop the text that was parsed, and read more: a window, or as much as is left if more."""
        self.start += self.at
        left = self.text[self.at :]
        if len(left) > MAX_ELEMENT:
            raise self._error(f"an element of at most {MAX_ELEMENT} bytes")
        self.at = 0
        data = self.file.read(max(self.window, len(left)))
        self.ended = not data
        self.text = left + data.decode("latin-1")

    def _error(self, expected: str, cause: Exception | None = None) -> SourceError:
        found = self.text[self.at : self.at + 40]
        what = f"ends at byte {self.start + self.at}" if not found else f"has {found!r}"
        why = f" ({cause})" if cause else ""
        return SourceError(
            f"{self.path}: expected {expected} at byte {self.start + self.at}, but the file "
            f"{what}{why}; unpack or download it again"
        )
