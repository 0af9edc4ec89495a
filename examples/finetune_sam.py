"""Fine-tune SAM's output tokens on streamed masks with box prompts, as ASAM does.

    python examples/finetune_sam.py
    python examples/finetune_sam.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base \
        --steps 7000 --batch-size 4 --workers 8

The first line builds the sample and tunes a tiny SAM with random weights, without a download or a
GPU.

These are as in ASAM's code (sam_continue_learning/main.py):

- Only two tensors are trained, the mask tokens and the IoU token.
- Of each image, the 4 masks with the largest boxes are used.
- Images are mirrored and jittered in scale, within a square of 1024 pixels.
- The loss is binary cross-entropy plus dice at 12544 points. Three quarters of them are where the
  predicted mask is least certain (PointRend).
- The learning rate of Adam rises to 2e-3 during half of the run, then it is halved ten times.

Two things differ. ASAM trains on adversarial images made from the photographs; this example trains
on the photographs. ASAM's prompts are boxes, points and noisy masks; this example's are boxes.
Images are loaded at the model's size, so a jitter above 1 enlarges them. ASAM's adversarial images
have 512 pixels and are enlarged, too. Masks are decoded from their RLE directly at the jittered
size, so no full-size mask is made.

The results are `sam/` for `SamModel.from_pretrained`, and `tokens.pth`, which holds the two tensors
under the names that ASAM's decoder checkpoints use. `examples/evaluate.py` takes either.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import asam_datasets
from builder import build
from builder.core.console import Progress, counted, default_workers, run_command, say
from builder.core.errors import SettingsError
from builder.core.extras import program_needs
from builder.core.options import Parser, number, out_folder, positive, whole
from builder.core.rows import image_pixels

EXAMPLES = """examples:
  python examples/finetune_sam.py
  python examples/finetune_sam.py --data dist --steps 10 --tune decoder --box-noise 0.1
  python examples/finetune_sam.py --data xhk/ASAM-Datasets --model facebook/sam-vit-base
"""
TUNED = {"output_token": ("mask_tokens", "iou_token"), "decoder": ("",)}


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = Parser(
        description="Fine-tune SAM's output tokens on streamed masks with box prompts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--data", metavar="DIST|REPO", help="a dist or a Hub repo (default: builds the sample)")
    add("--config", default="sa_000000", help="default: sa_000000")
    add("--image-root", metavar="TAR|DIR", help="your images, for a config without pixels")
    add("--model", default="tiny", help="a SAM's repo or folder (default: a tiny one)")
    add("--out", type=out_folder, default=Path("out/sam"), help="default: out/sam")
    add(
        "--tune",
        choices=TUNED,
        default="output_token",
        help="what to train: ASAM's two tokens or the whole mask decoder (default: output_token)",
    )
    add("--steps", type=positive, default=20, help="optimizer steps (default: 20)")
    add("--batch-size", type=positive, default=4, help="images per step (default: 4)")
    add("--masks", type=positive, default=4, help="masks per image (default: 4)")
    add(
        "--box-noise",
        type=number(0, 1, open_low=False),
        default=0.0,
        metavar="X",
        help="shift of each box edge, as a share of the side, from 0 to 1 (default: 0)",
    )
    said = "DataLoader processes (default: 2, or 1 on a single core)"
    add("--workers", type=whole(0), default=min(2, default_workers()), help=said)
    add("--lr", type=number(high=1), default=2e-3, help="Adam's learning rate (default: 2e-3)")
    add("--seed", type=whole(0), default=0, help="seed of the order and the jitter (default: 0)")
    add("--quiet", action="store_true", help="no progress bar")
    return result


if __name__ == "__main__":  # --help and mistakes, before imports that take seconds
    parser().parse_args()

with program_needs("examples/finetune_sam.py", "examples"):
    import datasets
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    from builder.evaluating.preprocess import normalized, outermost
    from builder.evaluating.sam import TINY, TOKENS, load_sam, silence

GRAY = 128  # the value that ASAM pads with before normalizing
JITTER = (0.1, 2.0)  # the range of the image's longer side, in sides of the square
POINTS = 112 * 112  # the number of points at which the losses compare masks

Rows = list[dict[str, Any]]


# Data -------------------------------------------------------------------------------------------


@dataclass
class Batch:
    """B images, N masks and boxes each, in the model's square of S pixels."""

    images: torch.Tensor  # float32 (B, 3, S, S), normalized
    masks: torch.Tensor  # uint8 (B, N, S, S), 0 and 1
    boxes: torch.Tensor  # float32 (B, N, 4), XYXY, the outermost pixels of the mask
    image_ids: list[int]


def open_stream(args: argparse.Namespace, side: int, epoch: int) -> datasets.IterableDataset:
    """The rows of one epoch in a shuffled order, with images whose longer side is `side`."""
    return asam_datasets.load(
        args.config,
        "train",
        repo_or_path=args.data,
        streaming=True,
        columns=["image", "image_id", "annotations", "frame"],
        size=side,
        fit="contain",
        image_root=args.image_root,
        shuffle_seed=args.seed,
        epoch=epoch,
    )


def batches(args: argparse.Namespace, side: int, epoch: int) -> DataLoader[Batch | None]:
    """The batches of one epoch. The workers decode and jitter them."""
    collate = partial(to_batch, side=side, count=args.masks, seed=(args.seed, epoch))
    return DataLoader(
        open_stream(args, side, epoch),
        args.batch_size,
        num_workers=args.workers,
        collate_fn=collate,
    )


def to_batch(rows: Rows, side: int, count: int, seed: tuple[int, int]) -> Batch | None:
    """Turn rows into tensors; None if no row has a mask."""
    ids, images, masks = [], [], []
    for row in rows:
        rng = np.random.default_rng([*seed, row["image_id"]])
        height, width = row["frame"]["resized"]
        image = Image.fromarray(image_pixels(row)[:height, :width])
        # If the cut shows no mask, take the whole image.
        for jitter in (rng.uniform(*JITTER), 1.0):
            pixels, shown = to_square(image, row["annotations"], side, count, jitter, rng)
            if len(shown):
                images.append(pixels)
                masks.append(shown[np.arange(count) % len(shown)])  # ASAM repeats them too
                ids.append(row["image_id"])
                break
    if not ids:
        return None
    stacked = np.stack(masks)
    inputs = normalized(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
    return Batch(inputs, torch.from_numpy(stacked), torch.from_numpy(outermost(stacked)), ids)


def to_square(
    image: Image.Image,
    annotations: Rows,
    side: int,
    count: int,
    jitter: float,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Scale, cut, pad and perhaps mirror an image and up to `count` of its masks.

    Returns uint8 (side, side, 3) and uint8 (n, side, side); n is 0 if no mask is in the cut.
    """
    scale = jitter * side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    left, top = (int(rng.integers(0, max(n - side, 0) + 1)) for n in (width, height))
    cut = np.s_[top : top + side, left : left + side]
    pixels = np.full((side, side, 3), GRAY, np.uint8)
    scaled = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))[cut]
    pixels[: scaled.shape[0], : scaled.shape[1]] = scaled

    # ASAM takes the masks of the largest boxes. Some of them will fall outside of the cut.
    chosen = asam_datasets.mask_order(annotations)[: 4 * count]
    decoded = asam_datasets.decode_masks([annotations[i] for i in chosen], (height, width))
    decoded = decoded[:, *cut]
    decoded = decoded[decoded.any((1, 2))][:count]
    masks = np.zeros((len(decoded), side, side), np.uint8)
    masks[:, : decoded.shape[1], : decoded.shape[2]] = decoded
    if rng.random() < 0.5:
        pixels, masks = pixels[:, ::-1], masks[:, :, ::-1]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(masks)


def shake(boxes: torch.Tensor, noise: float, side: int) -> torch.Tensor:
    """Move boxes by up to `noise` half-sides, and grow or shrink them by up to `noise` sides.

    The formula of ASAM's `box_noise` (sam_continue_learning/utils/misc.py).
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + size / 2
    centre = centre + (2 * torch.rand_like(centre) - 1) * size / 2 * noise
    size = size + (2 * torch.rand_like(size) - 1) * size * noise
    return torch.cat([centre - size / 2, centre + size / 2], -1).clamp(0, side)


# Model ------------------------------------------------------------------------------------------


def freeze(model: Any, part: str) -> list[torch.nn.Parameter]:
    """Turn off the gradients of all parameters except one part's, and return that part."""
    model.requires_grad_(False)
    chosen = []
    for name, parameter in model.mask_decoder.named_parameters():
        if name.startswith(TUNED[part]):
            chosen.append(parameter.requires_grad_(True))
    return chosen


def loss_of(logits: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and dice of M masks: logits (M, 1, h, w) and true masks (M, 1, S, S), 0 or 1.

    Both are read bilinearly at POINTS random points. Three quarters of the points are the least
    certain ones of 3 * POINTS random points (Kirillov et al., PointRend, section 3.1).
    """
    number = len(logits)
    with torch.no_grad():
        many = torch.rand(number, 3 * POINTS, 2, device=logits.device)
        doubt = -sampled(logits, many).abs()
        least = doubt.topk(POINTS * 3 // 4, dim=1).indices
        uncertain = many.gather(1, least[..., None].expand(-1, -1, 2))
        anywhere = torch.rand(number, POINTS - POINTS * 3 // 4, 2, device=logits.device)
        points = torch.cat([uncertain, anywhere], 1)
        wanted = sampled(masks.float(), points)
    found = sampled(logits, points)
    entropy = F.binary_cross_entropy_with_logits(found, wanted)
    found = found.sigmoid()
    overlap = 2 * (found * wanted).sum(1)
    dice = 1 - (overlap + 1) / (found.sum(1) + wanted.sum(1) + 1)
    return entropy, dice.mean()


def sampled(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Values of maps (M, 1, H, W) at points (M, P, 2), XY in 0..1; returns (M, P)."""
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, align_corners=False)[:, 0, :, 0]


def slow_start(step: int, steps: int) -> float:
    """ASAM's schedule: a linear rise during half of the run, then ten halvings."""
    half = max(1, steps // 2)
    return (step + 1) / half if step < half else float(0.5 ** (10 * (step + 1 - half) / half))


# Training ---------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Tune for `args.steps` steps, over as many epochs as necessary, and save the results."""
    open_stream(
        args, 1, epoch=0
    )  # a mistake in --data or --config is told before the model is loaded
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    model = load_sam(args.model)
    side = int(model.config.vision_config.image_size)
    parameters = freeze(model.to(device).train(), args.tune)
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(slow_start, steps=args.steps))
    say(f"training {sum(p.numel() for p in parameters):,} parameters of the mask decoder")
    if args.model == TINY:
        say("tiny SAM of RANDOM WEIGHTS: this shows that tuning runs, nothing more")
    step, epoch = 0, 0
    log = (args.out / "log.jsonl").open("w")
    with log, Progress(args.steps, "step", "tune", quiet=args.quiet) as progress:
        while step < args.steps:
            before = step
            for batch in batches(args, side, epoch):
                if batch is None:
                    continue
                boxes = shake(batch.boxes, args.box_noise, side).to(device)
                with torch.no_grad():
                    embeddings = model.get_image_embeddings(batch.images.to(device))
                logits = model(
                    image_embeddings=embeddings, input_boxes=boxes, multimask_output=False
                ).pred_masks  # (B, N, 1, S / 4, S / 4)
                entropy, dice = loss_of(
                    logits.flatten(0, 1), batch.masks.to(device).flatten(0, 1)[:, None]
                )
                if not (entropy + dice).isfinite():
                    raise SettingsError(f"the loss of step {step + 1} is not finite: lower --lr")
                optimizer.zero_grad()
                (entropy + dice).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                step += 1
                entry = {
                    "step": step,
                    "epoch": epoch,
                    "cross_entropy": entropy.item(),
                    "dice": dice.item(),
                    "image_ids": batch.image_ids,
                }
                log.write(json.dumps(entry) + "\n")
                progress.update(loss=f"{(entropy + dice).item():.4f}")
                if step == args.steps:
                    break
            if step == before:
                raise asam_datasets.AsamDatasetsError(f"{args.config}: no image has a mask")
            epoch += 1
    model.save_pretrained(args.out / "sam")
    weights = model.mask_decoder.state_dict()
    torch.save({name: weights[name].cpu() for name in TOKENS}, args.out / "tokens.pth")
    say(f"{args.out / 'sam'} and {args.out / 'tokens.pth'}: SAM after {counted(step, 'step')}")


def sample(place: Path) -> str:
    """Build a dist of the sample, if it is not there."""
    built = (place / "data/sa_000000/index.json").exists()
    if not built and build.main(["--sample", "--out", str(place), "--shard-size", "1M", "--quiet"]):
        raise SettingsError(f"{place}: the sample can't be built there: give another --out")
    return str(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, tune, report."""
    args = parser().parse_args(argv)
    if args.quiet:
        silence()
    args.out.mkdir(parents=True, exist_ok=True)
    args.data = args.data or sample(args.out / "sample")
    train(args)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
