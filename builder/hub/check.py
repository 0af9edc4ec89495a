"""Is a published repo what its indexes say? By the Hub's checksums, or row by row."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi

from asam_datasets.index import Index, parse_index
from asam_datasets.shards import Shard
from builder.card.metadata import data_paths
from builder.card.render import read_entries
from builder.checking.index import Problem
from builder.checking.shards import ShardCheck, check_shard
from builder.core.console import Progress
from builder.core.errors import ContractError, HubError
from builder.core.files import sha256_file
from builder.core.layout import CARD, DATA, INDEX, REJECTS
from builder.hub.client import connect, plain_errors, retried
from builder.hub.patience import PATIENT, Patience
from builder.hub.remote import Remote, read_remote

EVERYTHING = "the repo"  # where a problem is of no one config


def check_repo(
    repo: str,
    revision: str = "main",
    configs: Sequence[str] | None = None,
    *,
    deep: bool = False,
    quiet: bool = False,
    api: HfApi | None = None,
    patience: Patience = PATIENT,
) -> tuple[list[Problem], int]:
    """Compare a repo's shards with its indexes; returns the problems and how many were checked.

    The Hub states the sha256 of each shard, so nothing but the indexes and small files is
    downloaded. `deep` downloads one shard after the other and checks every row as a local dist's.

    Raises
    ------
    HubError
        The repo can't be read, or lacks a config that was asked for.
    """
    with plain_errors(repo):
        api = api or connect(patience)
        remote = read_remote(api, repo, revision, patience)
        known = remote.configs
        if not known:
            raise HubError(f"{repo} at {revision}: no {DATA}/<config>/{INDEX} in it")
        if absent := sorted(set(configs or ()) - set(known)):
            raise HubError(f"{repo}: no config {', '.join(absent)}; it holds {', '.join(known)}")
        wanted = list(configs or known)
        check = _Check(api, repo, remote, patience)
        indexes = {config: check.index(config) for config in wanted}
        problems = list(check.card(wanted))
        if (script := f"{repo.split('/')[-1]}.py") in remote.files:
            what = "datasets 4 and later refuses a repo with a script of its own name"
            problems.append(Problem(EVERYTHING, what, script))
        formats = {path.rsplit(".", 1)[1] for paths in remote.shards.values() for path in paths}
        if len(formats) > 1:
            problems.append(Problem(EVERYTHING, "Arrow and Parquet shards: one format per repo"))
        total = sum(len(index.shards) for index in indexes.values())
        with Progress(total, "shard", "verify", quiet=quiet) as progress:
            for config, index in indexes.items():
                problems += check.files(config, index)
                for shard in index.shards:
                    wrong = check.metadata(config, shard)
                    problems += wrong or (check.rows(index, shard) if deep else [])
                    progress.update()
    return problems, total


class _Check:
    """One repo at one commit."""

    def __init__(self, api: HfApi, repo: str, remote: Remote, patience: Patience) -> None:
        self.api, self.repo, self.remote, self.patience = api, repo, remote, patience

    def index(self, config: str) -> Index:
        path = f"{DATA}/{config}/{INDEX}"
        with tempfile.TemporaryDirectory() as folder:
            content = self._fetch(path, folder).read_bytes()
        try:
            return parse_index(content, f"{self.repo}: {path}", config)
        except ContractError as error:
            raise HubError(f"{error}; publish {config} again") from error

    def metadata(self, config: str, shard: Shard) -> list[Problem]:
        """A shard's size and sha256, as the Hub states them."""
        name = shard.file
        there = self.remote.files.get(f"{DATA}/{config}/{name}")
        if there is None:
            return [Problem(config, "the index names it, the repo has no such file", name)]
        if there.size != shard.bytes:
            what = f"expected {shard.bytes} bytes, the Hub has {there.size}"
            return [Problem(config, what, name)]
        if there.lfs is None:
            return [Problem(config, "it is no LFS file, so the Hub states no sha256", name)]
        if there.lfs.sha256 != shard.sha256:
            what = f"expected sha256 {shard.sha256}, the Hub has {there.lfs.sha256}"
            return [Problem(config, what, name)]
        return []

    def files(self, config: str, index: Index) -> Iterator[Problem]:
        """Shards that no index names, and the rejects table."""
        named = {shard.file for shard in index.shards}
        folder = f"{DATA}/{config}"
        for name in self.remote.folders.get(folder, ()):
            if name not in named and _is_data(name, index):
                yield Problem(config, "no part of the index, but load_dataset reads it", name)
        path = f"{folder}/{REJECTS}"
        if path not in self.remote.files:
            yield Problem(config, "the repo has no such file", REJECTS)
            return
        with tempfile.TemporaryDirectory() as temporary:
            if sha256_file(self._fetch(path, temporary)) != index.rejects.sha256:
                yield Problem(config, "it is not the one that the index names", REJECTS)

    def rows(self, index: Index, shard: Shard) -> list[Problem]:
        """A shard's rows, decoded."""
        with tempfile.TemporaryDirectory() as folder:
            self._fetch(index.path(shard), folder)
            return check_shard(ShardCheck.of(Path(folder), index, shard, fast=False))

    def card(self, configs: Collection[str]) -> Iterator[Problem]:
        """Whether the card names the configs, and no file pattern that matches nothing."""
        if CARD not in self.remote.files:
            yield Problem(EVERYTHING, "no card, so load_dataset knows no config", CARD)
            return
        with tempfile.TemporaryDirectory() as folder:
            listed = read_entries(self._fetch(CARD, folder).read_text("utf-8"))
        names = {entry.get("config_name") for entry in listed}
        for config in configs:
            if config not in names:
                yield Problem(config, "the card's configs lack it", CARD)
        for entry in listed:
            for pattern in data_paths(entry):
                if not self.remote.matches(pattern):
                    config = str(entry.get("config_name"))
                    yield Problem(config, f"{pattern} matches no file of the repo", CARD)

    def _fetch(self, path: str, folder: str) -> Path:
        what = f"reading {path}"
        return Path(retried(lambda: self._download(path, folder), what, self.patience))

    def _download(self, path: str, folder: str) -> str:
        return self.api.hf_hub_download(
            self.repo, path, repo_type="dataset", revision=self.remote.commit, local_dir=folder
        )


def _is_data(name: str, index: Index) -> bool:
    """Whether the card's pattern takes a file of the config's folder for data."""
    patterns = (f"{split}-*.{index.format}" for split in index.splits)
    return any(fnmatchcase(name, pattern) for pattern in patterns)
