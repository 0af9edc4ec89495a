"""The SAM example: boxes hug their masks, the loss knows right from wrong, only tokens learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers")

from transformers import SamModel

import asam_datasets
from builder.evaluating.sam import tiny_sam
from examples import finetune_sam as example

SMALL = ["--batch-size", "3", "--masks", "2", "--workers", "0", "--quiet"]


def run(dist: Path, out: Path, steps: int, *more: str) -> list[dict[str, float]]:
    command = ["--data", str(dist), "--out", str(out), "--steps", str(steps), *SMALL, *more]
    assert example.main(command) == 0
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_only_the_output_tokens_learn(small_dist: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = tiny_sam().state_dict()
    log = run(small_dist, tmp_path, 2, "--seed", "0")
    after = SamModel.from_pretrained(tmp_path / "sam").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"mask_decoder.mask_tokens.weight", "mask_decoder.iou_token.weight"}
    tokens = torch.load(tmp_path / "tokens.pth", weights_only=True)
    assert torch.equal(tokens["mask_tokens.weight"], after["mask_decoder.mask_tokens.weight"])
    assert [entry["step"] for entry in log] == [1, 2]


def test_the_decoder_learns(small_dist: Path, tmp_path: Path) -> None:
    log = run(small_dist, tmp_path, 20, "--tune", "decoder", "--lr", "5e-3", "--workers", "1")
    losses = [entry["cross_entropy"] for entry in log]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.005


def test_masks_and_boxes_stay_with_the_image(sample_dist: Path) -> None:
    rows = list(
        asam_datasets.load(
            "sa_000000",
            "train",
            repo_or_path=sample_dist,
            streaming=True,
            columns=["image", "image_id", "annotations", "frame"],
            size=192,
            fit="contain",
        ).take(3)
    )
    batch = example.to_batch(rows, side=192, count=3, seed=(0, 0))
    assert batch is not None
    assert batch.images.shape == (3, 3, 192, 192)
    assert batch.masks.shape == (3, 3, 192, 192)
    for masks, boxes in zip(batch.masks, batch.boxes, strict=True):
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            inside = mask[top : bottom + 1, left : right + 1]
            assert inside.sum() == mask.sum() > 0
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_a_mask_scaled_with_its_image_covers_the_same_pixels() -> None:
    """An image that is its own mask, whatever the jitter."""
    height, width = 60, 80
    mask = np.zeros((height, width), np.uint8)
    mask[15:45, 20:70] = 1
    image = Image.fromarray(np.repeat(mask[..., None] * 255, 3, 2))
    annotation = annotate(mask, [20, 15, 50, 30])
    for seed, jitter in enumerate((0.4, 0.9, 1.0, 1.7)):
        rng = np.random.default_rng(seed)
        pixels, masks = example.to_square(image, [annotation], 128, 1, jitter, rng)
        agree = (pixels[..., 0] > 128) == (masks[0] > 0)
        assert masks[0].any()
        assert agree.mean() > 0.97


def test_the_masks_of_the_largest_boxes_are_taken() -> None:
    small, large = np.zeros((2, 64, 64), np.uint8)
    small[10:40, 10:40] = 1
    np.fill_diagonal(large, 1)  # fewer pixels, in a larger box
    annotations = [annotate(small, [10, 10, 30, 30]), annotate(large, [0, 0, 64, 64])]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image = Image.new("RGB", (64, 64))
        _, masks = example.to_square(image, annotations, 64, 1, 1.0, rng)
        assert masks.sum() == large.sum()


def annotate(mask: np.ndarray, bbox: list[int]) -> dict[str, Any]:
    from pycocotools import mask as coco

    counts: bytes = coco.encode(np.asfortranarray(mask))["counts"]
    segmentation = {"size": list(mask.shape), "counts": counts.decode()}
    return {"id": 1, "segmentation": segmentation, "bbox": bbox}


def test_the_loss_of_the_right_mask_is_the_smallest() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 10:40, 10:40] = 1
    masks[1, :, 30:60, 5:60] = 1
    logits = torch.nn.functional.avg_pool2d(masks, 4) * 20 - 10
    right = sum(example.loss_of(logits, masks))
    wrong = sum(example.loss_of(logits.flip(0), masks))
    empty = sum(example.loss_of(torch.full_like(logits, -10), masks))
    assert right < 0.2
    assert min(wrong, empty) > 5 * right


def test_noise_moves_boxes_within_the_square() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[[10.0, 20.0, 50.0, 40.0]]]).repeat(1, 500, 1)
    assert torch.equal(example.shake(boxes, 0.0, 64), boxes)
    noisy = example.shake(boxes, 0.5, 64)
    assert noisy.min() >= 0
    assert noisy.max() <= 64
    width = noisy[..., 2] - noisy[..., 0]
    assert width.min() >= 40 * 0.25
    assert width.std() > 2


def test_the_rate_rises_then_falls() -> None:
    rates = [example.slow_start(step, 20) for step in range(20)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10:] == pytest.approx([0.5 ** (step + 1) for step in range(10)])
