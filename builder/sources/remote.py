"""Reads exact ranges of a tar in a remote store, and notices when the tar was replaced."""

from __future__ import annotations

import inspect
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.caching import ReadAheadCache

from asam_datasets.deadlines import LASTING, PatientStore, persistently
from asam_datasets.patience import Patience
from asam_datasets.redaction import redacted
from builder.core.console import Progress
from builder.core.errors import SettingsError, SourceError
from builder.core.records import Json
from builder.sources.links import read_links

if TYPE_CHECKING:  # it imports aiohttp, which takes long
    from builder.sources.http import Range

LISTED = 64 << 10  # bytes that are read from a header on; most headers of json files are near
_CHECKED_EVERY = 60.0  # seconds between two looks at the state of a file that isn't behind HTTP
_VALIDATORS = ("mtime", "ETag", "etag", "LastModified", "last_modified", "blob_id")

_fresh: dict[tuple[str, str], str] = {}  # the links that replaced expired ones
_checked: dict[tuple[str, str], float] = {}  # when a file was last looked at


@dataclass(frozen=True, slots=True)
class Stated:
    """What a store says of a file: its size, and what identifies its content, or ""."""

    size: int
    validator: str

    @property
    def version(self) -> str:
        """Changes when the file is replaced, if the store states anything that does."""
        return f"{self.validator} {self.size}"


def validator_of(info: Json) -> str:
    """What fsspec's `info` says that changes when a file is written again, or ""."""
    return next((str(info[key]) for key in _VALIDATORS if info.get(key)), "")


@dataclass(frozen=True, slots=True)
class RemoteTar:
    """A tar in a remote store. Picklable.

    Parameters
    ----------
    url
        Where it is.
    name
        Its name, such as `sa_000000.tar`.
    links
        The links file that gave the URL. An expired link is looked up there again.
    patience
        How long each request may take, and how often it is repeated.
    """

    url: str
    name: str
    links: str | None
    patience: Patience

    def state(self) -> Stated:
        """Ask for the tar's size and what identifies its content.

        Raises
        ------
        SourceError
            Its size is not stated, the server knows no ranges, or the link has expired.
        Exception
            What the store raises.
        """
        files, path = fsspec.core.url_to_fs(self.url)
        if _over_http(files):
            found = self._over_http(files, 0, 1)
            return Stated(found.size, found.validator)
        return self._look(files, path)

    def read(self, start: int, end: int, version: str) -> bytes:
        """The bytes of a half-open range. They are fewer if the tar ends before `end`.

        Raises
        ------
        SourceError
            The tar isn't the one with this `Stated.version` any more, or see `state`.
        Exception
            What the store raises.
        """
        data: bytes
        files, path = fsspec.core.url_to_fs(self.url)
        if _over_http(files):
            found = self._over_http(files, start, end)
            self._same(Stated(found.size, found.validator).version, version)
            return found.data
        key = self.url, version
        if time.monotonic() - _checked.get(key, -_CHECKED_EVERY) >= _CHECKED_EVERY:
            self._same(self._look(files, path).version, version)
            _checked[key] = time.monotonic()
        # Files that fsspec reads through a cache would read ahead.
        exact = {} if isinstance(files, AsyncFileSystem) else {"cache_type": "none"}
        call = PatientStore(files, redacted(self.url), self.patience).cat_file
        data = self._ask(lambda: call(path, start, end, **exact))
        return data

    def open(self, stated: Stated, *, quiet: bool) -> RemoteFile:
        """A file to read the headers from, in small pieces."""
        return RemoteFile(self, stated, quiet=quiet)

    def _look(self, files: Any, path: str) -> Stated:
        store = PatientStore(files, redacted(self.url), self.patience)
        asked = {"refresh": True} if "refresh" in inspect.signature(files.info).parameters else {}
        if "hf" in _protocols(files):
            asked["expand_info"] = True  # else it leaves the content's id out
        info = self._ask(lambda: store.info(path, **asked))
        if info["type"] != "file":
            raise SourceError(f"{self.url}: expected a tar, found a folder; rename it")
        if info["size"] is None:
            raise SourceError(f"{self.url}: its size is not stated there; download it first")
        return Stated(info["size"], validator_of(info))

    def _ask(self, call: Any) -> Any:
        return persistently(
            call,
            redacted(self.url),
            self.patience,
            float("inf"),  # each request has a deadline of its own
            may_pass=lambda error: not isinstance(error, LASTING),
        )

    def _over_http(self, files: Any, start: int, end: int) -> Range:
        from builder.sources.http import ExpiredError, read_range

        key = self.links or "", self.name
        url = _fresh.get(key, self.url)
        try:
            return read_range(files, url, start, end, self.patience)
        except ExpiredError as error:
            renewed = self._renewed(url)
            if renewed is None:
                where = self.links or "the links file, or a new signed URL"
                raise ExpiredError(
                    f"{error}: the link has probably expired; get a fresh links file from where "
                    f"{where} came from, and run the same command again: it goes on"
                ) from error
            _fresh[key] = renewed
            return read_range(files, renewed, start, end, self.patience)

    def _renewed(self, url: str) -> str | None:
        """Another link to this tar from the links file, if there is one by now."""
        if self.links is None:
            return None
        try:
            found = read_links(self.links).get(self.name)
        except (SourceError, SettingsError):  # it may be written right now
            return None
        return found if found != url else None

    def _same(self, found: str, expected: str) -> None:
        if found != expected:
            raise SourceError(
                f"{self.url}: the file was replaced while it was read: its ETag and size were "
                f"{expected}, and are {found}; run the same command again"
            )


class RemoteFile(io.RawIOBase):
    """A remote tar as a file. A read fetches LISTED more bytes, which serve the next reads.

    It shows a progress bar, since the headers of a large tar take minutes.
    """

    def __init__(self, tar: RemoteTar, stated: Stated, *, quiet: bool) -> None:
        self._at = 0
        self._cache = ReadAheadCache(
            LISTED, lambda start, end: tar.read(start, end, stated.version), stated.size
        )
        self._progress = Progress(
            *(stated.size, "B", f"list {tar.name}"), quiet=quiet, unit_scale=True
        )
        self._shown = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; raises as `RemoteTar.read`."""
        end = self._cache.size if size < 0 else self._at + size
        data: bytes = self._cache._fetch(self._at, end)
        self._at += len(data)
        if self._at > self._shown:
            self._progress.update(self._at - self._shown)
            self._shown = self._at
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset, which asks for nothing."""
        self._at = (0, self._at, self._cache.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """The offset."""
        return self._at

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """End the progress bar."""
        self._progress.__exit__()
        super().close()


def _over_http(files: Any) -> bool:
    return "http" in _protocols(files)


def _protocols(files: Any) -> tuple[str, ...]:
    return files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
