"""The places that a dist is read from: a folder, a URL that fsspec opens, a repo on the Hub."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit

import fsspec
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
)

from asam_datasets.errors import UnknownNameError, UnreachableError

LOG = logging.getLogger("asam_datasets")


class Files:
    """A dist that fsspec reads: a folder, or a URL such as s3://bucket/dist."""

    def __init__(self, root: str) -> None:
        self.name = root
        self._fs, self._root = fsspec.core.url_to_fs(root)
        self.is_local = "file" in self._fs.protocol

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before."""
        return bytes(self._fs.cat_file(posixpath.join(self._root, path), start, end))

    def local(self, path: str) -> str:
        """The file's path on this machine; of use where `is_local`."""
        return posixpath.join(self._root, path)

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it."""
        return cast(BinaryIO, self._fs.open(posixpath.join(self._root, path)))

    def configs(self) -> list[str]:
        """The configs that are there."""
        try:
            found = self._fs.ls(posixpath.join(self._root, "data"), detail=True)
        except (FileNotFoundError, NotImplementedError):
            return []
        folders = (e["name"] for e in found if e["type"] == "directory" or self._leads_on(e))
        return sorted(map(posixpath.basename, folders))

    def _leads_on(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of a listing is a link to a folder."""
        return entry["type"] != "file" and bool(self._fs.isdir(entry["name"]))


class Hub:
    """A dataset repo on the Hub. All files are read at the commit of the first one.

    The Hub redirects a request for a file to a signed URL. That URL is kept until it expires, so
    that reading a range takes one request.
    """

    def __init__(
        self, repo_id: str, revision: str | None, token: str | bool | None, retries: int
    ) -> None:
        self.name = f"hf://datasets/{repo_id}" + (f"@{quote(revision, '')}" if revision else "")
        self._repo: dict[str, Any] = {"repo_id": repo_id, "repo_type": "dataset"}
        self._revision = revision
        self._token = token
        self._retries = retries
        self._signed: dict[tuple[int, str], Future[str]] = {}  # by process and path
        self.is_local = False

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before."""
        if start is None or end is None:
            return Path(self.local(path)).read_bytes()
        url = hf_hub_url(filename=path, revision=self._revision, **self._repo)
        headers = build_hf_headers(token=self._token)
        mine: Future[str] = Future()
        signed = self._signed.setdefault((os.getpid(), path), mine)
        try:
            if signed is not mine and (address := signed.result()):
                try:
                    return self._get(address, {}, start, end)[0]
                except HfHubHTTPError as error:
                    if error.response.status_code >= 500:
                        raise
                    self._signed.pop((os.getpid(), path), None)  # it has expired
            data, address = self._get(url, headers, start, end)
            if signed is mine and urlsplit(address).netloc != urlsplit(url).netloc:
                mine.set_result(address)
            return data
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.name}/{path} is not there") from error
        finally:
            if not mine.done():
                mine.set_result("")  # the others ask the Hub themselves

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_signed": {}}

    def _get(self, url: str, headers: dict[str, str], start: int, end: int) -> tuple[bytes, str]:
        """A range, and the URL that it came from in the end."""
        response = http_backoff(
            "GET",
            url,
            headers={**headers, "Range": f"bytes={start}-{end - 1}"},
            max_retries=self._retries,
            retry_on_status_codes=(408, 429, 500, 502, 503, 504),
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        )
        if response.status_code == 416:
            return b"", url
        hf_raise_for_status(response)
        whole = response.status_code != 206
        data = response.content[start:end] if whole else response.content
        return bytes(data), str(response.url)

    def local(self, path: str) -> str:
        """The file's path on this machine, downloaded if it isn't in the cache."""
        try:
            found = hf_hub_download(
                filename=path, revision=self._revision, token=self._token, **self._repo
            )
        except LocalEntryNotFoundError as error:
            raise UnreachableError(f"{self.name}/{path}: {error}") from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.name}/{path} is not there") from error
        except Exception as error:  # the Hub's answer, or whatever the transport raises
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            raise UnreachableError(
                f"{self.name}/{path} can't be read: {error!r}; "
                + (
                    "if it exists, log in with `hf auth login` or pass token="
                    if refused
                    else "try again: what is complete stays in the cache"
                )
            ) from error
        # The cache's layout is documented: snapshots/<commit>/<path>.
        self._revision = Path(found).parents[path.count("/")].name
        return str(found)

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it; no byte is read that isn't asked for."""
        url = f"hf://datasets/{self._repo['repo_id']}@{quote(self._revision or 'main', '')}/{path}"
        return cast(BinaryIO, HfFileSystem(token=self._token).open(url, cache_type="none"))

    def configs(self) -> list[str]:
        """The configs that are there."""
        files = HfApi(token=self._token).list_repo_files(revision=self._revision, **self._repo)
        return sorted({path.split("/")[1] for path in files if re.match("data/[^/]+/index", path)})


def open_store(
    repo_or_path: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    retries: int = 5,
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
    retries
        How often a request to the Hub is repeated.

    Raises
    ------
    UnknownNameError
        The text is neither a folder nor the form of a repo's name or URL.
    """
    where = str(repo_or_path)
    repo = re.fullmatch(r"(hf://datasets/)?([\w-][\w.-]*/[\w.-]+?)(?:@([^/]+))?/?", where)
    if repo and repo[1]:
        return Hub(repo[2], unquote(repo[3]) if repo[3] else revision, token, retries)
    if "://" in where:
        return Files(where)
    folder = Path(where).expanduser()
    if folder.is_dir():
        if repo and isinstance(repo_or_path, str):
            LOG.warning("reading the folder %s; hf://datasets/%s is the Hub's repo", where, where)
        return Files(str(folder.resolve()))
    if repo and isinstance(repo_or_path, str):
        return Hub(where, revision, token, retries)
    raise UnknownNameError(
        f"{where} is not a folder, nor a repo named owner/name, nor a URL such as s3://bucket/dist"
    )
