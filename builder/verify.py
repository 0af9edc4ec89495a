"""`python -m builder.verify`: checks a dist, or a published repo, against its indexes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    Progress,
    counted,
    emit,
    emit_json,
    leave,
    run_command,
    say,
)
from builder.core.errors import ShardError
from builder.core.layout import REPO_NAME
from builder.core.options import add_patience, parser, patience_of, positive, utf8
from builder.hub.patience import PATIENT

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.checking.problem import Problem

_EXAMPLES = (
    "python -m builder.verify dist",
    "python -m builder.verify dist --fast --configs sa_000000",
    "python -m builder.verify xhk/ASAM-Datasets --deep",
)
_NAMED = 5  # configs in the last line
_SHOWN = 50  # problems printed; --json has them all


def main(argv: Sequence[str] | None = None) -> int:
    """Check and print the problems to stdout; returns 1 if there is one."""
    args = _parser().parse_args(argv)
    local_dist = Path(args.what).is_dir()
    if not local_dist and not REPO_NAME.fullmatch(args.what):
        url = "; verify reads no URL: copy the dist to a folder" if "://" in args.what else ""
        raise ShardError(f"{args.what}: no such folder, and it is no repo named owner/name{url}")
    problems, checked = _check_dist(args) if local_dist else _check_repo(args)
    if args.json:
        emit_json({"shards": checked, "problems": [asdict(problem) for problem in problems]})
    else:
        emit(*map(str, problems[:_SHOWN]))
    only_hashes = args.fast if local_dist else not args.deep
    what = "hashes" if only_hashes else "hashes, rows, images and masks"
    if problems:
        count = counted(len(problems), "problem")
        say(f"{count}, {counted(checked, 'shard')} looked at; {_advice(problems, local_dist)}")
        return EXIT_FAILED
    verb = "is what its" if checked == 1 else "are what their"
    say(f"{counted(checked, 'shard')} {verb} index says ({what})")
    return EXIT_OK


def _advice(problems: Sequence[Problem], local: bool) -> str:
    """What to do, as the last line says it."""
    verb = "build" if local else "push"
    names = sorted({problem.config for problem in problems if problem.config})
    if not names:
        return f"a {verb} of any config writes the card, script, pictures and manifest again"
    more = f" and {len(names) - _NAMED} more configs" if names[_NAMED:] else ""
    return f"{verb} {', '.join(names[:_NAMED])}{more} again"


def _check_dist(args: argparse.Namespace) -> tuple[list[Problem], int]:
    from builder.checking.counts import check_dist_counts
    from builder.checking.shards import ShardCheck, check_shard, plan_checks
    from builder.checking.tree import Folder
    from builder.core import pool

    dist = Path(args.what)
    problems, shards = plan_checks(Folder(dist), args.configs)
    checks = [
        ShardCheck.of(dist, index, shard, fast=args.fast, independent=args.independent)
        for index, shard in shards
    ]
    rows = sum(check.shard.rows for check in checks)
    size = sum(check.shard.bytes for check in checks)
    # Checking a row of a dist of this version takes about as long as building it; an independent
    # check takes seven times as long.
    workers = args.workers or pool.workers_for(7 * size if args.independent else size)
    unit = ("shard", len(checks)) if args.fast else ("image", rows)
    with Progress(unit[1], unit[0], "verify", quiet=args.quiet) as progress:

        def on_row(images: int, masks: int) -> None:
            progress.update(images)

        for found in pool.run(check_shard, checks, workers, on_row):
            problems += found
            if args.fast:
                progress.update(1)
    if not args.fast:
        indexes = {index.config: index for index, _ in shards}.values()
        problems += list(check_dist_counts(dist, indexes, problems))
    return problems, len(checks)


def _check_repo(args: argparse.Namespace) -> tuple[list[Problem], int]:
    from builder.hub.check import check_repo

    return check_repo(
        args.what,
        args.revision,
        args.configs,
        deep=args.deep and not args.fast,
        independent=args.independent,
        quiet=args.quiet,
        patience=patience_of(args),
    )


def _parser() -> argparse.ArgumentParser:
    result = parser(
        "verify",
        "Check the card, script, pictures, manifest, receipts, indexes, hashes and row counts. "
        "Check that every image and mask decodes, that each mask's RLE and PNG are equal, and that "
        "the control image shows the masks. A person's own text in the card is not checked. The "
        "exit status is 0 without problems, 1 with problems.",
        _EXAMPLES,
    )
    result.add_argument(
        "what", metavar="DIST|REPO", help="a dist, or a repo such as xhk/ASAM-Datasets"
    )
    result.add_argument("--fast", action="store_true", help="of a dist: do not check the rows")
    result.add_argument(
        "--independent",
        action="store_true",
        help="decode every picture and mask, also those whose bytes are the encoders' (without it "
        "one row in 50, and what differs)",
    )
    result.add_argument(
        "--deep", action="store_true", help="of a repo: also download the shards and check the rows"
    )
    result.add_argument(
        "--revision",
        type=utf8,
        default="main",
        help="a branch, tag or commit of the repo (default: main)",
    )
    result.add_argument("--configs", nargs="+", metavar="NAME", help="only these configs")
    result.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes (default: one per core, fewer for a small dist)",
    )
    add_patience(result, PATIENT)
    result.add_argument("--json", action="store_true", help="print the result as JSON")
    result.add_argument("--quiet", action="store_true", help="no progress bar")
    return result


if __name__ == "__main__":
    leave(run_command(main))
