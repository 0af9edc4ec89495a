"""Requests with a deadline, which are repeated after a failure that may pass.

The timeouts of HTTP libraries count the time without a byte, so a server that sends a byte a second
holds a reader for ever. Here each request has a deadline that follows from its bytes. It is kept by
waiting in the caller for a thread that makes the request, so it holds for any library.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from asam_datasets.errors import AsamDatasetsError, UnreachableError
from asam_datasets.patience import Patience
from asam_datasets.redaction import hide_in, redacted

LOG = logging.getLogger("asam_datasets")
T = TypeVar("T")

# huggingface_hub's HTTP library is httpx or, from version 2 on, httpx2.
HTTP = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
TRANSPORT_ERRORS = (HTTP.TransportError, ConnectionError, TimeoutError)
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))  # statuses that may pass
# What a later attempt would raise again.
LASTING = (AsamDatasetsError, FileNotFoundError, PermissionError, ValueError, NotImplementedError)
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second attempt, the third, ...


class SlowError(UnreachableError):
    """A request was not answered by its deadline."""


_given_up: list[threading.Thread] = []


def goes_on() -> bool:
    """Whether a call that was given up still goes on. Python waits for its threads at the end."""
    return any(thread.is_alive() for thread in _given_up)


def within(seconds: float, what: str, call: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread, and wait for it no longer than a deadline.

    A call that is given up may go on in its thread, and in threads of its own: see `goes_on`.

    Parameters
    ----------
    seconds
        The deadline from now on.
    what
        What is done, for the message.
    call, args
        The function and its arguments.

    Raises
    ------
    SlowError
        The deadline has passed.
    Exception
        What the function raises.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((True, call(*args)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, name="asam_datasets request", daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if not outcome:
        _given_up.append(thread)
        raise SlowError(
            f"{what}: no whole answer within {seconds:.0f} s: try again later, or allow a longer "
            "timeout or a lower rate"
        )
    good, value = outcome[0]
    if good:
        result: T = value
        return result
    raise value


def persistently(
    call: Callable[[], T],
    what: str,
    patience: Patience,
    size: float = 0,
    *,
    may_pass: Callable[[Exception], bool],
) -> T:
    """Make a request, and repeat it after a failure that may pass.

    Parameters
    ----------
    call
        Makes the request. It is called in a thread.
    what
        What is asked for, for messages.
    patience
        The deadline of each attempt, and how many there are.
    size
        The bytes that are asked for.
    may_pass
        Whether to repeat the request after an error of it.

    Raises
    ------
    UnreachableError
        The server asks to wait for too long.
    Exception
        The error of the last attempt.
    """
    return repeatedly(
        lambda: within(patience.deadline(size), what, lambda: _told_apart(call)),
        *(what, patience),
        may_pass=may_pass,
    )


def _told_apart(call: Callable[[], T]) -> T:
    """Make a request; fsspec's HTTP store says of any failure that the file is not there."""
    try:
        return call()
    except FileNotFoundError as error:
        cause = error.__cause__
        # Other stores raise it from a KeyError of theirs, which is true.
        of_http = type(cause).__module__.partition(".")[0] == "aiohttp"
        if cause is None or isinstance(cause, FileNotFoundError | HfHubHTTPError):
            raise
        if not (of_http or isinstance(cause, OSError)):
            raise
        status = getattr(cause, "status", None)
        if status in (404, 410):
            raise
        told = f"{redacted(str(error))}: {redacted(repr(cause))}"
        if status is not None and status not in RETRIED:
            raise PermissionError(told) from hide_in(cause)
        raise ConnectionError(told) from hide_in(cause)


def repeatedly(
    call: Callable[[], T],
    what: str,
    patience: Patience,
    *,
    may_pass: Callable[[Exception], bool],
) -> T:
    """The same as `persistently` for a call that keeps its own deadline."""
    for attempt in range(patience.retries + 1):
        try:
            return call()
        except Exception as error:
            hide_in(error)
            if not (isinstance(error, SlowError) or may_pass(error)):
                raise
            asked = asked_wait(error)
            if asked > patience.longest_wait:
                raise UnreachableError(
                    f"{what}: the server asks to wait for {asked:.0f} s: try again after that"
                ) from error
            if attempt == patience.retries:
                raise
            wait = max(_WAITS[min(attempt, len(_WAITS) - 1)], asked)
            LOG.warning(
                *("%s: %s; attempt %d of %d in %.0f s", what, type(error).__name__),
                *(attempt + 2, patience.retries + 1, wait),
            )
            time.sleep(wait)
    raise AssertionError  # the last attempt returned or raised


def may_pass(error: BaseException | None) -> bool:
    """Whether a later attempt may succeed after this error of huggingface_hub, or its cause."""
    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return False
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code in RETRIED
        if isinstance(error, TRANSPORT_ERRORS):
            return True
        error = error.__cause__
    return False


def asked_wait(error: BaseException) -> float:
    """The seconds for which the answer behind an error asks to wait; 0 if it does not ask."""
    response = getattr(error, "response", None)
    stated = "" if response is None else str(response.headers.get("Retry-After") or "")
    return float(stated) if stated.isascii() and stated.isdigit() else 0.0


class PatientStore:
    """A file system of fsspec, each call of which has a deadline.

    Parameters
    ----------
    store
        The file system.
    what
        Its name, for messages.
    patience
        The deadlines.
    """

    def __init__(self, store: Any, what: str, patience: Patience) -> None:
        self._store, self._what, self._patience = store, what, patience

    def open(self, path: str, mode: str = "rb") -> PatientFile:
        """A file to read; raises SlowError, as its reads do."""
        file = within(self._patience.timeout, self._what, self._store.open, path, mode)
        return PatientFile(file, self._what, self._patience)

    def cat_file(self, path: str, start: int, end: int, **options: Any) -> bytes:
        """A range of a file, with options of the store; raises SlowError."""
        seconds = self._patience.deadline(end - start)
        read = partial(self._store.cat_file, **options)
        data: bytes = within(seconds, self._what, read, path, start, end)
        return data

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            asked = partial(getattr(self._store, name), *args, **options)
            return within(self._patience.timeout, self._what, asked)

        return call


def open_files(url: str, patience: Patience) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it. A remote one is a PatientStore.

    Raises
    ------
    Exception
        fsspec can't open such a URL.
    """
    files, path = fsspec.core.url_to_fs(url)
    if not isinstance(files, LocalFileSystem):
        files = PatientStore(files, redacted(url), patience)
    return files, path


class PatientFile(io.RawIOBase):
    """A file elsewhere, each read of which has a deadline.

    Parameters
    ----------
    file
        The file.
    what
        Its name, for messages.
    patience
        The deadline of each read.
    """

    def __init__(self, file: Any, what: str, patience: Patience) -> None:
        self._file, self._what, self._patience = file, what, patience

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; raises SlowError."""
        seconds = self._patience.deadline(max(size, 0))
        data: bytes = within(seconds, self._what, self._file.read, size)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset, which asks for nothing."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The offset."""
        return int(self._file.tell())

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            with contextlib.suppress(Exception):
                self._file.close()
        super().close()
