"""Checks a published repo against its indexes and its manifest; builder.checking has the checks.

This module reads the files of a repo, and what the Hub states of them. The Hub states the size of
each file, and the sha256 of each shard and picture.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from huggingface_hub import HfApi

from asam_datasets.contract import check_size
from asam_datasets.downloads import download
from asam_datasets.index import Index
from asam_datasets.shards import Shard
from builder.checking.counts import check_counts, check_names, count_rows
from builder.checking.index import check_stated
from builder.checking.names import read_names
from builder.checking.problem import Problem
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Tree
from builder.core.console import Progress
from builder.core.layout import DATA, config_folder
from builder.hub.client import connect, plain_errors, retried
from builder.hub.patience import PATIENT, Patience
from builder.hub.remote import Remote, read_remote


def check_repo(
    repo: str,
    revision: str = "main",
    configs: Sequence[str] | None = None,
    *,
    deep: bool = False,
    independent: bool = False,
    quiet: bool = False,
    api: HfApi | None = None,
    patience: Patience = PATIENT,
) -> tuple[list[Problem], int]:
    """Check a repo; returns the problems and the number of shards that were checked.

    The Hub states the sha256 of each shard, so only small files are downloaded. With `deep`, the
    shards are downloaded one after another, and every row is checked as in a local dist; with
    `independent` every picture and mask is decoded.

    Raises
    ------
    HubError
        The repo can't be read.
    ShardError
        It holds no config, or lacks one that was asked for.
    """
    with plain_errors(repo):
        api = api or connect(patience)
        tree = RepoTree(api, repo, read_remote(api, repo, revision, patience), patience)
        problems, shards = plan_checks(tree, configs)
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        with Progress(len(shards), "shard", "verify", quiet=quiet) as progress:
            for index, shard in shards:
                if problem := check_stated(tree, index.config, shard):
                    problems.append(problem)
                elif deep:
                    with tempfile.TemporaryDirectory() as folder:
                        tree.fetch(index.path(shard), folder)
                        check = ShardCheck.of(
                            Path(folder), index, shard, fast=False, independent=independent
                        )
                        found = check_shard(check)
                        problems += found
                        if not found:
                            path = config_folder(Path(folder), index.config) / shard.file
                            counts[index.config] += count_rows(path, index.format)
                            split = _split_of(index, shard)
                            names[index.config, split] += read_names(path, index.format)
                progress.update()
    faulty = {problem.config for problem in problems}
    for index in {index.config: index for index, _ in shards}.values() if deep else ():
        if index.config not in faulty:
            problems += check_counts(index, counts[index.config])
            for split in index.splits:
                problems += check_names(index, split, names[index.config, split])
    return problems, len(shards)


def _split_of(index: Index, shard: Shard) -> str:
    return next(name for name, split in index.splits.items() if shard in split.shards)


class RepoTree(Tree):
    """A repo at one commit."""

    what = "the repo"
    remedy = "publish"

    def __init__(self, api: HfApi, repo: str, remote: Remote, patience: Patience) -> None:
        self.api, self.remote, self.patience = api, remote, patience
        self.name = repo
        self.own = repo.rsplit("/", 1)[-1]

    def names(self, folder: str) -> Sequence[str]:
        return self.remote.folders.get(folder, ())

    def paths(self) -> Sequence[str]:
        return [path for path in self.remote.files if not path.startswith(".")]

    @cached_property
    def folders(self) -> Sequence[str]:
        found = (folder.split("/") for folder in self.remote.folders)
        return sorted(parts[1] for parts in found if len(parts) == 2 and parts[0] == DATA)

    def size(self, path: str) -> int | None:
        there = self.remote.files.get(path)
        return there.size if there else None

    def sha256(self, path: str) -> str:
        there = self.remote.files[path]
        if there.lfs is not None:
            return str(there.lfs.sha256)
        return hashlib.sha256(self.read(path)).hexdigest()

    def read(self, path: str) -> bytes:
        size = self.remote.files[path].size
        check_size(size, f"{self.name}: {path}")

        def whole() -> bytes:
            # Each attempt has a folder of its own, because one that was given up goes on.
            with tempfile.TemporaryDirectory() as folder:
                found = self.api.hf_hub_download(
                    self.name,
                    path,
                    repo_type="dataset",
                    revision=self.remote.commit,
                    local_dir=folder,
                )
                return Path(found).read_bytes()

        return retried(whole, f"reading {path}", self.patience, size=size)

    def fetch(self, path: str, folder: str) -> Path:
        """Download a large file into a folder, where it has the same path as in the repo."""
        size = self.remote.files[path].size
        what = f"reading {path}"
        asked = {
            "repo_id": self.name,
            "filename": path,
            "repo_type": "dataset",
            "revision": self.remote.commit,
            "local_dir": folder,
            "endpoint": self.api.endpoint,
            "token": self.api.token,
        }
        return Path(
            retried(
                lambda: download(asked, what, self.patience, size),
                what,
                self.patience,
                size=math.inf,  # it has a deadline of its own
            )
        )
