"""Evaluate SAM with box prompts: mIoU per dataset, as SAM and as ASAM compute it.

    python examples/evaluate.py
    python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base \
        --configs hrsod_te_asam coco2017_asam
    python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base \
        --tokens asam_decoder_epoch_19.pth --configs coco2017_asam

The first line builds tiny releases made by code, in the layouts of the true ones, and runs a tiny
SAM of random weights on them: no download, no GPU.
`--tokens` is a decoder checkpoint of ASAM's training (or `tokens.pth` of examples/finetune_sam.py):
ASAM differs from SAM in those two tensors alone.

Each annotation's mask gives the box, one mask is predicted for it, and the two are compared at the
image's own size, without the pixels of `void_mask`. SAM's paper averages over all masks of a
dataset, ASAM's code over the masks of each image, then over images. ASAM's code squeezes every
image into a square of 1024 pixels (`--resize square`, the default), SAM's keeps the proportions
(`--resize pad`). To compare with the paper take the configs whose names end in `_asam`: they hold
the images and masks that ASAM's code reads, and only there are crowds (`iscrowd`) counted.
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

import datasets
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import (
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

import asam_datasets
from builder import build
from builder.core.console import Progress, emit_json, say

EXAMPLES = """examples:
  python examples/evaluate.py
  python examples/evaluate.py --data dist --configs sa_000000 --steps 2 --json
  python examples/evaluate.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base
"""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # SAM's, of RGB in 0..255
OF_THE_PAPER = ["hrsod_te_asam", "coco2017_asam"]  # what ASAM's released code evaluates

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
    """The rows of "config" or "config:split", of only the columns needed, undecoded."""
    config, _, split = name.partition(":")
    options = {"repo_or_path": args.data, "streaming": True, "image_root": args.image_root}
    every = asam_datasets.load(config, split or None, **options)
    columns = [c for c in ("image", "annotations", "void_mask") if c in every.features]
    return asam_datasets.load(config, split or None, columns=columns, **options).decode(False)


def masks_of(row: dict[str, Any], crowds: bool, at_once: int) -> Iterator[Mask]:
    """The masks of a row that are not empty, bool (n, H, W), at most `at_once` at a time."""
    annotations = [a for a in row["annotations"] if crowds or not a.get("iscrowd")]
    for start in range(0, len(annotations), at_once):
        masks = asam_datasets.decode_masks(annotations[start : start + at_once]).astype(bool)
        yield masks[masks.any((1, 2))]


def boxes_of(masks: Mask) -> npt.NDArray[np.float32]:
    """The outermost pixels of each mask, XYXY (n, 4)."""
    columns, rows = masks.max(1), masks.max(2)
    width, height = columns.shape[1], rows.shape[1]
    edges = (
        columns.argmax(1),
        rows.argmax(1),
        width - 1 - columns[:, ::-1].argmax(1),
        height - 1 - rows[:, ::-1].argmax(1),
    )
    return np.stack(edges, 1).astype(np.float32)


# Model ------------------------------------------------------------------------------------------


@dataclass
class Segmenter:
    """A SAM and the way an image is brought into its square."""

    model: Any
    resize: str  # "square" or "pad"
    device: torch.device

    def look(self, image: Image.Image) -> Frame:
        """Encode an image."""
        side = int(self.model.config.vision_config.image_size)
        width = height = side
        if self.resize == "pad":
            scale = side / max(image.size)
            width, height = (round(scale * length) for length in image.size)
        pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        normal = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        tensor = torch.from_numpy(normal).permute(2, 0, 1)[None]
        padded = F.pad(tensor, (0, side - width, 0, side - height)).to(self.device)
        embedding = self.model.get_image_embeddings(padded)
        return Frame(self, embedding, side, (height, width), (image.height, image.width))


@dataclass
class Frame:
    """An encoded image, to be asked for masks."""

    segmenter: Segmenter
    embedding: torch.Tensor
    side: int
    inner: tuple[int, int]  # (h, w) of the image within the square
    size: tuple[int, int]  # (H, W) of the image itself

    def masks(self, boxes: npt.NDArray[np.float32]) -> Mask:
        """The mask predicted for each box (n, 4), XYXY in the image's pixels: bool (n, H, W)."""
        y, x = (inner / full for inner, full in zip(self.inner, self.size, strict=True))
        prompt = (torch.from_numpy(boxes) + 0.5) * torch.tensor([x, y, x, y]) - 0.5
        low = self.segmenter.model(
            image_embeddings=self.embedding,
            input_boxes=prompt[None].to(self.segmenter.device),
            multimask_output=False,
        ).pred_masks[0]  # (n, 1, side / 4, side / 4)
        square = F.interpolate(low, (self.side, self.side), mode="bilinear")
        inner = square[..., : self.inner[0], : self.inner[1]]
        full = F.interpolate(inner, self.size, mode="bilinear")
        found: Mask = (full[:, 0] > 0).cpu().numpy()
        return found


def tiny_sam() -> Any:
    """A SAM of random weights, a thousand times smaller: it shows that the code runs."""
    return SamModel(
        SamConfig(
            vision_config=SamVisionConfig(
                hidden_size=32,
                output_channels=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=256,
                window_size=4,
                global_attn_indexes=[1],
                num_pos_feats=16,
                initializer_range=0.02,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(hidden_size=32, image_size=256),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
            ),
        )
    )


def take_tokens(model: Any, path: Path) -> None:
    """Put the output tokens of one of ASAM's checkpoints into SAM's mask decoder."""
    weights = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("mask_tokens.weight", "iou_token.weight"):
        token = weights.get(name, weights.get(f"mask_decoder.{name}"))
        if token is None:
            found = ", ".join(list(weights)[:5])
            raise asam_datasets.AsamDatasetsError(f"{path}: no {name}; it has {found}, ...")
        model.mask_decoder.get_parameter(name).data.copy_(token)


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
        """The mean over all masks, in percent, as SAM's paper has it."""
        return 100 * fmean(iou for image in self.images for iou in image)

    @property
    def over_images(self) -> float:
        """The mean over images of the mean over an image's masks, in percent, as ASAM has it."""
        return 100 * fmean(map(fmean, self.images))

    @property
    def published(self) -> tuple[float, float] | None:
        """What the paper gives for SAM and for ASAM."""
        config = self.name.partition(":")[0]
        return PUBLISHED.get(config.removesuffix("_asam").removesuffix("_sam"))


def ious(found: Mask, wanted: Mask, counted: Mask) -> list[float]:
    """Intersection over union of n pairs of masks (n, H, W) over the `counted` pixels (H, W).

    A mask that is void altogether has no IoU and is left out.
    """
    found, wanted = found & counted, wanted & counted
    present = wanted.any((1, 2))
    both = (found & wanted).sum((1, 2))[present]
    either = (found | wanted).sum((1, 2))[present]
    result: list[float] = (both / either).tolist()
    return result


def evaluate(args: argparse.Namespace, segmenter: Segmenter, name: str) -> Scores:
    """Run over the first `args.steps` images of a config."""
    scores = Scores(name)
    stream = open_stream(args, name)
    crowds = name.partition(":")[0].endswith("_asam")
    with Progress(args.steps, "image", name, quiet=args.quiet) as progress, torch.inference_mode():
        for row in islice(stream, args.steps):
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            frame = segmenter.look(image)
            counted = np.ones(frame.size, bool)
            if row.get("void_mask"):
                counted &= ~np.array(Image.open(io.BytesIO(row["void_mask"]["bytes"])), bool)
            image_ious = []
            for masks in masks_of(row, crowds, args.masks_at_once):
                if len(masks):
                    image_ious += ious(frame.masks(boxes_of(masks)), masks, counted)
            if image_ious:
                scores.images.append(image_ious)
            progress.update(masks=str(scores.masks))
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


def fixtures(folder: Path) -> str:
    """A dist of every evaluation set, a few images made by code in each, built once."""
    if not all((folder / "data" / name / "index.json").exists() for name in OF_THE_PAPER):
        say(f"building tiny evaluation sets in {folder}")
        with redirect_stderr(io.StringIO()):
            build.main(["--eval-fixtures", "--protocol", "asam", "--out", str(folder), "--quiet"])
    return str(folder)


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(
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
    add("--resize", choices=("square", "pad"), default="square", help="ASAM's (default) or SAM's")
    add("--image-root", metavar="TAR|DIR", help="your images, where the repo may not hold them")
    add("--out", type=Path, default=Path("out/evaluate"), help="for the tiny sets alone")
    add("--steps", type=int, metavar="N", help="only the first N images of each config")
    add("--seed", type=int, default=0, help="of the tiny model's weights (default: 0)")
    add("--masks-at-once", type=int, default=16, help="full-size masks in memory (default: 16)")
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="no progress bar")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, evaluate, print the table."""
    args = parser().parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random_weights = args.model == "tiny"
    try:
        args.data = args.data or fixtures(args.out / "fixtures")
        torch.manual_seed(args.seed)
        model = tiny_sam() if random_weights else SamModel.from_pretrained(args.model)
        if args.tokens:
            take_tokens(model, args.tokens)
        segmenter = Segmenter(model.to(device).eval(), args.resize, device)
        results = [evaluate(args, segmenter, name) for name in args.configs]
    except asam_datasets.AsamDatasetsError as error:
        say(f"error: {error}")
        return 1
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
    sys.exit(main())
