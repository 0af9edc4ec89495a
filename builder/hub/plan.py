"""Plans a push by comparing the dist's files with those of the repo."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from asam_datasets.index import Index
from builder.card.metadata import data_paths, is_own
from builder.card.parts import decode_card, read_entries
from builder.card.render import render_card
from builder.card.script import script_path
from builder.card.top import manifest_of
from builder.checking.top import read_manifest
from builder.core.console import say
from builder.core.errors import ContractError, HubError
from builder.core.files import read_file, sha256_json
from builder.core.layout import (
    ASSETS,
    CARD,
    DATA,
    INDEX,
    MANIFEST,
    REJECTS,
    SCRIPT,
    SHARD_NAME,
    config_folder,
    picture_name,
)
from builder.hub.check import RepoTree
from builder.hub.client import plain_errors
from builder.hub.patience import Patience
from builder.hub.remote import LocalFile, Remote, read_remote


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish.

    Parameters
    ----------
    repo
        The dataset repo, "owner/name".
    revision
        The branch.
    private
        Whether to make a new repo private.
    create_pr
        Whether to open a pull request.
    """

    repo: str
    revision: str = "main"
    private: bool = False
    create_pr: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The files that a commit on `parent` adds and deletes, and those that are there already.

    If `parent` is None, the repo has to be created.
    """

    parent: str | None
    add: list[LocalFile]
    there: list[LocalFile]
    delete: list[str]

    @property
    def empty(self) -> bool:
        return not self.add and not self.delete

    def sha256(self) -> str:
        """Identifies the change. It is in the commit's description, to find the commit again."""
        added = sorted(
            [f.path, f.sha256 or base64.b64encode(f.content()).decode()] for f in self.add
        )
        return sha256_json([self.parent, added, sorted(self.delete)])


class Planner:
    """Plans the publication of configs of a dist.

    It remembers the repo's last state, to notice when someone else publishes the same configs.

    Parameters
    ----------
    api
        Made by `builder.hub.client.connect`.
    dist
        The dist.
    indexes
        The indexes of the configs to publish.
    target
        Where to publish them.
    patience
        How long requests may take, and how often they are repeated.
    """

    def __init__(
        self, api: HfApi, dist: Path, indexes: Sequence[Index], target: Target, patience: Patience
    ) -> None:
        self.api, self.dist, self.indexes, self.target = api, dist, list(indexes), target
        self.patience = patience
        self.format = _one_format(self.indexes)
        self._remote: Remote | None = None

    def plan(self) -> Plan:
        """Compare the files to publish with the repo's current state.

        Raises
        ------
        HubError
            The repo can't be read, or it would not load after the push. It would not if it holds
            shards of the other format, a script with the repo's name, or files that a config's
            pattern matches but that are not its shards.
        """
        with plain_errors(self.target.repo):
            remote = self._read_remote()
            self._check_remote(remote)
            files = list(self._files())
            card = self._card(remote)
            files += [self._manifest(card, files, remote), card]
        there: list[LocalFile] = []
        add: list[LocalFile] = []
        for file in files:
            (there if remote and remote.holds(file) else add).append(file)
        wanted = {file.path for file in files}
        shards = remote.shards if remote else {}
        delete = [
            path
            for index in self.indexes
            for path in shards.get(index.config, ())
            if path not in wanted
        ]
        return Plan(remote.commit if remote else None, add, there, delete)

    def _read_remote(self) -> Remote | None:
        """The repo's current state, or None; raises HubError if others changed these configs."""
        target = self.target
        try:
            remote = read_remote(self.api, target.repo, target.revision, self.patience)
        except RepositoryNotFoundError as error:
            if isinstance(error, GatedRepoError):
                raise
            return None
        except RevisionNotFoundError:
            if target.revision == "main" or target.revision.startswith("refs/"):
                raise
            remote = read_remote(self.api, target.repo, "main", self.patience)
        before, self._remote = self._remote, remote
        if before is not None and self._mine(before) != self._mine(remote):
            raise HubError(
                f"{target.repo}: someone else published the same configs in the meantime "
                f"({remote.commit[:12]}); look at it, then run the same command again to replace it"
            )
        return remote

    def _mine(self, remote: Remote) -> dict[str, str]:
        folders = [f"{DATA}/{index.config}" for index in self.indexes]
        paths = (f"{f}/{name}" for f in folders for name in remote.folders.get(f, ()))
        return {path: remote.files[path].blob_id for path in paths}

    def _check_remote(self, remote: Remote | None) -> None:
        if remote is None:
            return
        repo = self.target.repo
        own_name = f"{repo.split('/')[-1]}.py"
        if own_name in remote.files:
            raise HubError(
                f"{repo} holds {own_name}: datasets 4 and later refuses a repo with a script of "
                "its own name; delete or rename it first"
            )
        if self.target.private and not remote.private:
            raise HubError(
                f"{repo} exists and is public, and --private is only for a new repo; make it "
                "private in its settings first"
            )
        for config, paths in remote.shards.items():
            found = paths[0].rsplit(".", 1)[1]
            if found != self.format:
                raise HubError(
                    f"{repo} holds {found} shards ({config}), the dist holds {self.format} ones: a "
                    "repo that mixes formats does not load; build with --format "
                    f"{found}, or publish to another repo"
                )
        for index in self.indexes:
            folder = f"{DATA}/{index.config}"
            for name in remote.folders.get(folder, ()):
                data = any(fnmatchcase(name, f"{split}-*.{self.format}") for split in index.splits)
                if data and not SHARD_NAME.fullmatch(name):
                    raise HubError(
                        f"{repo} holds {folder}/{name}, which is not a shard of this project, but "
                        f"load_dataset would read it as rows of {index.config}; move it first"
                    )

    def _files(self) -> Iterator[LocalFile]:
        for index in self.indexes:
            config = index.config
            folder = config_folder(self.dist, config)
            for shard in index.shards:
                path = index.path(shard)
                yield LocalFile(path, folder / shard.file, shard.bytes, shard.sha256)
            for name in (INDEX, REJECTS):
                yield _local(f"{DATA}/{config}/{name}", folder / name)
            picture = self.dist / picture_name(config)
            if picture.exists():
                yield _local(picture_name(config), picture)
        if self.target.repo.split("/")[-1] == Path(SCRIPT).stem:
            say(f"{SCRIPT} is not published: datasets refuses a repo with a script of its name")
        else:
            yield _local(SCRIPT, script_path())

    def _card(self, remote: Remote | None) -> LocalFile:
        """The repo's card, or else the dist's, with the configs to publish in it."""
        existing: str | None = None
        if remote and CARD in remote.files:
            tree = RepoTree(self.api, self.target.repo, remote, self.patience)
            existing = decode_card(tree.read(CARD), f"{self.target.repo}/{CARD}")
        elif (content := read_file(self.dist / CARD)) is not None:
            existing = decode_card(content, str(self.dist / CARD))
        listed = read_entries(existing) if existing else []
        mine = {index.config for index in self.indexes}
        published = set(remote.shards) if remote else set()
        for entry in listed:
            other = {path for path in data_paths(entry) if _is_other(path, self.format)}
            if other and not is_own(entry):
                raise HubError(
                    f"{self.target.repo}: its card's config {entry.get('config_name')} is not of "
                    f"format {self.format} ({', '.join(sorted(other))}): a repo that mixes formats "
                    "does not load"
                )
        drawn = [c for c in sorted(mine) if (self.dist / picture_name(c)).exists()]
        text = render_card(
            self.indexes,
            existing=existing,
            drop={e["config_name"] for e in listed if is_own(e)} - published - mine,
            pictures=drawn,
            repo=self.target.repo,
        ).encode()
        return LocalFile(CARD, text, len(text))

    def _manifest(
        self, card: LocalFile, files: Sequence[LocalFile], remote: Remote | None
    ) -> LocalFile:
        """The repo's manifest after the push.

        It keeps the checksums of other configs' pictures from the repo's manifest, so that a
        damaged picture is still found. A picture without a checksum there gets that of its content.
        """
        sums: dict[str, str] = {}
        if remote:
            tree = RepoTree(self.api, self.target.repo, remote, self.patience)
            try:
                stated = read_manifest(tree)
            except ContractError:  # a damaged manifest is ignored and replaced
                stated = None
            known = stated.files if stated else {}
            others = {picture_name(config) for config in remote.shards} & remote.files.keys()
            sums = {path: known.get(path) or tree.sha256(path) for path in sorted(others)}
        for file in files:
            if file.path == SCRIPT or file.path.startswith(f"{ASSETS}/"):
                sums[file.path] = hashlib.sha256(file.content()).hexdigest()
        content = manifest_of(card.content().decode(), sums).content()
        return LocalFile(MANIFEST, content, len(content))


def _one_format(indexes: Sequence[Index]) -> str:
    formats = sorted({index.format for index in indexes})
    if len(formats) != 1:
        raise HubError(f"the dist holds {' and '.join(formats)} configs: one format per repo")
    return str(formats[0])


def _local(path: str, source: Path) -> LocalFile:
    return LocalFile(path, source, source.stat().st_size)


def _is_other(path: str, fmt: str) -> bool:
    return path.endswith((".arrow", ".parquet")) and not path.endswith(f".{fmt}")
