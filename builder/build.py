"""`python -m builder.build`: SA-1B tars and evaluation releases to shards that load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asam_datasets
from builder.captioning.settings import PRESETS, RunOptions, caption_settings
from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    counted,
    emit,
    emit_json,
    leave,
    run_command,
    say,
    sized,
)
from builder.core.errors import SettingsError, UsageError
from builder.core.extras import needs
from builder.core.layout import CAPTIONS, CARD, FORMATS, configs
from builder.core.options import (
    patience_of,
)
from builder.shards.arguments import ENGINES, build_parser, check_many, shown
from builder.shards.plan import DEFAULT_SHARD_SIZE, Settings

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.captioning.run import CaptionSummary
    from builder.core.cluster import RayEngine
    from builder.core.records import Source
    from builder.sources.sa1b import Sa1bSource

# What --finish does without, and why other options are no use with --shards.
_WITHOUT_FINISH = (
    *("sources", "sample", "eval", "source", "eval_fixtures", "protocol", "image_ids", "limit"),
    *("captions", "caption_model", "allow_truncated", "annotations_only", "no_resume", "dry_run"),
)
_WITHOUT_RECAPTION = (
    *(option for option in _WITHOUT_FINISH if option != "captions"),
    *("config", "shards", "finish", "device"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build each source, write the card; returns the exit status."""
    args = build_parser().parse_args(argv)
    if args.list_eval:
        return _list_eval(args)
    check_many(args)
    if args.recaption or args.origin:
        return _recaption(args)
    from builder.card.top import prepare_top, write_top
    from builder.sources.arguments import absolute, chosen_sources

    if args.engine == "ray":  # its workers have another working directory
        args.out = args.out.absolute()
        args.sources = list(map(absolute, args.sources))
        args.source = args.source and args.source.absolute()
    dist: Path = args.out
    if args.finish:
        return _finish(args)
    with ExitStack() as stack:
        sources = list(chosen_sources(args, stack))
        if args.dry_run:
            documents, failed = _estimate_all(sources, args)
        elif args.shards:
            documents, failed = _build_all(sources, args)
        else:
            prepare_top(dist)
            documents, failed = _build_all(sources, args)
            if documents and (configs(dist) or (dist / CARD).exists()):
                write_top(dist)
    if args.json:
        emit_json(documents)
    if failed and len(sources) > 1:
        others = "; the others are built" if failed < len(sources) else ""
        say(f"{failed} of {counted(len(sources), 'source')} failed{others}")
    if not failed and args.shards:
        say(f"next, when all parts are built: python -m builder.build --finish --out {dist}")
    elif not failed and not args.dry_run:
        say(f"next: python -m builder.verify {dist}")
    return EXIT_FAILED if failed else EXIT_OK


def _build_all(
    sources: Sequence[Source], args: argparse.Namespace
) -> tuple[list[dict[str, Any]], int]:
    """Build all sources; returns what `--json` prints of those that were built, and the failures.

    If one of several sources fails, the others are built. The error of a single source is raised.
    """
    from builder.shards.built import Built
    from builder.shards.config import BuildOptions, build_configs
    from builder.shards.summary import tell, tell_all, tell_part

    captioned = _caption(sources, args) if args.caption_model else {}
    # The errors of captioning were printed during captioning.
    good = [s for s in sources if s.config not in captioned or captioned[s.config].error is None]
    documents: dict[str, dict[str, Any]] = {}
    failed = len(sources) - len(good)
    join = partial(_with_captions, args=args)
    settings = Settings(args.format, args.shard_size)
    with ExitStack() as stack:
        options = BuildOptions(
            workers=args.workers,
            resume=not args.no_resume,
            max_rejects=args.max_rejects,
            quiet=args.quiet,
            engine=stack.enter_context(_cluster(args)) if args.engine == "ray" else None,
            part=args.shards,
        )
        ended = build_configs(good, args.out, settings, options, join)
        for source, built in stack.enter_context(closing(ended)):
            if isinstance(built, asam_datasets.AsamDatasetsError):
                if len(sources) == 1:
                    raise built
                failed += 1
                say(f"error: {source.config}: {built}")
                continue
            if not isinstance(built, Built):
                documents[source.config] = tell_part(source.config, built)
                continue
            document = tell(args.out, built, quiet=args.quiet)
            warning = captioned[source.config].warning if source.config in captioned else None
            if warning:
                say(warning)
                document["notes"] = [*document["notes"], warning]
            failed += bool(document["refused"])
            documents[source.config] = document
    ordered = [documents[source.config] for source in good if source.config in documents]
    if len(ordered) > 1 and not args.shards:
        tell_all(ordered)
    return ordered, failed


def _cluster(args: argparse.Namespace) -> RayEngine:
    from builder.core.cluster import RayEngine

    return RayEngine(args.address or "auto")


def _estimate_all(
    sources: Sequence[Source], args: argparse.Namespace
) -> tuple[list[dict[str, Any]], int]:
    """Estimate the build of all sources; returns as `_build_all`."""
    settings = Settings(args.format, args.shard_size)
    documents: list[dict[str, Any]] = []
    for source in sources:
        try:
            documents.append(_dry_run(_with_captions(source, args), settings, args))
        except asam_datasets.AsamDatasetsError as error:
            if len(sources) == 1:
                raise
            say(f"error: {source.config}: {error}")
    return documents, len(sources) - len(documents)


def _finish(args: argparse.Namespace) -> int:
    """Write the indexes of configs whose parts are built, and the card; returns the exit status."""
    from builder.card.top import prepare_top, write_top
    from builder.shards.finish import finish_config, planned_configs
    from builder.shards.summary import tell, tell_all

    dist: Path = args.out
    for option in _WITHOUT_FINISH:
        if getattr(args, option):
            raise UsageError(
                f"--finish takes no {shown(option)}: all is in the plan that the parts stored; "
                "give --out, and --config NAME for one config of several"
            )
    found = [args.config] if args.config else planned_configs(dist)
    if not found:
        raise SettingsError(f"{dist}: no part of a config was built there")
    prepare_top(dist)
    documents: list[dict[str, Any]] = []
    failed = 0
    for config in found:
        try:
            built = finish_config(dist, config, args.max_rejects)
        except asam_datasets.AsamDatasetsError as error:
            if len(found) == 1:
                raise
            failed += 1
            say(f"error: {config}: {error}")
            continue
        documents.append(tell(dist, built, quiet=args.quiet))
        failed += bool(documents[-1]["refused"])
    if documents and (configs(dist) or (dist / CARD).exists()):
        write_top(dist)
    if args.json:
        emit_json(documents)
    if len(documents) > 1:
        tell_all(documents)
    if not failed:
        say(f"next: python -m builder.verify {dist}")
    return EXIT_FAILED if failed else EXIT_OK


def _recaption(args: argparse.Namespace) -> int:
    """Give a config other captions, and write the card anew; returns the exit status."""
    if not (args.recaption and args.captions):
        raise UsageError(
            "--recaption CONFIG, --captions FILE and --from DIST-OR-REPO go together; --from is "
            "--out by default"
        )
    for option in _WITHOUT_RECAPTION:
        if getattr(args, option):
            raise UsageError(
                f"--recaption takes no {shown(option)}: all but the captions stays as the config "
                "was built"
            )
    if (
        args.engine != ENGINES[0]
        or args.format != FORMATS[0]
        or args.shard_size != (DEFAULT_SHARD_SIZE)
    ):
        raise UsageError(
            "--recaption takes no --engine, --format and --shard-size: it runs on this machine, "
            "and the shards stay those of the config"
        )
    from builder.card.top import prepare_top, write_top
    from builder.shards.recaption import RecaptionOptions, recaption_config
    from builder.shards.summary import tell

    dist: Path = args.out
    options = RecaptionOptions(args.workers, args.max_rejects, args.quiet, patience_of(args))
    prepare_top(dist)
    built = recaption_config(args.recaption, args.captions, args.origin or str(dist), dist, options)
    document = tell(dist, built, quiet=args.quiet)
    write_top(dist)
    if args.json:
        emit_json([document])
    say(f"next: python -m builder.verify {dist}")
    return EXIT_OK


def _list_eval(args: argparse.Namespace) -> int:
    from builder.sources import evaluation

    if args.json:
        emit_json(evaluation.list_eval())
    else:
        sys.stdout.write(evaluation.format_list() + "\n")
    return EXIT_OK


def _caption(sources: Sequence[Source], args: argparse.Namespace) -> dict[str, CaptionSummary]:
    """Caption the images that have no caption yet; returns each source's summary by its config."""
    from builder.captioning.images import SelectedImages

    with needs("--caption-model", "caption"):
        from builder.captioning.run import caption_sources
    chosen = args.caption_model
    settings = caption_settings(**{"preset" if chosen in PRESETS else "model": chosen})
    options = RunOptions(
        devices=tuple((args.device or "auto").split(",")),
        quiet=args.quiet,
        address=(args.address or "auto") if args.engine == "ray" else None,
    )
    images = [SelectedImages(cast("Sa1bSource", source)) for source in sources]
    summaries = caption_sources(images, args.out / CAPTIONS, settings, options)
    return {summary.config: summary for summary in summaries}


def _with_captions(source: Source, args: argparse.Namespace) -> Source:
    """The source joined to its captions, if there are any."""
    from builder.captioning.join import join_captions

    path = args.out / CAPTIONS if args.caption_model and not args.dry_run else args.captions
    return join_captions(cast("Sa1bSource", source), path) if path else source


def _dry_run(source: Source, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    from builder.shards.estimate import estimate_config

    plan = estimate_config(source, settings, workers=args.workers)
    if not args.json:
        emit(
            f"{plan.config}: {counted(plan.images, 'image')}, about {counted(plan.masks, 'mask')}, "
            f"{counted(plan.shards, f'{settings.fmt} shard')}, about {sized(plan.bytes)}, about "
            f"{plan.seconds:,.0f} s with {counted(plan.workers, 'worker')}"
        )
    probes = counted(plan.probes, "image")
    say(f"{plan.config}: estimated from {probes}; nothing was written")
    return asdict(plan)


if __name__ == "__main__":
    leave(run_command(main))
