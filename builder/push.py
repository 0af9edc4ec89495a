"""`python -m builder.push`: a dist, or some of its configs, to a dataset repo on the Hub."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asam_datasets import REPO_ID
from builder.core.console import (
    EXIT_OK,
    Progress,
    counted,
    default_workers,
    emit_json,
    leave,
    run_command,
    say,
    sized,
)
from builder.core.errors import HubError, SettingsError, ShardError, UsageError
from builder.core.layout import DATA, REPO_NAME, absent_configs, configs
from builder.core.options import add_patience, parser, patience_of, positive, utf8
from builder.hub.patience import PATIENT, Patience

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from huggingface_hub import HfApi

    from asam_datasets.index import Index
    from builder.hub.plan import Plan
    from builder.hub.remote import LocalFile
    from builder.hub.upload import Published

_EXAMPLES = (
    f"python -m builder.push dist --repo {REPO_ID} --dry-run",
    f"python -m builder.push dist --repo {REPO_ID} --private",
    f"python -m builder.push dist --repo {REPO_ID} --configs sa_000000 camo --create-pr",
)
_SHOWN = 20  # files listed on a dry run; --json has them all


def main(argv: Sequence[str] | None = None) -> int:
    """Verify, compare, upload, commit, compare; returns the exit status."""
    args = _parser().parse_args(argv)
    if args.repo is None:
        args.repo = REPO_ID
        say(f"no --repo is given: the repo is {REPO_ID}")
    from builder.hub.client import connect
    from builder.hub.plan import Planner, Target
    from builder.hub.upload import Published, Publisher

    if not REPO_NAME.fullmatch(args.repo):
        raise UsageError(f"--repo {args.repo}: expected owner/name, such as {REPO_ID}")
    target = Target(args.repo, args.revision, args.private, args.create_pr)
    if target.create_pr and target.revision != "main":
        raise UsageError("--create-pr starts from main; leave out --revision")
    indexes = _indexes(args.dist, args.configs)
    patience = patience_of(args)
    planner = Planner(connect(patience), args.dist, indexes, target, patience)
    publisher = Publisher(planner, quiet=args.quiet)
    _check_terms(indexes, args.i_may_redistribute)
    if not args.dry_run:  # before the whole dist is read
        _check_token(planner.api, target.repo, patience)
    _verify(args.dist, [index.config for index in indexes], args)
    plan = planner.plan()
    _tell_plan(plan, args)
    published = Published(plan) if args.dry_run else publisher.publish(plan)
    if args.json:
        emit_json(_report(published, indexes, args))
    _tell(published, args)
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    result = parser(
        "push",
        "Publish a dist: verify it, upload the files that the repo lacks, then commit them all at "
        "once. After an interruption run the same command again. In the repo's card, text that "
        "people wrote is kept; a new repo gets the dist's card. The token is that of HF_TOKEN or "
        "of hf auth login.",
        _EXAMPLES,
    )
    result.add_argument("dist", type=Path, help="a dist")
    result.add_argument("--repo", help=f"a dataset repo (default: {REPO_ID})")
    result.add_argument("--configs", nargs="+", metavar="NAME", help="only these configs")
    result.add_argument("--private", action="store_true", help="make a new repo a private one")
    result.add_argument("--create-pr", action="store_true", help="open a pull request")
    result.add_argument(
        "--revision",
        type=utf8,
        default="main",
        help="the branch; made from main if absent (default: main)",
    )
    result.add_argument(
        "--i-may-redistribute",
        action="append",
        default=[],
        metavar="CONFIG",
        help="publish the images of a config although its terms do not clearly allow it; repeat "
        "for more configs",
    )
    result.add_argument("--dry-run", action="store_true", help="print the plan, send nothing")
    result.add_argument(
        "--workers",
        type=positive,
        default=default_workers(),
        metavar="N",
        help="processes that verify (default: one per core)",
    )
    add_patience(result, PATIENT)
    result.add_argument("--json", action="store_true", help="print the result as JSON")
    result.add_argument("--quiet", action="store_true", help="no progress bar")
    return result


def _indexes(dist: Path, only: Sequence[str] | None) -> list[Index]:
    from builder.shards.index import read_index

    if not dist.is_dir():
        raise ShardError(f"{dist}: no such folder; give a dist, which builder.build makes")
    known = configs(dist)
    if not known:
        raise ShardError(f"{dist}: no data/<config>/index.json in it; is it a dist?")
    folders = [path.name for path in (dist / DATA).iterdir()]
    if absent := absent_configs(only or (), known, folders):
        raise ShardError(f"{dist}: {absent}")
    return [read_index(dist, config) for config in sorted(set(only or known))]


def _check_terms(indexes: Sequence[Index], flagged: Sequence[str]) -> None:
    """Print each config's terms; refuse images that may not be published.

    Raises
    ------
    HubError
        The terms of some configs do not allow it, and no option says that the user may.
    SettingsError
        The option names a config that is not published.
    """
    from builder.card.terms import terms_of

    if unknown := sorted(set(flagged) - {index.config for index in indexes}):
        raise SettingsError(
            f"--i-may-redistribute {unknown[0]}: this run does not publish such a config"
        )
    refused = []
    for index in indexes:
        config, terms = index.config, terms_of(index)
        say(f"{config}: {terms.title}, {terms.label} ({terms.link}): {terms.summary}")
        if terms.redistribution == "allowed" or index.annotations_only:
            continue
        if config in flagged:
            say(f"  publishing its images is {terms.redistribution}; you state that you may")
        else:
            refused.append(f"{config} ({terms.redistribution})")
    if refused:
        raise HubError(
            f"the terms do not say that these images may be published: {', '.join(refused)}; build "
            "with --annotations-only, leave them out (--configs), or give --i-may-redistribute "
            "CONFIG for each if you have the right"
        )


def _verify(dist: Path, names: Sequence[str], args: argparse.Namespace) -> None:
    """Check the dist as `python -m builder.verify --fast` does; raises ShardError for a problem."""
    from builder.checking.shards import ShardCheck, check_shard, plan_checks
    from builder.checking.tree import Folder
    from builder.core import pool

    problems, shards = plan_checks(Folder(dist), names)
    checks = [ShardCheck.of(dist, index, shard, fast=True) for index, shard in shards]
    with Progress(len(checks), "shard", "verify", quiet=args.quiet) as progress:
        for found in pool.run(check_shard, checks, args.workers, lambda rows, masks: None):
            problems += found
            progress.update()
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise ShardError(
            f"{dist}: {problems[0]}{more}; nothing was published. Build it again, or see all with "
            f"python -m builder.verify {dist}"
        )


def _check_token(api: HfApi, repo: str, patience: Patience) -> None:
    """Raise HubError before anything is sent if the token can't write."""
    from builder.hub.client import plain_errors, retried

    with plain_errors(repo):
        who = retried(api.whoami, "whoami", patience)
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise HubError(
            f"the token of {who.get('name')} is read-only: make one that may write on "
            "https://huggingface.co/settings/tokens"
        )


def _tell_plan(plan: Plan, args: argparse.Namespace) -> None:
    where = f"{args.repo} at {plan.parent[:12]}" if plan.parent else f"{args.repo}, to be created"
    say(f"{where}: {_count(plan.add)} to upload, {_count(plan.there)} already there")
    if plan.delete:
        say(f"  {counted(len(plan.delete), 'shard')} to delete, because new ones take the place")
    if args.dry_run:
        lines = [f"  + {file.path} ({file.size:,} bytes)" for file in plan.add]
        lines += [f"  - {path}" for path in plan.delete]
        more = [f"  ... and {len(lines) - _SHOWN} more (--json)"] if len(lines) > _SHOWN else []
        say(*lines[:_SHOWN], *more)


def _tell(published: Published, args: argparse.Namespace) -> None:
    if args.dry_run:
        say("nothing was sent")
        return
    if published.pull_request:
        say(f"pull request: {published.pull_request}")
    elif published.url:
        say(f"published: {published.url}")
    else:
        say("the repo holds all of it already; nothing was sent")
    if Path(args.repo).is_dir():
        say(
            f"note: the folder {args.repo} here hides the repo from load_dataset; use "
            f"hf://datasets/{args.repo} or another working directory"
        )
    if args.revision == "main" and not args.create_pr:
        say(f"next: python -m builder.verify {args.repo}")


def _report(
    published: Published, indexes: Sequence[Index], args: argparse.Namespace
) -> dict[str, Any]:
    plan = published.plan
    return {
        "repo": args.repo,
        "revision": args.revision,
        "configs": [index.config for index in indexes],
        "dry_run": args.dry_run,
        "parent": plan.parent,
        "commit": published.commit,
        "url": published.url,
        "pull_request": published.pull_request,
        "add": {file.path: file.size for file in plan.add},
        "already_there": {file.path: file.size for file in plan.there},
        "delete": plan.delete,
    }


def _count(files: Sequence[LocalFile]) -> str:
    return f"{counted(len(files), 'file')}, {sized(sum(file.size for file in files))}"


if __name__ == "__main__":
    leave(run_command(main))
