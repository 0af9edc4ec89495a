"""`python -m builder.caption`: captions for the images of SA-1B tars, folders or built configs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.captioning.families import FAMILIES
from builder.captioning.settings import (
    DTYPES,
    ENGINES,
    PRESETS,
    SEARCHES,
    CaptionSettings,
    RunOptions,
    caption_settings,
)
from builder.core.console import EXIT_FAILED, EXIT_OK, counted, emit_json, leave, run_command, say
from builder.core.errors import UsageError
from builder.core.extras import needs
from builder.core.options import (
    add_patience,
    out_folder,
    parser,
    patience_of,
    positive,
    utf8,
    whole,
)

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.captioning.run import CaptionSummary

_EXAMPLES = (
    "python -m builder.caption sa_000000.tar --out captions",
    "python -m builder.caption 'tars/sa_*.tar' --out captions --device cuda:0,cuda:1",
    "python -m builder.caption 'tars/sa_*.tar' --out captions --engine ray --address auto",
    "python -m builder.caption dist --config sa_000000 --out captions",
    "python -m builder.caption sa_000000.tar --out captions --preset asam --model ./coco",
    "python -m builder.caption sa_000000.tar --out captions --preset pretrained",
)


_RAY = "ray"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, caption each source, report; returns the exit status."""
    args = _parser().parse_args(argv)
    if args.address and args.engine != _RAY:
        raise UsageError("--address is for --engine ray: add it, or leave --address out")
    from builder.captioning.images import open_images
    from builder.sources.arguments import absolute

    with needs("captioning", "caption"):
        from builder.captioning.run import caption_sources
    settings = caption_settings(
        args.preset,
        model=args.model,
        revision=args.revision,
        prompt=args.prompt,
        num_beams=args.beams,
        max_new_tokens=args.max_new_tokens,
        search=args.search,
        dtype=args.dtype,
        dct_scaling=args.dct_scaling or None,
    )
    options = RunOptions(
        devices=tuple(args.device.split(",")),
        engine="auto" if args.engine == _RAY else args.engine,
        batch=args.batch_size,
        threads=args.threads,
        limit=args.limit,
        force_mix=args.force_mix,
        retry_rejects=args.retry_rejects,
        quiet=args.quiet,
        address=(args.address or "auto") if args.engine == _RAY else None,
    )
    paths = args.sources
    if args.engine == _RAY:  # its workers have another working directory
        paths = list(map(absolute, paths))
    sources = open_images(
        paths,
        config=args.config,
        allow_truncated=args.allow_truncated,
        patience=patience_of(args),
        quiet=args.quiet,
    )
    summaries = caption_sources(sources, args.out, settings, options)
    for summary in summaries:
        if summary.error is None:
            _report(summary)
    if args.json:
        emit_json([summary.as_json() for summary in summaries])
    failed = [summary.config for summary in summaries if summary.error is not None]
    if failed and len(summaries) > 1:
        others = "; the others are captioned" if len(failed) < len(summaries) else ""
        total = counted(len(summaries), "source")
        say(f"{len(failed)} of {total} failed: {', '.join(failed)}{others}")
    return EXIT_FAILED if failed else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    result = parser(
        "caption",
        "Caption images as ASAM did: BLIP-2 with Flan-T5 XL, fine-tuned on COCO, at 364 pixels, "
        'prompt "a photo of", 5 beams. Writes <config>-blip2-caption.json (JSON Lines), its '
        "provenance and its rejects. After an interruption, run the same command again: it "
        "continues where it was stopped.",
        _EXAMPLES,
    )
    defaults, run = CaptionSettings(), RunOptions()
    pretrained = PRESETS["pretrained"].model
    what = result.add_argument_group("input and output")
    what.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a .tar, a folder of images, a glob of either, a URL that fsspec opens, SA-1B's links "
        "file (a .txt), a dist, or a config's folder in a dist",
    )
    what.add_argument(
        "--out", type=out_folder, required=True, help="the folder of the captions files"
    )
    what.add_argument(
        "--config", help="of a dist, the config to caption; of a tar or folder, the config's name"
    )
    what.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    what.add_argument(
        "--allow-truncated",
        action="store_true",
        help="caption the complete members of a truncated tar",
    )
    what.add_argument(
        "--force-mix",
        action="store_true",
        help="add to a captions file that was made with other settings",
    )
    what.add_argument("--retry-rejects", action="store_true", help="try rejected images again")
    model = result.add_argument_group("model (these options decide the captions)")
    model.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help=f'asam, the default: {defaults.model}, 364 pixels, prompt "{defaults.prompt}"; '
        f"pretrained: {pretrained}, 224 pixels, no prompt. The options below override it. With "
        "--model and without --preset, there is no preset, unless the model is that of one",
    )
    model.add_argument(
        "--model",
        help="a Hub repo or folder (default: the preset's); accepted are "
        f"{', '.join(each.name for each in FAMILIES)}",
    )
    model.add_argument("--revision", type=utf8, help="a branch, tag or commit of the Hub repo")
    model.add_argument(
        "--prompt",
        help='text that the caption continues, "" for none (default: the preset\'s, or none '
        "without a preset)",
    )
    model.add_argument(
        "--beams",
        type=positive,
        help=f"the number of beams of the search (default: {defaults.num_beams})",
    )
    model.add_argument(
        "--max-new-tokens",
        type=positive,
        help=f"the most tokens of a caption (default: {defaults.max_new_tokens})",
    )
    model.add_argument(
        "--search",
        choices=SEARCHES,
        help="the rules of beam search: lavis are those of transformers 4.33.2, which LAVIS pins, "
        "and only for BLIP-2 with a T5; transformers are those of transformers 5; auto is lavis "
        "for BLIP-2 with a T5, transformers for other models (default: auto)",
    )
    model.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default=defaults.dtype,
        help="asam rounds where LAVIS's autocast does on a GPU; fast rounds more: float16 vision, "
        "bfloat16 T5; both are only for BLIP-2 with a T5; auto is float32 on the CPU; on a GPU it "
        "is asam for BLIP-2 with a T5, bfloat16 for other models (default: %(default)s)",
    )
    model.add_argument(
        "--dct-scaling",
        action="store_true",
        help="let the JPEG decoder scale images down first, which is faster and changes some "
        "captions; only for models whose processor does no more than resize and normalize",
    )
    how = result.add_argument_group("speed (these options do not change captions)")
    how.add_argument(
        "--device",
        default=",".join(run.devices),
        help="auto, cpu, cuda, cuda:N, or several with commas (default: %(default)s)",
    )
    how.add_argument(
        "--batch-size",
        type=whole(1, word="auto"),
        metavar="N",
        help="images at a time, or auto (default: auto)",
    )
    how.add_argument(
        "--engine",
        choices=(*ENGINES, _RAY),
        default=run.engine,
        help="continuous is for BLIP-2 with a T5; generate is that of transformers, for all "
        "models; ray is auto on the devices of a Ray cluster, which must see the same paths "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--address",
        help="with --engine ray, the cluster's address, or auto for the one that this machine "
        "belongs to (default: auto)",
    )
    how.add_argument(
        "--threads", type=positive, help="threads that decode images (default: one per core)"
    )
    add_patience(result)
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    how.add_argument("--quiet", action="store_true", help="print no progress")
    return result


def _report(summary: CaptionSummary) -> None:
    from builder.captioning.store import rejects_path

    rejected = sum(summary.rejects.values())
    say(
        f"{summary.config}: {counted(summary.captions, 'caption')} "
        f"({counted(summary.made, 'image')} processed in this run), "
        f"{counted(rejected, 'reject')}, {summary.seconds:,.1f} s, in {summary.path}"
    )
    for reason, count in sorted(summary.rejects.items()):
        say(f"  rejected {count:,} x {reason} (see {rejects_path(summary.path).name})")
    if summary.warning:
        say(summary.warning)
    say(f"next: python -m builder.build SOURCE --captions {summary.path}")


if __name__ == "__main__":
    leave(run_command(main))
