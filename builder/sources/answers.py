"""What a server's answer to a request for a tar holds, or why it holds none."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asam_datasets.deadlines import RETRIED
from asam_datasets.tars import TAR_BLOCK
from builder.core.errors import SourceError
from builder.core.text import is_html

_PARTIAL, _NOT_THERE, _FIRST_ERROR = 206, 416, 300
_EXPIRED = (401, 403)
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


class PassingError(ConnectionError):
    """The server answered with a status that may pass, or the link was replaced."""

    def __init__(self, text: str, response: Any) -> None:
        super().__init__(text)
        self.response = response  # for its Retry-After


class ExpiredLinkError(SourceError):
    """The server refuses access."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a file from `start` on, and what the server says of the whole file."""

    chunks: Iterator[bytes]
    start: int
    size: int
    validator: str

    @property
    def hash(self) -> str:
        """Tells contents apart by what the server says of them, in 16 characters."""
        text = json.dumps([self.size, self.validator])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def understood(name: str, response: Any, start: int) -> Answer:
    """What an answer holds.

    Raises ExpiredLinkError, PassingError, or SourceError if it holds no file.
    """
    status = response.status_code
    if status in RETRIED:
        raise PassingError(f"the server answered with status {status}", response)
    if status in _EXPIRED:
        raise ExpiredLinkError(f"{name}: the link has expired: the server answered with {status}")
    headers = response.headers
    etag = headers.get("ETag", "")
    validator = (etag if etag.startswith('"') else "") or headers.get("Last-Modified", "")
    if status == _NOT_THERE and start:  # the file is shorter now
        return Answer(iter(()), start, 0, validator)
    if status >= _FIRST_ERROR:
        raise SourceError(f"{name}: the server answered with status {status}")
    if status == _PARTIAL:
        stated = _RANGE.fullmatch(headers.get("Content-Range", ""))
        if not stated or int(stated[1]) != start:
            raise SourceError(
                f"{name}: expected the bytes from {start} on, found Content-Range: "
                f"{headers.get('Content-Range')}"
            )
        return Answer(response.iter_raw(), start, int(stated[2]), validator)
    size = headers.get("Content-Length", "")
    if not size.isdecimal():
        raise SourceError(f"{name}: the server does not state the file's size")
    return Answer(response.iter_raw(), 0, int(size), validator)


def check_start(name: str, begins: bytes) -> None:
    """Raise SourceError if these bytes are not the first ones of a tar."""
    if is_html(begins):
        raise SourceError(
            f"{name}: the server sent a page in place of the tar ({begins[:60]!r}): the link has "
            "probably expired; get a fresh links file, and run the same command again"
        )
    try:
        tarfile.TarInfo.frombuf(begins[:TAR_BLOCK], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError as error:
        raise SourceError(
            f"{name}: expected the header of a tar, found {begins[:20]!r}; nothing was kept"
        ) from error
