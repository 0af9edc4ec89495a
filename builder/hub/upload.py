"""Publishes a plan: uploads files that no reader sees yet, then shows all of them in one commit.

Shards are uploaded as LFS objects first (`preupload_lfs_files`), in small batches. After an
interruption, the next run finds those that were uploaded. Then one commit adds the new files,
deletes the shards that they replace, and updates the card. Its parent is the commit that the plan
was made for. So a reader sees the repo as it was before or after the push. The Hub refuses a commit
whose objects are missing. After the commit, the Hub's checksums are compared with the indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tenacity
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from builder.core.console import Progress, counted, say
from builder.core.errors import HubError
from builder.hub.check import check_repo
from builder.hub.client import T, plain_errors, retried, status_of
from builder.hub.plan import Plan, Planner
from builder.hub.remote import LocalFile

THREADS = 4  # files of a batch; its upload links are valid for about an hour
_IN_A_COMMIT = 10**7  # bytes of a file that a commit itself may carry; larger ones are uploaded
_MOVES = 5  # how often a run plans anew because someone else has committed
_PULLS = 10  # how many of the newest pull requests are searched for that of this plan


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a push. `commit` is None on a dry run, or if there was nothing to do."""

    plan: Plan
    commit: str | None = None
    url: str | None = None
    pull_request: str | None = None


class _MovedOn(Exception):
    """Someone committed between the plan and the commit."""


class Publisher:
    """Carries out plans.

    Parameters
    ----------
    planner
        Makes the plans.
    quiet
        Whether to show no progress bar.
    """

    def __init__(self, planner: Planner, *, quiet: bool = False) -> None:
        self.planner, self.quiet = planner, quiet
        self.api, self.target, self.patience = planner.api, planner.target, planner.patience
        self._stamps = {
            path: _stamp(path)
            for index in planner.indexes
            for path in (planner.dist / index.path(shard) for shard in index.shards)
        }

    def publish(self, plan: Plan | None = None) -> Published:
        """Upload the missing files, commit once, and compare the repo with the indexes.

        The plan is carried out as it is. If someone else commits in the meantime, a new plan is
        made from the new state of the repo.

        Parameters
        ----------
        plan
            What to do. By default, the planner makes a plan now.

        Raises
        ------
        HubError
            The Hub refused, someone else published the same configs, a local shard changed during
            the upload, or the repo is not what was sent.
        """
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_MovedOn),
            stop=tenacity.stop_after_attempt(_MOVES),
            reraise=True,
        )
        try:
            with plain_errors(self.target.repo):
                published: Published = again(self._publish, iter([plan] if plan else []))
        except _MovedOn as error:
            raise HubError(
                f"{self.target.repo}: others kept committing to it; run the same command again"
            ) from error
        if published.commit:
            self._compare(published.commit)
        return published

    def _publish(self, first: Iterator[Plan]) -> Published:
        plan = next(first, None) or self.planner.plan()
        if plan.parent is None:
            plan = replace(plan, parent=self._create())
        if plan.empty:
            return Published(plan)
        if self.target.revision != "main" and not self.target.revision.startswith("refs/"):
            self._call(
                lambda: self.api.create_branch(
                    self.target.repo,
                    branch=self.target.revision,
                    repo_type="dataset",
                    exist_ok=True,
                ),
                "creating the branch",
            )
        additions = [_addition(file) for file in plan.add]
        self._upload(additions)
        self._check_unchanged()
        return self._commit(plan, additions)

    def _create(self) -> str:
        """Create the repo and return its first commit.

        Raises _MovedOn if it holds files, because someone else has created and filled it.
        """
        self._call(
            lambda: self.api.create_repo(
                self.target.repo, repo_type="dataset", private=self.target.private, exist_ok=True
            ),
            f"creating {self.target.repo}",
        )
        say(f"created {self.target.repo}{' (private)' if self.target.private else ''}")
        info = self._call(
            lambda: self.api.dataset_info(self.target.repo, timeout=self.patience.timeout),
            f"reading {self.target.repo}",
        )
        if any(file.rfilename != ".gitattributes" for file in info.siblings or ()):
            self._moved(None)  # someone else has created and filled it
        return str(info.sha)

    def _upload(self, additions: Sequence[CommitOperationAdd]) -> None:
        total = sum(addition.upload_info.size for addition in additions)
        with Progress(total, "B", "upload", quiet=self.quiet, unit_scale=True) as progress:
            for start in range(0, len(additions), THREADS):
                batch = additions[start : start + THREADS]
                size = sum(addition.upload_info.size for addition in batch)
                self._call(partial(self._preupload, batch), "uploading", size)
                progress.update(size)

    def _preupload(self, batch: Sequence[CommitOperationAdd]) -> None:
        self.api.preupload_lfs_files(
            self.target.repo,
            batch,
            repo_type="dataset",
            revision=self.target.revision,
            create_pr=self.target.create_pr,
            num_threads=THREADS,
        )

    def _check_unchanged(self) -> None:
        changed = [path for path, stamp in self._stamps.items() if _stamp(path) != stamp]
        if changed:
            raise HubError(
                f"{changed[0]} changed while it was published; nothing was committed. Run "
                f"python -m builder.verify {self.planner.dist}, then publish again"
            )

    def _commit(self, plan: Plan, additions: Sequence[CommitOperationAdd]) -> Published:
        names = [index.config for index in self.planner.indexes]
        title = f"Publish {', '.join(names) if len(names) <= 3 else counted(len(names), 'config')}"
        mark = f"asam-datasets plan {plan.sha256()}"
        lines = [
            f"- {index.config}: {counted(index.num_rows, 'row')}" for index in self.planner.indexes
        ]
        operations: list[CommitOperationAdd | CommitOperationDelete] = list(additions)
        operations += [CommitOperationDelete(path) for path in plan.delete]

        def commit() -> Published:
            landed = self._find(plan, mark)  # an earlier attempt may have succeeded without answer
            if landed:
                return landed
            try:
                info = self.api.create_commit(
                    self.target.repo,
                    operations,
                    commit_message=title,
                    commit_description="\n".join([*lines, "", mark]),
                    repo_type="dataset",
                    revision=self.target.revision,
                    create_pr=self.target.create_pr,
                    parent_commit=plan.parent,
                )
            except HfHubHTTPError as error:
                if status_of(error) == 412:
                    self._moved(plan.parent)
                raise
            return Published(plan, info.oid, info.commit_url, info.pr_url)

        sizes = (addition.upload_info.size for addition in additions)
        return self._call(commit, "committing", sum(size for size in sizes if size < _IN_A_COMMIT))

    def _find(self, plan: Plan, mark: str) -> Published | None:
        """Find the plan's commit by its mark, which an earlier attempt may have made.

        Returns None if there is no new commit. Raises _MovedOn if others committed, and this plan
        did not.
        """
        repo, api = self.target.repo, self.api
        if self.target.create_pr:
            refs = api.list_repo_refs(repo, repo_type="dataset", include_pull_requests=True)
            pulls = sorted(refs.pull_requests or [], key=lambda ref: int(ref.ref.split("/")[-1]))
            revisions = [pull.ref for pull in pulls[-_PULLS:]]
        else:
            revision = self.target.revision
            head = api.dataset_info(repo, revision=revision, timeout=self.patience.timeout).sha
            if head == plan.parent:
                return None
            revisions = [revision]
        for revision in revisions:
            for commit in api.list_repo_commits(repo, repo_type="dataset", revision=revision):
                if commit.commit_id == plan.parent:
                    break
                if mark in commit.message:
                    url = f"{api.endpoint}/datasets/{repo}"
                    number = revision.removeprefix("refs/pr/")
                    pull = f"{url}/discussions/{number}" if self.target.create_pr else None
                    oid = commit.commit_id
                    return Published(plan, oid, f"{url}/commit/{oid}", pull)
        if not self.target.create_pr:
            self._moved(plan.parent)
        return None

    def _moved(self, parent: str | None) -> None:
        since = f"after {parent[:12]}" if parent else "while it was created"
        say(
            f"{self.target.repo}: someone else committed {since}; planning anew from the repo's "
            "new state, without sending uploaded files again"
        )
        raise _MovedOn

    def _compare(self, commit: str) -> None:
        configs = [index.config for index in self.planner.indexes]
        problems, _ = check_repo(
            self.target.repo, commit, configs, quiet=True, api=self.api, patience=self.patience
        )
        if problems:
            raise HubError(
                f"{self.target.repo} at {commit[:12]} is not what was sent: {problems[0]}"
                + (f" (and {len(problems) - 1} more)" if problems[1:] else "")
            )

    def _call(self, call: Callable[[], T], what: str, size: int = 0) -> T:
        return retried(call, what, self.patience, size=size)


def _addition(file: LocalFile) -> CommitOperationAdd:
    source = file.source if isinstance(file.source, bytes) else str(file.source)
    addition = CommitOperationAdd(file.path, source)
    if file.sha256 is not None:  # so the file need not be read once more to hash it
        addition.upload_info.sha256 = bytes.fromhex(file.sha256)
    return addition


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
