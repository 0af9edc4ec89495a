"""Evaluate SAM with box prompts: the mIoU of each dataset, as SAM and as ASAM compute it.

    python examples/evaluate.py
    python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base \
        --configs hrsod_te_asam coco2017_asam
    python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base \
        --tokens asam_decoder_epoch_19.pth --configs coco2017_asam

The first line builds tiny releases that are made by code, in the layouts of the real ones. It runs
a tiny SAM with random weights on them, without a download or a GPU.
`--tokens` is a decoder checkpoint of ASAM's training, or `tokens.pth` of examples/finetune_sam.py.
ASAM differs from SAM only in two tensors, which are read from this file.

The box of each annotation's mask is the prompt for one predicted mask. Both masks are compared at
the image's own size, without the pixels of `void_mask`. SAM's paper averages over all masks of a
dataset. ASAM's code averages over the masks of each image, then over the images.

ASAM's code resizes every image to a square of 1024 pixels and takes the box from the mask in that
square (`--resize square`, the default). SAM's code keeps the proportions and scales the mask's own
box (`--resize pad`). builder/evaluating/preprocess.py does both as the authors' code does. To
compare with the paper, take the configs whose names end in `_asam`. They hold the images and masks
that ASAM's code reads. Crowds (`iscrowd`) are counted only in these configs.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import asam_datasets
from builder import build
from builder.core.console import Progress, emit_json, run_command, say
from builder.core.errors import SettingsError
from builder.core.extras import program_needs
from builder.core.options import Parser, out_folder, positive, whole
from builder.core.rows import image_bytes
from builder.core.shown import show

EXAMPLES = """examples:
  python examples/evaluate.py
  python examples/evaluate.py --data dist --configs sa_000000 --steps 2 --json
  python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base
"""
OF_THE_PAPER = ["hrsod_te_asam", "coco2017_asam"]  # what ASAM's released code evaluates


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = Parser(
        description="Evaluate SAM with box prompts: mIoU per dataset, beside ASAM's paper.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--data", metavar="DIST|REPO", help="a dist or a Hub repo (default: builds tiny ones)")
    add(
        "--configs",
        nargs="+",
        default=OF_THE_PAPER,
        metavar="CONFIG[:SPLIT]",
        help=f"default: {' '.join(OF_THE_PAPER)}",
    )
    add("--model", default="tiny", help="a SAM's repo or folder (default: a tiny one)")
    add("--tokens", type=Path, metavar="FILE", help="output tokens of ASAM's training")
    add(
        "--resize",
        choices=("square", "pad"),
        default="square",
        help="square is ASAM's way, pad is SAM's (default: square)",
    )
    add("--image-root", metavar="TAR|DIR", help="your images, for a config without pixels")
    add(
        "--out",
        type=out_folder,
        default=Path("out/evaluate"),
        help="where the tiny sets are built (default: out/evaluate)",
    )
    add("--steps", type=positive, metavar="N", help="only the first N images of each config")
    add("--seed", type=whole(0), default=0, help="seed of the tiny model's weights (default: 0)")
    add(
        "--masks-at-once",
        type=positive,
        default=16,
        help="how many full-size masks are in memory at a time (default: 16)",
    )
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="no progress bar")
    return result


if __name__ == "__main__":  # --help and mistakes, before imports that take seconds
    parser().parse_args()

with program_needs("examples/evaluate.py", "examples"):
    import datasets
    import torch

    from builder.evaluating.preprocess import Pad, Preprocess, Square
    from builder.evaluating.sam import TINY, load_sam, silence, take_tokens


# mIoU in percent of SAM and of ASAM, ViT-B with box prompts: the table of ASAM's paper
# (assets/performance.png of github.com/luckybird1994/ASAM).
PUBLISHED = {
    "doors": (86.5, 87.1),
    "lvis": (80.7, 81.2),
    "zerowaste_f": (43.0, 46.9),
    "ndispark": (81.8, 82.2),
    "egohos": (81.1, 82.0),
    "plittersdorf": (78.7, 79.0),
    "bbbc038v1": (84.8, 85.0),
    "ade20k": (74.7, 75.5),
    "voc2012": (79.1, 80.6),
    "cityscapes": (54.1, 56.0),
    "coco2017": (77.5, 79.4),
    "hrsod_te": (88.9, 91.3),
    "camo": (70.7, 73.0),
    "big": (85.5, 87.0),
}

Mask = npt.NDArray[np.bool_]


# Data -------------------------------------------------------------------------------------------


def open_stream(args: argparse.Namespace, name: str) -> datasets.IterableDataset:
    """The rows of "config" or "config:split" with only the necessary columns, undecoded."""
    config, _, split = name.partition(":")
    options = {"repo_or_path": args.data, "streaming": True, "image_root": args.image_root}
    every = asam_datasets.load(config, split or None, **options)
    columns = [c for c in ("image", "annotations", "void_mask") if c in every.features]
    return asam_datasets.load(config, split or None, columns=columns, **options).decode(False)


def rows_of(args: argparse.Namespace, name: str) -> int:
    """How many rows of "config" or "config:split" are evaluated."""
    config, _, split = name.partition(":")
    index = asam_datasets.open_index(asam_datasets.open_store(args.data), config)
    return min(args.steps or sys.maxsize, index.split(split or None).num_rows)


def masks_of(row: dict[str, Any], crowds: bool, at_once: int) -> Iterator[Mask]:
    """Yield the masks of a row that are not empty, bool (n, H, W), at most `at_once` at a time."""
    annotations = [a for a in row["annotations"] if crowds or not a.get("iscrowd")]
    for start in range(0, len(annotations), at_once):
        masks = asam_datasets.decode_masks(annotations[start : start + at_once]).astype(bool)
        yield masks[masks.any((1, 2))]


# Model ------------------------------------------------------------------------------------------


@dataclass
class Segmenter:
    """A SAM, and the way in which images and boxes get into its input square."""

    model: Any
    preprocess: Preprocess
    device: torch.device

    def look(self, image: Image.Image) -> torch.Tensor:
        """Encode an image. The result is an argument of `masks`."""
        embedding: torch.Tensor = self.model.get_image_embeddings(
            self.preprocess.image(image).to(self.device)
        )
        return embedding

    def masks(self, embedding: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> Mask:
        """The mask that the model finds for each box.

        Parameters
        ----------
        embedding
            An image, as `look` gives it.
        boxes
            float32 (n, 4), XYXY in the model's square.
        size
            The image's height and width.

        Returns
        -------
        numpy.ndarray
            bool (n, height, width).
        """
        logits = self.model(
            image_embeddings=embedding,
            input_boxes=boxes[None].to(self.device),
            multimask_output=False,
        ).pred_masks[0]  # (n, 1, side / 4, side / 4)
        found: Mask = self.preprocess.masks(logits, size)[:, 0].cpu().numpy()
        return found


# Scores -----------------------------------------------------------------------------------------


@dataclass
class Scores:
    """The IoU of every mask of a dataset, image by image."""

    name: str
    images: list[list[float]] = field(default_factory=list)

    @property
    def masks(self) -> int:
        """How many masks were compared."""
        return sum(map(len, self.images))

    @property
    def over_masks(self) -> float:
        """The mean over all masks in percent, as in SAM's paper."""
        return 100 * fmean(iou for image in self.images for iou in image)

    @property
    def over_images(self) -> float:
        """The mean of the images' means over their masks in percent, as in ASAM's code."""
        return 100 * fmean(map(fmean, self.images))

    @property
    def published(self) -> tuple[float, float] | None:
        """The numbers of the paper for SAM and ASAM, if it has this dataset."""
        config = self.name.partition(":")[0]
        return PUBLISHED.get(config.removesuffix("_asam").removesuffix("_sam"))


def ious(found: Mask, wanted: Mask, counted: Mask) -> list[float]:
    """Intersection over union of n pairs of masks (n, H, W) over the `counted` pixels (H, W).

    A mask that lies entirely outside the counted pixels has no IoU and is left out.
    """
    found, wanted = found & counted, wanted & counted
    present = wanted.any((1, 2))
    both = (found & wanted).sum((1, 2))[present]
    either = (found | wanted).sum((1, 2))[present]
    result: list[float] = (both / either).tolist()
    return result


def evaluate(args: argparse.Namespace, segmenter: Segmenter, name: str) -> Scores:
    """Run over the first `args.steps` images of a config."""
    scores, vanished = Scores(name), 0
    stream = open_stream(args, name)
    crowds = name.partition(":")[0].endswith("_asam")
    rows = rows_of(args, name)
    with Progress(rows, "image", name, quiet=args.quiet) as progress, torch.inference_mode():
        for row in islice(stream, rows):
            image = show(image_bytes(row))
            size = image.height, image.width
            embedding = segmenter.look(image)
            counted = np.ones(size, bool)
            if row.get("void_mask"):
                counted &= ~np.array(Image.open(io.BytesIO(row["void_mask"]["bytes"])), bool)
            image_ious = []
            for masks in masks_of(row, crowds, args.masks_at_once):
                if len(masks):
                    boxes = segmenter.preprocess.boxes(masks)
                    vanished += int((boxes[:, 0] > boxes[:, 2]).sum())
                    image_ious += ious(segmenter.masks(embedding, boxes, size), masks, counted)
            if image_ious:
                scores.images.append(image_ious)
            progress.update(masks=str(scores.masks))
    if vanished:
        say(
            f"note: {name}: masks too small for the model's square, with an empty box as in "
            f"ASAM's code: {vanished:,}"
        )
    if not scores.images:
        raise asam_datasets.AsamDatasetsError(f"{name}: no image has a mask to compare with")
    return scores


# Command ----------------------------------------------------------------------------------------


def table(results: list[Scores], title: str) -> str:
    """The results beside the paper's, as Markdown."""
    lines = [
        title,
        "",
        "| config | images | masks | mIoU over masks (SAM's way) | mIoU over images (ASAM's way) "
        "| paper: SAM | paper: ASAM |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for s in results:
        sam, asam = (f"{value:.1f}" for value in s.published) if s.published else ("", "")
        lines.append(
            f"| {s.name} | {len(s.images):,} | {s.masks:,} | {s.over_masks:.1f} "
            f"| {s.over_images:.1f} | {sam} | {asam} |"
        )
    return "\n".join(lines) + "\n"


def fixtures(place: Path) -> str:
    """Build a dist of all evaluation sets with a few images made by code, if it is not there."""
    if not all((place / "data" / name / "index.json").exists() for name in OF_THE_PAPER):
        say(f"building tiny evaluation sets in {place}")
        with redirect_stderr(io.StringIO()):
            status = build.main(
                ["--eval-fixtures", "--protocol", "asam", "--out", str(place), "--quiet"]
            )
        if status:
            raise SettingsError(f"{place}: the tiny sets can't be built there: give another --out")
    return str(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, evaluate, print the table."""
    args = parser().parse_args(argv)
    if args.quiet:
        silence()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random_weights = args.model == TINY
    args.data = args.data or fixtures(args.out / "fixtures")
    for name in args.configs:  # a mistake in --data or --configs is told before the model is loaded
        open_stream(args, name)
    torch.manual_seed(args.seed)
    model = load_sam(args.model)
    if args.tokens:
        take_tokens(model, args.tokens)
    side = int(model.config.vision_config.image_size)
    preprocess = Square(side) if args.resize == "square" else Pad(side)
    segmenter = Segmenter(model.to(device).eval(), preprocess, device)
    results = [evaluate(args, segmenter, name) for name in args.configs]
    title = f"{args.model}, boxes, {args.resize} input"
    if random_weights:
        title += ": RANDOM WEIGHTS, so these numbers say that the code runs and nothing more"
    if args.json:
        rows = [
            {
                "config": s.name,
                "images": len(s.images),
                "masks": s.masks,
                "miou_over_masks": s.over_masks,
                "miou_over_images": s.over_images,
                "published_sam_asam": s.published,
            }
            for s in results
        ]
        emit_json({"title": title, "random_weights": random_weights, "results": rows})
    else:
        sys.stdout.write(table(results, title))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
