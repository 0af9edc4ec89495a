"""The sources that the arguments of `builder.build` name."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from builder.core.console import Progress
from builder.core.errors import UsageError
from builder.core.options import patience_of
from builder.core.records import Source


def chosen_sources(args: argparse.Namespace, stack: ExitStack) -> Iterator[Source]:
    """The sources that the arguments name. Temporary files are removed when `stack` is closed."""
    chosen = [bool(args.sources), args.sample, bool(args.eval), args.eval_fixtures]
    if sum(chosen) != 1:
        raise UsageError("give one of SOURCE, --sample, --eval NAME and --eval-fixtures")
    if args.captions and args.caption_model:
        raise UsageError(
            "--captions takes existing captions and --caption-model makes new ones: give one of "
            "them"
        )
    if args.device and not args.caption_model:
        raise UsageError("--device is for --caption-model: masks are made on the CPU")
    if bool(args.eval) != bool(args.source):
        raise UsageError("--eval NAME and --source FOLDER go together")
    if args.protocol and not (args.eval or args.eval_fixtures):
        raise UsageError("--protocol is for --eval and --eval-fixtures: leave it out")
    args.protocol = args.protocol or "native"
    if args.eval or args.eval_fixtures:
        for option in ("config", "image_ids", "captions", "caption_model", "allow_truncated"):
            if getattr(args, option):
                raise UsageError(
                    f"--{option.replace('_', '-')} is for SA-1B's tars and folders; an evaluation "
                    "config has the name and the images that its release and --protocol give it"
                )
        yield from _eval_sources(args, stack)
    else:
        yield from _sa1b_sources(args, stack)


def absolute(source: str) -> str:
    """A local path or glob that is the same in any working directory; a URL as it is."""
    return source if "://" in source else str(Path(source).absolute())


def _eval_sources(args: argparse.Namespace, stack: ExitStack) -> Iterator[Source]:
    from builder.sources import evaluation
    from builder.sources.evaluation.fixtures import write_fixtures

    folders = {args.eval: args.source}
    if args.eval_fixtures:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made_by_name = write_fixtures(made)
        folders = {
            name: folder
            for name, folder in made_by_name.items()
            if args.protocol in evaluation.row(name).protocols
        }
    for name, folder in folders.items():
        yield evaluation.open_source(
            name,
            args.protocol,
            folder,
            annotations_only=args.annotations_only,
            limit=args.limit,
        )


def _sa1b_sources(args: argparse.Namespace, stack: ExitStack) -> Iterator[Source]:
    from builder.sources.sa1b import Selection, open_sources, read_image_ids
    from builder.sources.sample import SCENES, write_sample

    paths = args.sources
    if args.sample:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with Progress(len(SCENES), "picture", "draw the sample", quiet=args.quiet) as progress:
            sample = write_sample(folder, progress.update)
        paths, args.captions = [str(sample.tar)], args.captions or sample.captions
    ids = read_image_ids(args.image_ids, patience_of(args)) if args.image_ids else None
    opened = open_sources(
        paths,
        config=args.config,
        allow_truncated=args.allow_truncated,
        patience=patience_of(args),
        quiet=args.quiet,
    )
    for source in opened:
        yield replace(
            source,
            selection=Selection(ids, args.limit),
            annotations_only=args.annotations_only,
            sample=args.sample,
        )
