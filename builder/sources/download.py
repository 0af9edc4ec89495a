"""Downloads tars of a links file, so that a stop, a cut or a bad answer leaves no bad tar.

A tar has a hidden temporary name until it is whole. That name holds a hash of what the server says
of the content (its size, and its ETag or the time of its last change), so bytes are only continued
with bytes of the same content. Several processes may share the folder: each has a lock on the tar
that it downloads. Without locks they would write the same bytes at the same places of one file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import filelock
import tenacity

from asam_datasets.deadlines import HTTP, TRANSPORT_ERRORS, asked_wait
from asam_datasets.errors import UnreachableError
from asam_datasets.patience import Patience
from asam_datasets.redaction import redacted
from asam_datasets.tars import TAR_BLOCK, list_tar
from builder.core.console import say, sized
from builder.core.errors import SourceError
from builder.core.files import replace_durably
from builder.sources.answers import (
    Answer,
    ExpiredLinkError,
    PassingError,
    check_start,
    understood,
)
from builder.sources.archive import MAX_MEMBERS
from builder.sources.links import read_links

_PROGRESS = 1 << 20  # bytes after which the attempts are counted anew
_END = 2 * TAR_BLOCK  # zeros at the end of each tar
_backoff = tenacity.wait_exponential(multiplier=1, max=60)


class HeldError(Exception):
    """Another process downloads the tar."""


class SlowServerError(ConnectionError):
    """The server sent fewer bytes a second than asked for."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A tar that is there.

    Parameters
    ----------
    path
        The file.
    size
        Its bytes.
    moved
        The bytes that this run received for it; 0 if it was there.
    """

    path: Path
    size: int
    moved: int


class Downloads:
    """Downloads into a folder. Use it as a context manager.

    Parameters
    ----------
    links
        The links file. It is read again when a link has expired.
    folder
        Where the tars will be. It is made if it does not exist.
    patience
        The seconds that the server may send nothing, the bytes a second that it must send at least,
        and how often an attempt without progress is repeated.

    Raises
    ------
    UsageError
        There is no such links file.
    SourceError
        The links file can't be used.
    """

    def __init__(self, links: Path, folder: Path, patience: Patience) -> None:
        self._path, self._folder, self._patience = links, folder, patience
        self._links = read_links(links)
        folder.mkdir(parents=True, exist_ok=True)
        self._client = HTTP.Client(
            follow_redirects=True, timeout=HTTP.Timeout(patience.timeout), headers={"Accept": "*/*"}
        )

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    @property
    def names(self) -> list[str]:
        """The tars of the links file, in its order."""
        return list(self._links)

    def is_there(self, name: str) -> bool:
        """Whether the tar is there. No server is asked.

        Raises
        ------
        SourceError
            A file of that name is there, and is no tar, or was cut off.
        """
        path = self._folder / name
        if not path.exists():
            return False
        wrong = _wrong(path)
        if wrong:
            raise SourceError(
                f"{path}: expected a whole tar, found {wrong}; remove it, and run the same command "
                "again"
            )
        return True

    def left(self, name: str) -> int | None:
        """The bytes still to come, or None if the server does not say when it is asked once."""
        try:
            with self._get(name, 0, TAR_BLOCK) as answer:
                return max(0, answer.size - self._part(name)[1])
        except (SourceError, OSError, *TRANSPORT_ERRORS):  # the download says what is wrong
            return None

    def fetch(self, name: str, moved: Callable[[int], None], *, wait: bool) -> Fetched:
        """Download a tar, or go on with it, unless it is there.

        Parameters
        ----------
        name
            One of `names`.
        moved
            Called with numbers of bytes that came.
        wait
            Wait for another process that downloads the tar.

        Raises
        ------
        HeldError
            Another process downloads it, and `wait` is false.
        SourceError
            What came is no tar, the link has expired, the server refuses, or the disk is too full.
        UnreachableError
            The network or the server failed at each attempt.
        """
        with self._locked(name, wait=wait):
            if self.is_there(name):
                path = self._folder / name
                return Fetched(path, path.stat().st_size, 0)
            came = 0

            def count(size: int) -> None:
                nonlocal came
                came += size
                moved(size)

            try:
                path = self._persistently(name, count)
            except TRANSPORT_ERRORS as error:
                raise UnreachableError(
                    f"{name}: the download failed: {error or type(error).__name__}; run the same "
                    "command again, and it goes on from there"
                ) from error
            return Fetched(path, path.stat().st_size, came)

    @contextlib.contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[None]:
        lock = filelock.FileLock(self._folder / f".{name}.lock", timeout=-1 if wait else 0)
        try:
            lock.acquire(poll_interval=1)
        except filelock.Timeout as error:
            raise HeldError from error
        except NotImplementedError:  # a file system without locks
            yield
            return
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def _persistently(self, name: str, moved: Callable[[int], None]) -> Path:
        """Attempt a download until it succeeds, or fails too often without progress."""
        since = failures = 0

        def count(size: int) -> None:
            nonlocal since
            since += size
            moved(size)

        def hopeless(_: tenacity.RetryCallState) -> bool:
            nonlocal since, failures
            failures = 1 if since >= _PROGRESS else failures + 1
            since = 0
            return failures > self._patience.retries

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            seconds = state.next_action.sleep if state.next_action else 0
            why = str(error) or type(error).__name__
            say(f"{name}: {why}; going on in {seconds:.0f} s")

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_pass),
            stop=hopeless,
            wait=_wait,
            before_sleep=tell,
            reraise=True,
        )
        path: Path = attempts(self._attempt, name, count)
        return path

    def _may_pass(self, error: BaseException) -> bool:
        passes = isinstance(error, TRANSPORT_ERRORS)
        return passes and asked_wait(error) <= self._patience.longest_wait

    def _attempt(self, name: str, moved: Callable[[int], None], *, anew: bool = False) -> Path:
        """Download from where the temporary file ends, or from the start."""
        part, size = (None, 0) if anew else self._part(name)
        if self.is_there(name):  # a process without locks was quicker
            return self._folder / name
        # The last byte is asked for again, since no server gives the range behind the last one.
        start = max(0, size - 1)
        try:
            with self._get(name, start, None) as answer:
                named = self._folder / f".{name}.{answer.hash}.part"
                if part is None or (part == named and answer.validator):
                    return self._write(name, answer, named, moved)
        except ExpiredLinkError as error:
            url = self._links[name]
            self._links[name] = read_links(self._path).get(name, url)
            if self._links[name] == url:
                raise ExpiredLinkError(
                    f"{error}; get a fresh links file, put it at {self._path}, and run the same "
                    "command again: what is there is kept"
                ) from error
            raise PassingError("the link had expired, there is a fresh one", None) from error
        why = "has changed since" if answer.validator else "has no ETag and no time of change, and"
        say(f"{name}: the server's file {why} a part of it came: from the start")
        part.unlink(missing_ok=True)
        return self._attempt(name, moved, anew=True)

    def _write(self, name: str, answer: Answer, part: Path, moved: Callable[[int], None]) -> Path:
        free = shutil.disk_usage(self._folder).free
        if answer.size - answer.start > free:
            raise SourceError(
                f"{name}: it needs {sized(answer.size - answer.start)} more in {self._folder}, and "
                f"{sized(free)} are free: make room, and run the same command again"
            )
        with self._opened(part, answer.start) as file:
            for chunk in self._checked(name, answer):
                file.write(chunk)
                moved(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            wrong = list_tar(file, answer.size, MAX_MEMBERS).damage
            if wrong:
                part.unlink(missing_ok=True)
                raise SourceError(
                    f"{name}: the server's file is no whole tar: {wrong}; it was removed"
                )
            self._finish(name, file, part)
        for other in self._folder.glob(f".{name}.*.part"):
            if other != part:
                other.unlink(missing_ok=True)
        return self._folder / name

    @contextlib.contextmanager
    def _opened(self, part: Path, start: int) -> Iterator[BinaryIO]:
        """The temporary file to write to from `start` on, which has the bytes before."""
        try:
            descriptor = os.open(part, os.O_RDWR | (0 if start else os.O_CREAT), 0o666)
        except FileNotFoundError as error:  # a process without locks has finished it
            raise PassingError(f"{part} is gone", None) from error
        with os.fdopen(descriptor, "r+b") as file:
            if os.fstat(descriptor).st_size < start:
                raise PassingError(f"{part} was made anew", None)
            file.seek(start)
            yield file

    def _finish(self, name: str, file: BinaryIO, part: Path) -> None:
        """Rename the finished file, unless a process without locks did so already."""
        final = self._folder / name
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                replace_durably(part, final)
        if not final.exists():
            raise PassingError(f"{part} was removed while it was written", None)

    def _checked(self, name: str, answer: Answer) -> Iterator[bytes]:
        """The bytes that come, if they begin as a tar does and come fast enough."""
        at, begins = answer.start, b""
        since, marked = time.monotonic(), at
        for chunk in answer.chunks:
            at += len(chunk)
            now = time.monotonic()
            if now - since >= self._patience.timeout:
                rate = (at - marked) / (now - since)
                if rate < self._patience.rate:
                    raise SlowServerError(f"the server sent {sized(rate)} a second")
                since, marked = now, at
            if answer.start or at - len(chunk) >= TAR_BLOCK:
                yield chunk
                continue
            begins += chunk
            if at >= TAR_BLOCK:
                check_start(name, begins)
                yield begins
        if at < TAR_BLOCK:
            check_start(name, begins)
        if at != answer.size:
            raise ConnectionError(f"the connection was closed at byte {at} of {answer.size}")

    def _part(self, name: str) -> tuple[Path | None, int]:
        """The temporary file of the tar and its size; the largest, if there are several."""
        found: tuple[Path | None, int] = (None, 0)
        for path in self._folder.glob(f".{name}.*.part"):
            with contextlib.suppress(FileNotFoundError):  # a process without locks has finished it
                found = max(found, (path, path.stat().st_size), key=lambda part: part[1])
        return found

    @contextlib.contextmanager
    def _get(self, name: str, start: int, end: int | None) -> Iterator[Answer]:
        """Ask for the bytes from `start` on, once."""
        last = "" if end is None else end - 1
        headers = {"Range": f"bytes={start}-{last}", "Accept-Encoding": "identity"}
        try:
            request = self._client.stream("GET", self._links[name], headers=headers)
            with request as response:
                yield understood(name, response, start)
        except HTTP.InvalidURL as error:
            raise SourceError(f"{name}: its link is no URL: {redacted(str(error))}") from None
        except HTTP.TooManyRedirects as error:
            raise SourceError(f"{name}: its link leads from one URL to another for ever") from error


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(asked_wait(error) if error else 0.0, _backoff(state))


def _wrong(path: Path) -> str:
    """What is wrong with the two ends of a tar, or ""."""
    if not path.is_file():
        return "a folder or a device"
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            check_start(path.name, file.read(TAR_BLOCK))
        except SourceError:
            return "another file"
        file.seek(max(0, size - _END))
        return "" if file.read() == bytes(_END) else "one that was cut off"
