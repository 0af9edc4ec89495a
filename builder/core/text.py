"""Text from outside, made fit for a message."""

from __future__ import annotations

import codecs
import re
import reprlib
from typing import Any

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HTML = re.compile(rb"^(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_LENGTH = 80  # characters of a value in a message


def _shortener() -> reprlib.Repr:
    made = reprlib.Repr()
    made.maxlevel = 4
    made.maxstring = made.maxother = made.maxlong = _LENGTH
    made.maxlist = made.maxtuple = made.maxset = made.maxdict = 20
    return made


_repr = _shortener()


def brief(value: Any) -> str:
    """A value as a message shows it, cut to a line.

    Its size and depth don't matter: no more of it is looked at than is shown.

    >>> brief({"id": [1, 2]})
    "{'id': [1, 2]}"
    >>> brief("x" * 100)[-10:], len(brief("x" * 100))
    ("xxxxxxxxx'", 80)
    """
    text = _repr.repr(value)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."


def is_html(start: bytes) -> bool:
    """Whether a file begins as an HTML or XML page, such as a server's error page.

    >>> is_html(b"<!DOCTYPE html>"), is_html(b"sa_1.jpg")
    (True, False)
    """
    return _HTML.match(start) is not None


def encoding_of(start: bytes) -> str:
    """The encoding of a text file by its first four bytes: UTF-8 without a byte order mark.

    >>> encoding_of("name".encode("utf-16")), encoding_of(b"name")
    ('utf-16', 'utf-8-sig')
    """
    marks = (encoding for mark, encoding in _MARKS.items() if start.startswith(mark))
    return next(marks, "utf-8-sig")


_LINE_ENDS = re.compile(r"[ \t]*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
# Of Markdown and HTML, what could become a tag, a link, an image, code or a cell of its own.
_MARKUP = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "/",
    **{mark: f"\\{mark}" for mark in "\\`*[]"},
}


def printable(text: str) -> str:
    """The text as one line for a terminal: nothing in it moves the cursor or begins a line.

    Names, keys and captions come from anyone. A line's end in one could fake an `error:` line, and
    an escape character could hide what stands before.

    >>> printable("a\\nerror: b\\x1b[2J")
    'a error: b\\\\x1b[2J'
    """
    line = _LINE_ENDS.sub(" ", text)
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def markdown(text: str) -> str:
    """The text for a card's Markdown, in which it is read as it stands.

    >>> markdown("<script>a|b</script>")
    '&lt;script&gt;a/b&lt;/script&gt;'
    """
    return "".join(_MARKUP.get(c, c) for c in printable(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
