"""`python -m builder.build`: SA-1B tars and evaluation releases to shards that load."""

from __future__ import annotations

import argparse
import re
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
    add_patience,
    number,
    one_of,
    out_folder,
    parser,
    patience_of,
    positive,
)
from builder.shards.part import Part
from builder.shards.plan import DEFAULT_SHARD_SIZE, Settings

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.captioning.run import CaptionSummary
    from builder.core.cluster import RayEngine
    from builder.core.records import Source
    from builder.sources.sa1b import Sa1bSource

_EXAMPLES = (
    "python -m builder.build --sample --out sample",
    "python -m builder.build sa_000000.tar --captions sa_000000-blip2-caption.json --out dist",
    "python -m builder.build 'tars/sa_*.tar' --out dist --workers 16",
    "python -m builder.build --eval camo --source camo --out suite",
    "python -m builder.build 'tars/sa_*.tar' --out dist --shards 3/64",
    "python -m builder.build --finish --out dist",
    "python -m builder.build 'tars/sa_*.tar' --out dist --engine ray --address auto",
    "python -m builder.build --recaption sa_000000 --captions captions --from dist --out dist",
)
ENGINES = ("local", "ray")
MAX_REJECTS = 0.05  # the share that no good source has
# What --finish does without, and why other options are no use with --shards.
_WITHOUT_FINISH = (
    *("sources", "sample", "eval", "source", "eval_fixtures", "protocol", "image_ids", "limit"),
    *("captions", "caption_model", "allow_truncated", "annotations_only", "no_resume", "dry_run"),
)
_WITHOUT_RECAPTION = (
    *(option for option in _WITHOUT_FINISH if option != "captions"),
    *("config", "shards", "finish", "device"),
)
_WHY = {
    "no_resume": ": other machines may be building their parts; choose another --out",
    "caption_model": ": caption first, by builder.caption, and give --captions",
    "dry_run": "",
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build each source, write the card; returns the exit status."""
    args = _parser().parse_args(argv)
    if args.list_eval:
        return _list_eval(args)
    _check_many(args)
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
                f"--finish takes no {_shown(option)}: all is in the plan that the parts stored; "
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
                f"--recaption takes no {_shown(option)}: all but the captions stays as the config "
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


def _check_many(args: argparse.Namespace) -> None:
    """Refuse options about many machines that contradict each other or the rest."""
    if args.address and args.engine != "ray":
        raise UsageError("--address is for --engine ray: add it, or leave --address out")
    if args.workers and args.engine == "ray":
        raise UsageError(
            "--workers is for this machine; the cluster's CPUs decide with --engine ray"
        )
    if args.finish and args.shards:
        raise UsageError("--shards builds a part, --finish joins all parts: give one of them")
    for option in ("no_resume", "caption_model", "dry_run"):
        if args.shards and getattr(args, option):
            raise UsageError(f"--shards and {_shown(option)} exclude each other{_WHY[option]}")


def _shown(option: str) -> str:
    return "SOURCE" if option == "sources" else f"--{option.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    result = parser("build", "Turn SA-1B tars or evaluation releases into shards.", _EXAMPLES)
    what = result.add_argument_group("input")
    what.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a .tar (read in place), a folder of sa_*.jpg and sa_*.json, a glob of either, a "
        "URL that fsspec opens (https, s3, hf), or SA-1B's links file (a .txt)",
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
        "--recaption",
        metavar="CONFIG",
        help="give a config that is built already the --captions, without its tar; the rest of its "
        "rows stays as it is, and nothing is decoded",
    )
    what.add_argument(
        "--from",
        dest="origin",
        metavar="DIST-OR-REPO",
        help="where --recaption finds the config: a dist or a repo on the Hub (default: --out)",
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
    many = result.add_argument_group("many machines")
    many.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="what builds the shards: processes of this machine, or the nodes of a Ray cluster, "
        "which must see the same paths (default: local)",
    )
    many.add_argument(
        "--address",
        help="the Ray cluster's address, or auto for the one that this machine belongs to "
        "(default: auto)",
    )
    many.add_argument(
        "--shards",
        type=_part,
        metavar="K/N",
        help="build the K-th of N parts of all shards, for N machines that share --out, and write "
        "no index; --finish does that when all parts are built",
    )
    many.add_argument(
        "--finish",
        action="store_true",
        help="write index and card of what --shards built in --out; needs no SOURCE",
    )
    how.add_argument(
        "--no-resume",
        action="store_true",
        help="build again what is done; shards and receipts of the earlier build are deleted first",
    )
    how.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    return result


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


def _part(text: str) -> Part:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part K/N such as 3/64")
    return Part(int(match[1]), int(match[2]))


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
