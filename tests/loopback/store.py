"""What a Hub keeps: repos with commits, refs and LFS objects. No HTTP here.

A commit is a whole snapshot (path to entry), so a revision never changes once it is made. Contents
stand on disk, named by their sha256; an LFS object belongs to a repo from its upload on, whether or
not a commit refers to it, as on the Hub.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

MAIN = "refs/heads/main"
LFS_SUFFIXES = (".arrow", ".parquet", ".tar", ".zip", ".gz", ".bin", ".npz", ".jpg", ".png")
LFS_SIZE = 10 << 20  # bytes; larger files are LFS whatever their name


class Refused(Exception):
    """A request that the Hub answers with an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit: `sha256` names its content, `oid` is git's (of the pointer for LFS)."""

    sha256: str
    size: int
    lfs: bool
    oid: str

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True, slots=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, Entry]


@dataclass(slots=True)
class Repo:
    """A dataset repo. `gated` is False or "manual"; `allowed` users pass the gate."""

    id: str
    private: bool = False
    gated: str | bool = False
    allowed: set[str] = field(default_factory=set)
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)  # LFS sha256 to size

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def ref(self, revision: str) -> str | None:
        """The full name of a branch, tag or refs/..., or None."""
        names = (f"refs/heads/{revision}", f"refs/tags/{revision}", revision)
        return next((name for name in names if name in self.refs), None)

    def commit(self, revision: str) -> Commit:
        """The commit that a branch, tag, refs/pr/N or commit hash means."""
        name = self.ref(revision)
        oid = self.refs[name] if name else revision
        if oid not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """The commits of a revision, newest first."""
        found, oid = [], self.commit(revision).oid
        while oid:
            found.append(self.commits[oid])
            oid = self.commits[oid].parent or ""
        return found


def git_oid(content: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The pointer file that git keeps in place of an LFS object."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


def is_lfs(path: str, size: int) -> bool:
    return size > 0 and (path.endswith(LFS_SUFFIXES) or size > LFS_SIZE)


class Store:
    """All repos, and the contents of their files under `root`."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.repos: dict[str, Repo] = {}
        self.lock = threading.RLock()

    # Contents

    def blob(self, sha256: str) -> Path:
        return self.blobs / sha256

    def receive(self, chunks: Callable[[int], bytes], expected: str | None = None) -> Entry:
        """Keep what `chunks(n)` yields until it is empty; an unexpected sha256 is refused."""
        temporary = self.blobs / f"tmp-{uuid.uuid4().hex}"
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("wb") as file:
                while chunk := chunks(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
            sha256 = digest.hexdigest()
            if expected is not None and sha256 != expected:
                raise Refused(400, f"the content's sha256 is {sha256}, not {expected}")
            temporary.replace(self.blob(sha256))
        finally:
            temporary.unlink(missing_ok=True)
        return Entry(sha256, size, True, git_oid(lfs_pointer(sha256, size)))

    def keep(self, path: str, content: bytes | Path) -> Entry:
        """Keep a file's content, as LFS where the Hub would."""
        if isinstance(content, Path) and is_lfs(path, content.stat().st_size):
            with content.open("rb") as file:
                return self.receive(file.read)
        data = content.read_bytes() if isinstance(content, Path) else content
        sha256 = hashlib.sha256(data).hexdigest()
        self.blob(sha256).write_bytes(data)
        if is_lfs(path, len(data)):
            return Entry(sha256, len(data), True, git_oid(lfs_pointer(sha256, len(data))))
        return Entry(sha256, len(data), False, git_oid(data))

    def join_parts(self, parts: list[Path], expected: str) -> Entry:
        """Keep the parts of a multipart upload as one object."""
        joined = self.blobs / f"tmp-{uuid.uuid4().hex}"
        try:
            with joined.open("wb") as file:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, file)
            with joined.open("rb") as whole:
                return self.receive(whole.read, expected)
        finally:
            joined.unlink(missing_ok=True)

    def open(self, entry: Entry) -> BinaryIO:
        return self.blob(entry.sha256).open("rb")

    # Repos

    def create(self, repo_id: str, *, private: bool = False, author: str = "system") -> Repo:
        """A new repo, with the first commit that the Hub makes."""
        with self.lock:
            repo = self.repos[repo_id] = Repo(repo_id, private)
            attributes = b"*.arrow filter=lfs diff=lfs merge=lfs -text\n"
            files = {".gitattributes": self.keep(".gitattributes", attributes)}
            self._append(repo, MAIN, files, "initial commit", "", author)
            return repo

    def commit(
        self,
        repo: Repo,
        ref: str,
        changes: Mapping[str, Entry | None],
        *,
        title: str,
        message: str = "",
        author: str = "system",
        parent: str | None = None,
    ) -> Commit:
        """One commit on a ref; an entry of None deletes. Another `parent` than the head: 412."""
        with self.lock:
            head = repo.commits[repo.refs[ref]]
            if parent is not None and parent != head.oid:
                text = "A commit has happened since. Please refresh and try again."
                raise Refused(412, text)
            files = dict(head.files)
            for path, entry in changes.items():
                if entry is not None:
                    if entry.lfs and entry.sha256 not in repo.objects:
                        raise Refused(400, f"LFS pointer {path} points to a missing object")
                    files[path] = entry
                elif files.pop(path, None) is None:
                    text = f"A file with this name doesn't exist: {path}"
                    raise Refused(404, text, "EntryNotFound")
            return self._append(repo, ref, files, title, message, author)

    def _append(
        self, repo: Repo, ref: str, files: Mapping[str, Entry], title: str, message: str, by: str
    ) -> Commit:
        parent = repo.refs.get(ref)
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        oid = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
        commit = Commit(oid, parent, title, message, by, date, files)
        repo.commits[oid] = commit
        repo.refs[ref] = oid
        return commit
