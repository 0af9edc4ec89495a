"""Lists the files of a repo at a revision, and compares them with local files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from asam_datasets.deadlines import within
from builder.core.files import sha256_file
from builder.core.layout import DATA, SHARD_NAME
from builder.hub.client import retried
from builder.hub.patience import PATIENT, Patience

_PAGE = 1000  # entries that the Hub sends in one answer, about


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to publish. `source` is its local path or its content, `path` is that in the repo."""

    path: str
    source: Path | bytes
    size: int
    sha256: str | None = None

    def content(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class Remote:
    """A repo's files at one commit."""

    commit: str
    private: bool
    files: Mapping[str, RepoFile]

    @cached_property
    def folders(self) -> Mapping[str, list[str]]:
        """The sorted names of the files in each folder, without subfolders; "" is the top."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.files):
            folder, _, name = path.rpartition("/")
            found.setdefault(folder, []).append(name)
        return found

    @cached_property
    def shards(self) -> Mapping[str, list[str]]:
        """The paths of each config's shards in the repo."""
        found: dict[str, list[str]] = {}
        for folder, names in self.folders.items():
            parts = folder.split("/")
            if len(parts) == 2 and parts[0] == DATA:
                paths = [f"{folder}/{name}" for name in names if SHARD_NAME.fullmatch(name)]
                found |= {parts[1]: paths} if paths else {}
        return found

    def holds(self, file: LocalFile) -> bool:
        """Whether the repo has the same file, by size and by the Hub's checksum."""
        there = self.files.get(file.path)
        if there is None or there.size != file.size:
            return False
        if there.lfs is None:
            return bool(git_hash(file.content()) == there.blob_id)
        if file.sha256 is None and isinstance(file.source, Path):
            return sha256_file(file.source) == there.lfs.sha256
        return file.sha256 == there.lfs.sha256


def read_remote(api: HfApi, repo: str, revision: str, patience: Patience = PATIENT) -> Remote:
    """List the files of a repo at the current commit of a revision."""

    def read() -> Remote:
        asked = partial(api.dataset_info, repo, revision=revision, timeout=patience.timeout)
        info = within(patience.timeout, what, asked)
        commit = str(info.sha)
        tree = iter(api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True))
        files: dict[str, RepoFile] = {}
        while page := within(patience.timeout, what, lambda: list(islice(tree, _PAGE))):
            files |= {entry.path: entry for entry in page if isinstance(entry, RepoFile)}
        return Remote(commit, bool(info.private), files)

    what = f"listing {repo}"
    return retried(read, what, patience, size=math.inf)  # each request has a deadline of its own
