"""Masks to test on, drawn by seed: every shape that RLE and PNG treat in their own way."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

Masks = npt.NDArray[np.bool_]

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def draw(seed: int, height: int, width: int, number: int) -> Masks:
    """Masks of blobs, noise, stripes, holes, single pixels, borders, nothing and everything."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((number, height, width), np.bool_)
    for i in range(number):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(0.5, max(height, width) / 2)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        kind = i % 8
        if kind == 0:
            masks[i] = disc
        elif kind == 1:
            masks[i] = disc & (rng.random((height, width)) < 0.7)
        elif kind == 2:
            masks[i] = disc & ((y - cy) ** 2 + (x - cx) ** 2 > radius**2 / 4)
        elif kind == 3:
            masks[i, rng.integers(height), rng.integers(width)] = True
        elif kind == 4:
            masks[i] = (x + y) % int(rng.integers(2, 9)) == 0
        elif kind == 5:
            masks[i, :, rng.integers(width) :] = True
        elif kind == 6:
            masks[i, rng.integers(height) :, :] = True
        else:
            masks[i] = bool(rng.integers(2))
    return masks


@st.composite
def mask_stacks(draw_from: st.DrawFn, largest: int = 40) -> Masks:
    """A stack of masks of any small size."""
    height, width = draw_from(st.integers(1, largest)), draw_from(st.integers(1, largest))
    number = draw_from(st.integers(1, 9))
    return draw(draw_from(st.integers(0, 2**32 - 1)), height, width, number)


def coco_counts(masks: npt.NDArray[Any]) -> list[str]:
    """The compressed RLE of each mask, by pycocotools."""
    stack = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    return [rle["counts"].decode("ascii") for rle in coco.encode(stack)]


def annotate(masks: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Annotations as a row has them, as far as masks go."""
    size = list(masks.shape[1:])
    return [
        {
            "id": 100 + i,
            "segmentation": {"size": size, "counts": counts},
            "bbox": coco.toBbox({"size": size, "counts": counts}).tolist(),
        }
        for i, counts in enumerate(coco_counts(masks))
    ]


def compress(counts: list[int]) -> str:
    """Any counts, good or bad, as maskApi.c's rleToString writes them."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr(48 + (code | 32 if more else code))
    return text


def real_records() -> list[dict[str, Any]]:
    """The real photographs' annotations and SA-1B's own; skips where they are not at hand."""
    paths = sorted(REAL.glob("sa1b_*/*.json"))
    if not paths:
        pytest.skip("no real annotations beside the checkout")
    return [json.loads(path.read_text()) for path in paths]


def pil_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask as PIL saves it by default, 1 bit."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()
