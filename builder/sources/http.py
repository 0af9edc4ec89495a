"""Exact ranges of a file behind http or https, by fsspec's own session.

fsspec's reads of a range accept any answer. So a server that knows no ranges sends a whole tar for
each member, and a file that was replaced gives bytes of another one. Here each answer is checked.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple, NoReturn

import aiohttp
from fsspec.asyn import sync

from asam_datasets.deadlines import RETRIED, repeatedly
from asam_datasets.patience import Patience
from asam_datasets.redaction import redacted
from builder.core.errors import SourceError
from builder.core.text import is_html

_PARTIAL = 206
_EMPTY = 416  # no byte of the range is there
_EXPIRED = (401, 403)
_GONE = (404, 410)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_START = 512  # bytes of an answer that is no range, to see what it is
DOWNLOAD = (
    "download it first, by python -m builder.fetch for a links file, and give the .tar; or put "
    "simplecache:: before the URL, with a --timeout that is enough for the whole file"
)


class ExpiredError(SourceError):
    """The server refuses access. A signed link has usually expired."""


class BusyError(ConnectionError):
    """The server failed, and may not fail at a later attempt.

    `response` is the server's answer, so that its `Retry-After` is obeyed.
    """

    def __init__(self, status: int, response: Any) -> None:
        super().__init__(f"the server answered with status {status}")
        self.response = response


class Range(NamedTuple):
    """Bytes of a file, the size of the whole file, and what identifies its content.

    `validator` is the ETag, or the time of the last change, or empty if the server states neither.
    """

    data: bytes
    size: int
    validator: str


def read_range(files: Any, url: str, start: int, end: int, patience: Patience) -> Range:
    """Read bytes of a file. The request is repeated after a failure that may pass.

    Parameters
    ----------
    files
        fsspec's HTTPFileSystem.
    url
        The file.
    start, end
        The half-open range. The answer is shorter if the file ends before `end`.
    patience
        The deadline of each request, and how often it is repeated.

    Raises
    ------
    ExpiredError
        Access is refused.
    FileNotFoundError
        Nothing is there.
    SourceError
        The server knows no ranges, sends a page, or refuses for another reason.
    Exception
        What the network raises at the last attempt.
    """
    seconds = patience.deadline(end - start)

    def ask() -> Range:
        try:
            found: Range = sync(files.loop, _get, files, url, start, end, seconds)
        except TimeoutError as error:
            raise TimeoutError(
                f"no whole answer within {seconds:.0f} s: try again later, or allow a longer "
                "timeout or a lower rate"
            ) from error
        return found

    return repeatedly(ask, redacted(url), patience, may_pass=_may_pass)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | aiohttp.InvalidURL):
        return False
    return isinstance(error, OSError | aiohttp.ClientError)


async def _get(files: Any, url: str, start: int, end: int, seconds: float) -> Range:
    session = await files.set_session()
    options = {**files.kwargs, "timeout": aiohttp.ClientTimeout(total=seconds)}
    options["headers"] = {
        **options.get("headers", {}),
        "Range": f"bytes={start}-{end - 1}",
        "Accept-Encoding": "identity",  # ranges are of the file itself
    }
    async with session.get(files.encode_url(url), **options) as answer:
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if answer.status != _PARTIAL:
            _refuse(answer, await answer.content.read(_START), url)
        stated = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        first, last, size = map(int, stated.groups()) if stated else (-1, -1, -1)
        if not (first == start <= last < min(end, size)):
            raise SourceError(
                f"{url}: expected bytes {start} to {end - 1}, found "
                f"Content-Range: {answer.headers.get('Content-Range')}; {DOWNLOAD}"
            )
        try:
            data = await answer.content.readexactly(last + 1 - start)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the connection was closed within an answer") from error
        return Range(data, size, validator)


def _refuse(answer: Any, begins: bytes, url: str) -> NoReturn:
    """Say what is wrong with an answer that holds no range."""
    status = answer.status
    if status in RETRIED:
        raise BusyError(status, answer)
    if status in _EXPIRED:
        raise ExpiredError(f"{url}: the server refuses access (status {status})")
    if status in _GONE:
        raise FileNotFoundError(redacted(url))
    if status == _EMPTY:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        raise SourceError(
            f"{url}: the file ends before the bytes asked for; it has {total or 'fewer'} bytes"
        )
    if status >= 300:
        raise SourceError(f"{url}: the server answered with status {status} {answer.reason}")
    if is_html(begins):
        raise SourceError(
            f"{url}: expected a tar, found a page ({begins[:60]!r}); links to SA-1B expire: get a "
            "fresh link"
        )
    raise SourceError(
        f"{url}: the server knows no ranges: it answers a request for some bytes with the whole "
        f"file; {DOWNLOAD}"
    )
