"""`python -m builder.export`: a config as the folder tree that ASAM's own code reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    counted,
    default_workers,
    emit_json,
    leave,
    run_command,
    say,
)
from builder.core.options import add_patience, out_folder, parser, patience_of, positive, utf8
from builder.exporting.options import MISSING_CAPTIONS, REFUSE, SPLIT_NAMES, TRAIN

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.exporting.result import Exported

EXAMPLES = (
    "python -m builder.export sa_000000 --from dist --out SAM-1B",
    "python -m builder.export sa_000000 --from xhk/ASAM-Datasets --out SAM-1B --workers 8",
    "python -m builder.export sa_000138 --from dist --out SAM-1B --split-name validation",
    "python -m builder.export camo --from dist --out testdata",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, export, report; returns the exit status."""
    args_parser = parser(
        "export",
        "Write a config as the folder tree that ASAM's own code reads: images, records, control "
        "images, a folder of masks for each image, captions. Evaluation configs become imgs/ and "
        "gts/, or imgs/ and a COCO file. After an interruption, run the same command again: it "
        "continues where it was stopped.",
        EXAMPLES,
    )
    add = args_parser.add_argument
    add("config", metavar="CONFIG", help="such as sa_000000")
    add("--from", dest="origin", required=True, metavar="DIST|REPO", help="a dist or a Hub repo")
    add(
        "--out",
        type=out_folder,
        required=True,
        metavar="DIR",
        help="output folder (ASAM's code calls it SAM-1B)",
    )
    add(
        "--revision",
        type=utf8,
        help="a branch, tag or commit of the Hub repo (default: the newest commit)",
    )
    add(
        "--missing-captions",
        choices=MISSING_CAPTIONS,
        default=REFUSE,
        help="for images without a caption: refuse to start, skip them, or write an empty caption "
        "(default: refuse)",
    )
    add(
        "--skip-empty",
        action="store_true",
        help="leave out images without a mask, because ASAM's tuning stops at them",
    )
    add(
        "--split-name",
        choices=SPLIT_NAMES,
        default=TRAIN,
        help="split name in the file name of the pairs list, CONFIG-controlnet-NAME.json (default: "
        "train)",
    )
    add(
        "--image-root",
        type=Path,
        metavar="PATH",
        help="your own tar or folder of images, for a config that was built without pixels",
    )
    add(
        "--workers",
        type=positive,
        default=default_workers(),
        help="processes (default: one per core)",
    )
    add_patience(args_parser)
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="no progress bar, no summary")
    args = args_parser.parse_args(argv)
    from builder.core import pool
    from builder.exporting.origin import Origin
    from builder.exporting.tree import export_config

    exported = export_config(
        Origin(args.origin, args.config, args.revision, args.image_root, patience_of(args)),
        args.out,
        missing_captions=args.missing_captions,
        skip_empty=args.skip_empty,
        split_name=args.split_name,
        workers=args.workers,
        quiet=args.quiet,
        engine=pool.run,
    )
    if args.json:
        emit_json(exported.as_json())
    elif not args.quiet:
        say(*_summary(exported))
    if not exported.counts["images"]:
        say(f"error: {args.config}: every image was left out, so the tree has none")
        return EXIT_FAILED
    return EXIT_OK


def _summary(exported: Exported) -> list[str]:
    counts = exported.counts
    lines = [
        f"{exported.folder}: {counted(counts['images'], 'image')} with "
        f"{counted(counts['masks'], 'mask')} in "
        f"{exported.seconds:.1f} s; {counts['images'] - counts['written']:,} of them were there "
        "already",
        *(f"{path}" for path in exported.files),
    ]
    lines += [
        f"{said}: {counts[key]:,}{then}"
        for key, said, then in (
            ("without_masks", "images without a mask, in the tree", _empty_folders(exported)),
            ("left_out_without_masks", "images left out because they have no mask", ""),
            ("without_caption", "images without a caption, in the tree with an empty one", ""),
            ("left_out_without_caption", "images left out because they have no caption", ""),
            (
                "rejected_annotations",
                "annotations of these images that the build rejected, so they have no mask here",
                "",
            ),
            (
                "turned",
                "images that an EXIF orientation turns",
                "; the masks fit them turned, and ASAM's loaders read them as they are stored",
            ),
        )
        if counts[key]
    ]
    truths = [loader["gt_dir"] for loader in exported.loaders if loader.get("gt_ext")]
    if any("sam" in truth for truth in truths):
        lines.append(
            'note: if a path contains "sam", ASAM\'s OnlineDataset expects two images side by '
            "side in each file: use a path that does not contain it"
        )
    lines.append("for train_datasets or valid_datasets in ASAM's main.py:")
    lines += [f"  {loader}" for loader in exported.loaders]
    return lines


def _empty_folders(exported: Exported) -> str:
    if exported.kind != "train":
        return ""
    return "; ASAM's tuning stops at their empty folders; --skip-empty leaves them out"


if __name__ == "__main__":
    leave(run_command(main))
