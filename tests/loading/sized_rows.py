"""Rows with real pictures of some sizes, and what they are at another size, pixel by pixel."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from tests import factory, recipe
from tests.photos import encode, stored

Row = dict[str, Any]
Size = tuple[int, int]


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Soft noise, as a photograph."""
    return Image.open(io.BytesIO(factory.jpeg(width, height, seed)))


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def control_png(annotations: list[Row], height: int, width: int) -> bytes:
    """The control image as a PNG with a palette, as a dist holds it."""
    pixels = recipe.control_image(annotations, height, width)
    colors, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray(indices.reshape(height, width).astype(np.uint8))
    image.putpalette(colors.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def train_row(number: int, width: int, height: int, orientation: int | None = None) -> Row:
    """A row of the train schema; a mask of one pixel is among its masks, and an empty one.

    With an orientation, the stored pixels are those of the picture turned back.
    """
    shapes = [*factory.masks(width, height, 3, number), np.zeros((height, width), bool)]
    dot = np.zeros((height, width), bool)
    dot[height // 2, width // 3] = True
    annotations = [factory.annotation(m, 100 * number + i) for i, m in enumerate([*shapes, dot])]
    picture = photo(width, height, number)
    jpeg = encode(stored(picture, orientation or 1), orientation)
    masks = [png(coco.decode(a["segmentation"]) * 255, "1") for a in annotations]
    control = control_png(annotations, height, width)
    return {
        "image": {"bytes": jpeg, "path": f"sa_{number}.jpg"},
        "text": f"caption {number}",
        "conditioning_image": {"bytes": control, "path": None},
        "image_id": number,
        "file_name": f"sa_{number}.jpg",
        "width": width,
        "height": height,
        "masks": [{"bytes": mask, "path": None} for mask in masks],
        "annotations": annotations,
        "image_sha256": hashlib.sha256(jpeg).hexdigest(),
        "source": "sa_000000.tar",
        "num_rejected": 0,
    }


def eval_row(row: Row, image: bytes, void: bool) -> Row:
    """A row of the evaluation schema with the masks of a train row."""
    kept = ("image_id", "file_name", "width", "height", "masks", "image_sha256", "num_rejected")
    names = ("id", "segmentation", "bbox", "area")
    mask = np.zeros((row["height"], row["width"]), np.uint8)
    mask[: row["height"] // 2, ::3] = 255
    return {
        **{name: row[name] for name in kept},
        "image": {"bytes": image, "path": row["file_name"]},
        "image_id": str(row["image_id"]),
        "void_mask": {"bytes": png(mask, "1"), "path": None} if void else None,
        "annotations": [
            {**{n: a[n] for n in names}, "category": "cat", "category_id": 3, "iscrowd": False}
            for a in row["annotations"]
        ],
        "source": "camo",
    }


def geometry(full: Size, size: Size, fit: str) -> tuple[Size, Size, Size]:
    """What a fit does, as its source does it: the resized size, the cut's start, what is shown."""
    (height, width), (h, w) = full, size
    if fit == "stretch":
        return size, (0, 0), size
    if fit == "cover":  # torchvision's Resize (of the shorter side, for a square) and CenterCrop
        if Fraction(h, height) >= Fraction(w, width):
            resized = h, int(h * width / height)
        else:
            resized = int(w * height / width), w
        return resized, (round((resized[0] - h) / 2.0), round((resized[1] - w) / 2.0)), size
    scale = min(h / height, w / width)  # SAM's get_preprocess_shape
    resized = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    return resized, (0, 0), resized


def sampled(pixels: np.ndarray, size: Size, fit: str) -> np.ndarray:
    """Pixels (H, W, ...) at a size, each by the centre rule on its own; padding is 0."""
    full = pixels.shape[:2]
    resized, cut, shown = geometry(full, size, fit)
    out = np.zeros((*size, *pixels.shape[2:]), pixels.dtype)
    at = [
        [
            Fraction(2 * (i + cut[axis]) + 1, 2) * full[axis] // resized[axis]
            for i in range(shown[axis])
        ]
        for axis in (0, 1)
    ]
    for y, row in enumerate(at[0]):
        for x, column in enumerate(at[1]):
            out[y, x] = pixels[row, column]
    return out


def resized_by_pillow(image: Image.Image, size: Size, fit: str) -> np.ndarray:
    """A photograph at a size: decoded at its full size, resized, cut and padded step by step."""
    resized, cut, shown = geometry((image.height, image.width), size, fit)
    small = np.asarray(image.convert("RGB").resize(resized[::-1], Image.Resampling.BILINEAR))
    out = np.zeros((*size, 3), np.uint8)
    part = small[cut[0] : cut[0] + shown[0], cut[1] : cut[1] + shown[1]]
    out[: shown[0], : shown[1]] = part
    return out


def decoded(data: bytes) -> Image.Image:
    """A picture as `load_dataset` gives it."""
    from datasets import Image as ImageFeature

    found: Image.Image = ImageFeature().decode_example({"bytes": data, "path": None})
    return found
