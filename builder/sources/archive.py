"""Reads the members of a tar or a folder in place, through fsspec.

A tar is never extracted. Its headers are read once, and each member is a range of its bytes. So a
name such as `../sa_1.jpg`, a link that leads out or a device can do no harm. Such members are
rejected all the same, because a proper tar has none.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from asam_datasets.deadlines import LASTING, open_files, persistently
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.redaction import hide_in, redacted
from asam_datasets.tars import TarListing, list_tar
from builder.core.console import counted
from builder.core.errors import SourceError, TruncatedSourceError
from builder.core.records import Json, Reject
from builder.core.text import is_html
from builder.sources.remote import RemoteTar, validator_of
from builder.sources.tables import keep_table, kept_table

MAX_MEMBERS = 500_000  # of one source; SA-1B's tars have some 22,400
_SHOWN = 10  # of a long list in a note
_GZIP = b"\x1f\x8b"
_START = 512  # bytes that tell what a file is
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a source: `size` bytes at `offset` of `path`, known as `name` within the source.

    `version` is the mtime of the file, or what a remote store states instead. It changes when the
    file is written again.
    """

    name: str
    path: str
    offset: int
    size: int
    version: str


@dataclass(slots=True)
class Contents:
    """The regular files of a source in its own order, and what was rejected while listing it."""

    members: list[Member]
    size: int
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fingerprint(self, name: str) -> Json:
        """Identifies this input by the names, offsets and sizes of its members.

        It is the same on any machine.
        """
        digest = hashlib.sha256()
        for member in self.members:
            digest.update(json.dumps([member.name, member.offset, member.size]).encode() + b"\n")
        return {
            "name": name,
            "size": self.size,
            "members": len(self.members),
            "sha256": digest.hexdigest(),
        }


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar or a folder, at a path or any URL that fsspec opens. Picklable.

    Parameters
    ----------
    url
        A local path, or a URL such as `https://...`, `s3://...`, `hf://datasets/...`.
    allow_truncated
        Accept a tar that was cut off, and use the members that are complete.
    patience
        How long a request to a remote store may take, and how often it is repeated.
    links
        The links file that gave the URL. An expired link is looked up there again.
    called
        The name, where the URL's own says nothing, as in a links file.
    quiet
        Show no progress while a remote tar is listed.
    """

    url: str
    allow_truncated: bool = False
    patience: Patience = PATIENT
    links: str | None = None
    called: str | None = None
    quiet: bool = True

    @property
    def name(self) -> str:
        """The last part of the path, such as `sa_000000.tar`."""
        if self.called is not None:
            return self.called
        path = re.split("[?#]", self.url)[0] if "://" in self.url else self.url
        return posixpath.basename(path.rstrip("/"))

    @property
    def is_tar(self) -> bool:
        """Whether the name ends with .tar. Everything else is read as a folder."""
        return self.name.endswith(".tar")

    def contents(self) -> Contents:
        """List the members.

        Raises
        ------
        SourceError
            There is nothing at the URL, or it is neither a tar nor a folder.
        TruncatedSourceError
            The tar ends before its end-of-archive marker, unless `allow_truncated`.
        """
        try:
            if self.is_tar:
                return self._tar()
            fs, path = open_files(self.url, self.patience)
            return self._ask(fs, lambda: self._folder(fs, path))
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.url}: nothing there; give a .tar, a folder of sa_*.jpg and sa_*.json, "
                "a glob of either, or a URL that fsspec opens"
            ) from error
        except Exception as error:  # no such protocol, or whatever the transport raises
            said = str(error) or type(error).__name__
            raise SourceError(f"{self.url}: can't be read: {said}") from hide_in(error)

    def read(self, member: Member) -> bytes:
        """The bytes of a member. A remote read is repeated when the network fails.

        Raises
        ------
        SourceError
            The member can't be read, is shorter than listed, or its file was written again since.
        """
        end = member.offset + member.size
        try:
            fs, _ = open_files(self.url, self.patience)
            data: bytes = b""
            if member.size and self._remote is not None:
                data = self._remote.read(member.offset, end, member.version)
            elif member.size:
                data = self._ask(fs, lambda: fs.cat_file(member.path, member.offset, end))
        except SourceError:
            raise
        except Exception as error:  # whatever the transport raises
            raise SourceError(
                f"{self.url}: {member.name}: can't be read: {error!r}; run the same command again "
                "to go on"
            ) from hide_in(error)
        if len(data) > member.size:
            raise SourceError(
                f"{self.url}: expected {member.size} bytes of {member.name}, found {len(data)}: "
                "the server knows no ranges; download the file first"
            )
        if len(data) < member.size:
            raise SourceError(
                f"{self.name}: {member.name}: expected {member.size} bytes at {member.offset}, "
                f"found {len(data)}: the source changed while it was read; run the command again"
            )
        if isinstance(fs, LocalFileSystem) and validator_of(fs.info(member.path)) != member.version:
            raise SourceError(
                f"{self.name}: {member.name}: {member.path} was written again while it was read, "
                "so its members may have moved; run the same command when the file is complete"
            )
        return data

    @property
    def _remote(self) -> RemoteTar | None:
        """The tar, if it is one that is not on a local disk."""
        if not self.is_tar or "://" not in self.url or self.url.startswith("file://"):
            return None
        return RemoteTar(self.url, self.name, self.links, self.patience)

    def _ask(self, fs: Any, call: Callable[[], T]) -> T:
        """Make requests, and make them again when the network fails.

        A local failure, an absent file and a SourceError are raised at once.
        """
        if isinstance(fs, LocalFileSystem):
            return call()
        return persistently(
            call,
            redacted(self.url),
            self.patience,
            math.inf,  # each request has a deadline of its own
            may_pass=lambda error: not isinstance(error, LASTING),
        )

    def _folder(self, fs: Any, path: str) -> Contents:
        if not fs.isdir(path):
            found = "a file" if fs.exists(path) else "nothing"
            if found == "nothing" and not isinstance(fs, LocalFileSystem):
                fs.info(path)  # raises what `exists` keeps to itself, such as a lost connection
            raise SourceError(
                f"{self.url}: expected a .tar or a folder, found {found}"
                + (
                    "; decompress a .tar.gz first, SA-1B's tars are plain"
                    if found[0] == "a"
                    else ""
                )
            )
        contents = Contents([], size=0)
        folders = []
        for listed in fs.ls(path, detail=True):
            name = posixpath.basename(listed["name"])
            info = listed
            if listed["type"] not in ("file", "directory"):  # a link is listed as itself
                try:
                    info = fs.info(listed["name"])
                except OSError:  # it leads to nothing, or to itself
                    expected, found = "a file or a link to one", "a link to nothing"
                    contents.rejects.append(
                        Reject(self.name, name, "link_to_nothing", expected, found)
                    )
                    continue
            if info["type"] == "file":
                contents.members.append(
                    Member(name, info["name"], 0, info["size"], validator_of(info))
                )
            elif info["type"] == "directory":
                folders.append(name)
            else:
                found = "a device, a pipe or a socket"
                contents.rejects.append(
                    Reject(self.name, name, "not_a_regular_file", "a regular file", found)
                )
        if folders:
            left = counted(len(folders), "folder")
            contents.notes.append(f"{left} in {self.name} not read: {some(sorted(folders))}")
        contents.members.sort(key=lambda m: (len(m.name), m.name))  # sa_9.jpg before sa_10.jpg
        contents.rejects.sort(key=lambda reject: reject.member)
        contents.size = sum(m.size for m in contents.members)
        self._bound(len(contents.members))
        return contents

    def _tar(self) -> Contents:
        if self._remote is None:
            fs, path = open_files(self.url, self.patience)
            info = fs.info(path)
            if info["type"] != "file":
                raise SourceError(f"{self.url}: expected a tar, found a folder; rename it")
            with fs.open(path, "rb") as file:
                found, start = _listed(file, info["size"])
            return self._contents(found, start, path, info["size"], validator_of(info))
        stated = self._remote.state()
        where = redacted(self.url)
        kept = kept_table(self.url, stated.size, stated.validator, MAX_MEMBERS)
        if kept is not None:
            return self._contents(kept, b"", where, stated.size, stated.version)
        with self._remote.open(stated, quiet=self.quiet) as remote:
            found, start = _listed(remote, stated.size)
        contents = self._contents(found, start, where, stated.size, stated.version)
        keep_table(self.url, stated.size, stated.validator, found)
        return contents

    def _contents(
        self, found: TarListing, start: bytes, path: str, size: int, version: str
    ) -> Contents:
        """What a tar holds. `start` are its first bytes, for the message if it is none."""
        contents = Contents([], size=size)
        contents.members += [Member(p.name, path, p.offset, p.size, version) for p in found.places]
        contents.rejects += [Reject(self.name, *member) for member in found.unusable]
        self._bound(len(found.places) + len(found.unusable))
        if found.damage:
            self._cut(contents, found.damage, start)
        if len(found.starts) > 1:
            contents.notes.append(
                f"{self.name} holds {len(found.starts)} archives, one behind the other; the second "
                f"begins at byte {found.starts[1]}"
            )
        return contents

    def _cut(self, contents: Contents, why: str, start: bytes) -> None:
        whole = len(contents.members)
        if not whole and not contents.rejects:
            raise SourceError(
                f"{self.url}: expected a plain tar, found {_kind(start)} of {contents.size} bytes"
            )
        last = contents.members[-1].name if whole else "none"
        if not self.allow_truncated or not whole:
            raise TruncatedSourceError(
                f"{self.url}: the tar is cut off or damaged: {why}; {whole} whole members "
                f"(last: {last}) in {contents.size} bytes. Fetch it again, or use its whole "
                "members alone with --allow-truncated"
            )
        contents.notes.append(f"{self.name} is cut off: only its {whole} whole members are used")

    def _bound(self, count: int) -> None:
        if count > MAX_MEMBERS:
            raise SourceError(f"{self.url}: more than {MAX_MEMBERS} members; split the source")


def _listed(file: Any, size: int) -> tuple[TarListing, bytes]:
    """The listing of a tar, and its first bytes."""
    found = list_tar(file, size, MAX_MEMBERS)
    file.seek(0)
    return found, file.read(_START)


def some(names: list[str]) -> str:
    """The first names of a list, as a note shows them, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names) - _SHOWN} more)"


def _kind(start: bytes) -> str:
    """What the first bytes say of a file without members, and what the user can do."""
    if start.startswith(_GZIP):
        return "a gzip-compressed file (decompress it first)"
    if start.startswith(bytes(len(_GZIP))):
        return "a file that begins with zeros (a download that has not finished?)"
    if is_html(start):
        return "a page of a site in place of the tar (a link that has expired? get a fresh one)"
    return "another file, or a damaged one (fetch it again; links to SA-1B expire)"
