"""The options of `builder.build`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import asam_datasets
from builder.captioning.settings import PRESETS
from builder.core.errors import UsageError
from builder.core.layout import CAPTIONS, FORMATS
from builder.core.options import add_patience, number, one_of, out_folder, parser, positive
from builder.shards.part import Part
from builder.shards.plan import DEFAULT_SHARD_SIZE

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
_WHY = {
    "no_resume": ": other machines may be building their parts; choose another --out",
    "caption_model": ": caption first, by builder.caption, and give --captions",
    "dry_run": "",
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the options."""
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


def check_many(args: argparse.Namespace) -> None:
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
            raise UsageError(f"--shards and {shown(option)} exclude each other{_WHY[option]}")


def shown(option: str) -> str:
    """An option's name as it is typed."""
    return "SOURCE" if option == "sources" else f"--{option.replace('_', '-')}"


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
