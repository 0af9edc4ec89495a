"""The places that a dist is read from: a folder, a URL that fsspec opens, a repo on the Hub."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote

import fsspec
from huggingface_hub import (
    HfApi,
    HfFileSystem,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.constants import HUGGINGFACE_HEADER_X_REPO_COMMIT
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from asam_datasets.deadlines import (
    LASTING,
    LOG,
    PatientFile,
    T,
    may_pass,
    persistently,
    repeatedly,
    within,
)
from asam_datasets.downloads import download, may_be_had_later
from asam_datasets.errors import (
    AsamDatasetsError,
    ContractError,
    UnknownNameError,
    UnreachableError,
)
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.ranges import Ranges
from asam_datasets.redaction import (
    hide_in,
    redact_logs_of_the_hub,
    redacted,
    remember,
)

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Files:
    """A dist that fsspec reads: a folder, or a URL such as s3://bucket/dist.

    Raises
    ------
    UnreachableError
        fsspec can't open such a URL.
    """

    def __init__(self, root: str, patience: Patience = PATIENT) -> None:
        remember(root)
        self.url, self.name = root, redacted(root)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:  # no such protocol, or its package is absent
            raise UnreachableError(f"{root}: can't be read: {error}") from hide_in(error)
        self.is_local = "file" in self._fs.protocol
        self._patience = patience

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        UnreachableError
            It can't be read.
        """
        where = posixpath.join(self._root, path)
        if self.is_local:
            return bytes(self._fs.cat_file(where, start, end))
        if start is not None and end is not None:
            size = end - start
        else:
            size = self._ask(path, lambda: self._fs.size(where)) or 0
        return self._ask(path, lambda: bytes(self._fs.cat_file(where, start, end)), size)

    def _ask(self, path: str, call: Callable[[], T], size: int = 0) -> T:
        what = f"{self.name}/{path}"
        try:
            return persistently(
                call, what, self._patience, size, may_pass=lambda e: not isinstance(e, LASTING)
            )
        except (AsamDatasetsError, FileNotFoundError):
            raise
        except Exception as error:  # whatever the transport raises
            raise UnreachableError(f"{what} can't be read: {error!r}; try again") from error

    def local(self, path: str) -> str:
        """The file's path on this machine; of use where `is_local`."""
        return posixpath.join(self._root, path)

    def fetch(self, path: str, check: Callable[[int], object]) -> bytes:
        """A whole file, after `check` was called with its size."""
        where = posixpath.join(self._root, path)
        size = self._ask(path, lambda: self._fs.size(where)) or 0
        check(size)
        return self._ask(path, lambda: bytes(self._fs.cat_file(where)), size)

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it."""
        where = posixpath.join(self._root, path)
        if self.is_local:
            return cast(BinaryIO, self._fs.open(where))
        file = self._ask(path, lambda: self._fs.open(where))
        return cast(BinaryIO, PatientFile(file, f"{self.name}/{path}", self._patience))

    def configs(self) -> list[str]:
        """The configs that are there."""
        folder = posixpath.join(self._root, "data")
        try:
            found = self._ask("data", lambda: self._fs.ls(folder, detail=True))
        except FileNotFoundError:
            return []
        folders = (e["name"] for e in found if e["type"] == "directory" or self._leads_on(e))
        return sorted(map(posixpath.basename, folders))

    def _leads_on(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of a listing is a link to a folder."""
        return entry["type"] != "file" and bool(self._fs.isdir(entry["name"]))


class Hub:
    """A dataset repo on the Hub. All files are read at the commit of the first one."""

    def __init__(
        self, repo_id: str, revision: str | None, token: str | bool | None, patience: Patience
    ) -> None:
        self.name = f"hf://datasets/{repo_id}" + (f"@{quote(revision, '')}" if revision else "")
        self.url = self.name
        self._repo: dict[str, Any] = {"repo_id": repo_id, "repo_type": "dataset"}
        self._revision = revision
        self._token = token
        self._patience = patience
        self._ranges = Ranges(patience)
        self.is_local = False
        redact_logs_of_the_hub()

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before."""
        if start is None or end is None:
            return Path(self.local(path)).read_bytes()
        url = hf_hub_url(filename=path, revision=self._revision, **self._repo)
        headers = build_hf_headers(token=self._token)
        try:
            return self._ranges.read(url, headers, start, end)
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.name}/{path} is not there") from error

    def local(self, path: str) -> str:
        """The file's path on this machine, downloaded if it isn't in the cache.

        Raises
        ------
        FileNotFoundError
            The repo has no such file.
        UnreachableError
            It can't be read.
        """
        what = f"{self.name}/{path}"
        if _COMMIT.fullmatch(self._revision or "") and (found := self._cached(path)):
            return found
        got = self._or_cached(path, lambda: self._download(path, what))
        if isinstance(got, Path):
            return str(got)
        # The cache's layout is documented: snapshots/<commit>/<path>.
        self._revision = Path(got).parents[path.count("/")].name
        return got

    def fetch(self, path: str, check: Callable[[int], object]) -> bytes:
        """A whole file by one request. It is not kept in the cache, but read from there if need be.

        Parameters
        ----------
        path
            The file's path in the repo.
        check
            Called with the number of bytes, before they are read; raises if they are too many.

        Raises
        ------
        FileNotFoundError
            The repo has no such file.
        UnreachableError
            It can't be read.
        """
        what = f"{self.name}/{path}"
        if _COMMIT.fullmatch(self._revision or "") and (found := self._cached(path)):
            got: bytes | Path = Path(found)
        else:
            got = self._or_cached(path, lambda: self._whole(path, what, check))
        if isinstance(got, Path):
            check(got.stat().st_size)
            return got.read_bytes()
        return got

    def _or_cached(self, path: str, call: Callable[[], T]) -> T | Path:
        """What a request gives; the cached file's path if the Hub can't be reached."""
        what = f"{self.name}/{path}"
        try:
            return call()
        except ContractError:
            raise
        except AsamDatasetsError as error:
            if found := self._cached(path):
                LOG.warning("%s; what the cache has is used", error)
                return Path(found)
            raise
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{what} is not there") from error
        except Exception as error:  # the Hub's answer, or whatever the transport raises
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            if not refused and (found := self._cached(path)):
                return Path(found)
            raise UnreachableError(
                f"{what} can't be read: {error!r}; "
                + (
                    "if it exists, log in with `hf auth login` or pass token="
                    if refused
                    else "try again: what is complete stays in the cache"
                )
            ) from error

    def _whole(self, path: str, what: str, check: Callable[[int], object]) -> bytes:
        """A whole file by one request, repeated if need be. Later files are of its commit."""
        session, patience = get_session(), self._patience
        request = session.build_request(
            "GET",
            hf_hub_url(filename=path, revision=self._revision, **self._repo),
            headers={**build_hf_headers(token=self._token), "Accept-Encoding": "identity"},
            timeout=patience.timeout,
        )

        def body(response: Any) -> bytes:
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                check(len(data))
            return bytes(data)

        def get() -> bytes:
            response = within(patience.deadline(), what, lambda: session.send(request, stream=True))
            try:
                if response.is_error:
                    within(patience.deadline(), what, response.read)  # it says why
                hf_raise_for_status(response)
                size = int(response.headers.get("Content-Length", 0))
                check(size)
                data = within(patience.deadline(size), what, body, response)
            finally:
                response.close()
            for answer in (*response.history, response):
                if commit := answer.headers.get(HUGGINGFACE_HEADER_X_REPO_COMMIT):
                    self._revision = commit
                    break
            return data

        return repeatedly(get, what, patience, may_pass=may_pass)

    def _download(self, path: str, what: str) -> str:
        url = hf_hub_url(filename=path, revision=self._revision, **self._repo)
        timeout = self._patience.timeout
        stated = persistently(
            lambda: get_hf_file_metadata(url, token=self._token, timeout=timeout),
            what,
            self._patience,
            may_pass=may_pass,
        )
        if found := self._cached(path, stated.commit_hash):
            return found
        asked = {**self._repo, "filename": path, "revision": self._revision, "token": self._token}
        size = stated.size or 0
        return repeatedly(
            lambda: download(asked, what, self._patience, size),
            what,
            self._patience,
            may_pass=may_be_had_later,
        )

    def _cached(self, path: str, commit: str | None = None) -> str | None:
        found = try_to_load_from_cache(
            filename=path, revision=commit or self._revision, **self._repo
        )
        return found if isinstance(found, str) else None

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it; no byte is read that isn't asked for."""
        url = f"hf://datasets/{self._repo['repo_id']}@{quote(self._revision or 'main', '')}/{path}"
        what = f"{self.name}/{path}"
        file = persistently(
            lambda: HfFileSystem(token=self._token).open(url, cache_type="none"),
            what,
            self._patience,
            may_pass=may_pass,
        )
        return cast(BinaryIO, PatientFile(file, what, self._patience))

    def configs(self) -> list[str]:
        """The configs that are there; raises UnreachableError."""
        try:
            files = persistently(
                lambda: HfApi(token=self._token).list_repo_files(
                    revision=self._revision, **self._repo
                ),
                f"the list of files of {self.name}",
                self._patience,
                may_pass=may_pass,
            )
        except AsamDatasetsError:
            raise
        except Exception as error:  # the Hub's answer, or whatever the transport raises
            raise UnreachableError(f"{self.name} can't be listed: {error!r}") from error
        return sorted({path.split("/")[1] for path in files if re.match("data/[^/]+/index", path)})


def open_store(
    repo_or_path: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    patience: Patience = PATIENT,
) -> Files | Hub:
    """Where a dist is: a folder, a repo "owner/name", or a URL that fsspec opens.

    A folder wins over a repo of the same name, with a warning, as in `load_dataset`.
    hf://datasets/owner/name[@revision] always means the Hub.

    Parameters
    ----------
    repo_or_path
        The folder, repo or URL.
    revision, token
        The Hub's; None is main, and the token of the usual login.
    patience
        How long a request may take, and how often it is repeated.

    Raises
    ------
    UnknownNameError
        The text is neither a folder nor the form of a repo's name or URL.
    """
    where = str(repo_or_path)
    repo = re.fullmatch(r"(hf://datasets/)?([\w-][\w.-]*/[\w.-]+?)(?:@([^/]+))?/?", where)
    if repo and repo[1]:
        return Hub(repo[2], unquote(repo[3]) if repo[3] else revision, token, patience)
    if "://" in where:
        return Files(where, patience)
    folder = Path(where).expanduser()
    if folder.is_dir():
        if repo and isinstance(repo_or_path, str):
            LOG.warning("reading the folder %s; hf://datasets/%s is the Hub's repo", where, where)
        return Files(str(folder.resolve()))
    if repo and isinstance(repo_or_path, str):
        return Hub(where, revision, token, patience)
    raise UnknownNameError(
        f"{where}: no such folder, and it is no repo named owner/name and no URL such as "
        "s3://bucket/dist"
    )
