"""`python -m builder.build`: SA-1B tars and evaluation releases to shards that load."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asam_datasets
from builder.captioning.settings import PRESETS, RunOptions, caption_settings
from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    add_patience,
    counted,
    emit,
    emit_json,
    leave,
    number,
    one_of,
    out_folder,
    parser,
    patience_of,
    positive,
    run_command,
    say,
    sized,
)
from builder.core.errors import UsageError
from builder.core.extras import needs
from builder.core.layout import CAPTIONS, CARD, FORMATS, configs
from builder.shards.plan import DEFAULT_SHARD_SIZE, Settings

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.captioning.run import CaptionSummary
    from builder.core.records import Source
    from builder.sources.sa1b import Sa1bSource

_EXAMPLES = (
    "python -m builder.build --sample --out sample",
    "python -m builder.build sa_000000.tar --captions sa_000000-blip2-caption.json --out dist",
    "python -m builder.build 'tars/sa_*.tar' --out dist --workers 16",
    "python -m builder.build --eval camo --source camo --out suite",
)
MAX_REJECTS = 0.05  # the share that no good source has
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build each source, write the card; returns the exit status."""
    args = _parser().parse_args(argv)
    if args.list_eval:
        return _list_eval(args)
    from builder.card.top import prepare_top, write_top

    dist: Path = args.out
    with ExitStack() as stack:
        sources = list(_sources(args, stack))
        if not args.dry_run:
            prepare_top(dist)
        documents, failed = _build_all(sources, args)
        if not args.dry_run and documents and (configs(dist) or (dist / CARD).exists()):
            write_top(dist)
    if args.json:
        emit_json(documents)
    if failed and len(sources) > 1:
        others = "; the others are built" if failed < len(sources) else ""
        say(f"{failed} of {counted(len(sources), 'source')} failed{others}")
    if not failed and not args.dry_run:
        say(f"next: python -m builder.verify {dist}")
    return EXIT_FAILED if failed else EXIT_OK


def _build_all(
    sources: Sequence[Source], args: argparse.Namespace
) -> tuple[list[dict[str, Any]], int]:
    """Build each source; returns what `--json` prints of those that were built, and the failures.

    If one of several sources fails, the others are built. The error of a single source is raised.
    """
    captioned = _caption(sources, args) if args.caption_model and not args.dry_run else {}
    documents: list[dict[str, Any]] = []
    failed = 0
    for source in sources:
        captions = captioned.get(source.config)
        if captions and captions.error is not None:  # the error was printed during captioning
            failed += 1
            continue
        try:
            document = _build_one(_with_captions(source, args), args)
        except asam_datasets.AsamDatasetsError as error:
            if len(sources) == 1:
                raise
            failed += 1
            say(f"error: {source.config}: {error}")
            continue
        documents.append(document)
        if captions and captions.warning:
            say(captions.warning)
            document["notes"] = [*document["notes"], captions.warning]
        failed += bool(document.get("refused"))
    return documents, failed


def _build_one(source: Source, args: argparse.Namespace) -> dict[str, Any]:
    """Build a source, or estimate its build; returns what `--json` prints of it."""
    from builder.shards.config import build_config
    from builder.shards.summary import tell

    settings = Settings(args.format, args.shard_size)
    if args.dry_run:
        return _dry_run(source, settings, args)
    built = build_config(
        source,
        args.out,
        settings,
        workers=args.workers,
        resume=not args.no_resume,
        max_rejects=args.max_rejects,
        quiet=args.quiet,
    )
    return tell(source, args.out, built, quiet=args.quiet)


def _list_eval(args: argparse.Namespace) -> int:
    from builder.sources import evaluation

    if args.json:
        emit_json(evaluation.list_eval())
    else:
        sys.stdout.write(evaluation.format_list() + "\n")
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    result = parser("build", "Turn SA-1B tars or evaluation releases into shards.", _EXAMPLES)
    what = result.add_argument_group("input")
    what.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a .tar (read in place), a folder of sa_*.jpg and sa_*.json, a glob of either, or a "
        "URL that fsspec opens (https, s3, hf)",
    )
    what.add_argument("--sample", action="store_true", help="build a sample made by code")
    what.add_argument(
        "--eval",
        metavar="NAME",
        type=one_of(asam_datasets.EVAL_DATASETS, "evaluation dataset"),
        help="build an evaluation dataset from its release in --source",
    )
    what.add_argument(
        "--source", type=Path, metavar="FOLDER", help="the folder of the unpacked release"
    )
    what.add_argument(
        "--protocol",
        choices=asam_datasets.PROTOCOLS,
        help="which images and instances to take: native as the release defines them, sam as in "
        "SAM's Table 7, asam as in ASAM's code (default: native)",
    )
    what.add_argument(
        "--list-eval",
        action="store_true",
        help="list the evaluation datasets with their downloads and terms",
    )
    what.add_argument(
        "--eval-fixtures",
        action="store_true",
        help="build all evaluation datasets of the --protocol from tiny releases made by code",
    )
    what.add_argument("--config", help="the config's name (default: from the source's name)")
    what.add_argument(
        "--image-ids", metavar="FILE", help="build only the images with these ids, one on each line"
    )
    what.add_argument("--limit", type=positive, metavar="N", help="build only the first N images")
    what.add_argument(
        "--captions",
        type=Path,
        metavar="FILE",
        help='captions as JSON Lines of "img" and "prompt", or a folder that holds '
        "<config>-blip2-caption.json",
    )
    what.add_argument(
        "--caption-model",
        metavar="MODEL",
        help=f"caption the images first, with a preset of builder.caption ({' or '.join(PRESETS)})"
        " or, without a prompt, with a model of the Hub or in a folder; the captions are kept in "
        f"the dist's {CAPTIONS}, and a run that was stopped continues",
    )
    what.add_argument(
        "--allow-truncated",
        action="store_true",
        help="build the complete members of a truncated tar",
    )
    how = result.add_argument_group("output")
    how.add_argument(
        "--out", type=out_folder, default=Path("dist"), help="the dist (default: dist)"
    )
    how.add_argument(
        "--format",
        choices=FORMATS,
        default="arrow",
        help="the shards' format, the same for all configs of a dist (default: arrow)",
    )
    how.add_argument(
        "--shard-size",
        type=_size,
        default=DEFAULT_SHARD_SIZE,
        metavar="BYTES",
        help="the size that shards have at most on average, such as 128M; the number of shards "
        "is a power of two (default: 256M)",
    )
    how.add_argument(
        "--annotations-only", action="store_true", help="leave the images' pixels out of the rows"
    )
    how.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes (default: one per core, fewer for a small source)",
    )
    how.add_argument(
        "--device",
        metavar="NAME",
        help="the device of --caption-model: auto, cpu, cuda, cuda:N, or several with commas "
        "(default: auto)",
    )
    how.add_argument(
        "--max-rejects",
        type=number(0, 1, open_low=False),
        default=MAX_REJECTS,
        metavar="SHARE",
        help="the largest share of the records, images, masks or lines of captions that may be "
        f"rejected, 0 to 1; with more the build fails (default: {MAX_REJECTS})",
    )
    add_patience(result)
    how.add_argument(
        "--no-resume",
        action="store_true",
        help="build again what is done; shards and receipts of the earlier build are deleted first",
    )
    how.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    return result


def _sources(args: argparse.Namespace, stack: ExitStack) -> Iterator[Source]:
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
    from builder.sources.sample import write_sample

    paths = args.sources
    if args.sample:
        if not args.quiet:
            say("drawing the sample's twelve pictures ...")
        sample = write_sample(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        paths, args.captions = [str(sample.tar)], args.captions or sample.captions
    ids = read_image_ids(args.image_ids, patience_of(args)) if args.image_ids else None
    opened = open_sources(
        paths,
        config=args.config,
        allow_truncated=args.allow_truncated,
        patience=patience_of(args),
    )
    for source in opened:
        yield replace(
            source,
            selection=Selection(ids, args.limit),
            annotations_only=args.annotations_only,
            sample=args.sample,
        )


def _caption(sources: Sequence[Source], args: argparse.Namespace) -> dict[str, CaptionSummary]:
    """Caption the images that have no caption yet; returns each source's summary by its config."""
    from builder.captioning.images import SelectedImages

    with needs("--caption-model", "caption"):
        from builder.captioning.run import caption_sources
    chosen = args.caption_model
    settings = caption_settings(**{"preset" if chosen in PRESETS else "model": chosen})
    options = RunOptions(devices=tuple((args.device or "auto").split(",")), quiet=args.quiet)
    images = [SelectedImages(cast("Sa1bSource", source)) for source in sources]
    summaries = caption_sources(images, args.out / CAPTIONS, settings, options)
    return {summary.config: summary for summary in summaries}


def _with_captions(source: Source, args: argparse.Namespace) -> Source:
    """The source joined to its captions, if there are any."""
    from builder.captioning.join import join_captions

    path = args.out / CAPTIONS if args.caption_model and not args.dry_run else args.captions
    return join_captions(cast("Sa1bSource", source), path) if path else source


def _dry_run(source: Source, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    from builder.shards.config import estimate_config

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


def _size(text: str) -> int:
    number, unit = text.upper().removesuffix("B"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        value = round(float(number) * _UNITS[unit])
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 256M") from error
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than one byte")
    if value > sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is more than any disk holds: try 256M")
    return value


if __name__ == "__main__":
    leave(run_command(main))
