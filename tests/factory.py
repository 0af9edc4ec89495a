"""Small SA-1B records made by code, whole or broken as a test asks."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

Record = dict[str, Any]


def jpeg(width: int = 96, height: int = 64, seed: int = 0) -> bytes:
    """A JPEG of soft noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def annotation(mask: np.ndarray, annotation_id: int) -> Record:
    """An annotation as SA-1B writes it, of a boolean (H, W) mask."""
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = mask.shape
    return {
        "bbox": [float(v) for v in coco.toBbox(rle)],
        "area": int(coco.area(rle)),
        "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
        "predicted_iou": 0.9 + annotation_id % 7 / 50,
        "point_coords": [[1.5, 2.25]],
        "crop_box": [0.0, 0.0, float(width), float(height)],
        "id": annotation_id,
        "stability_score": 0.95,
    }


def masks(width: int, height: int, count: int, seed: int) -> list[np.ndarray]:
    """Ellipses of all sizes, some cut by the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = []
    for _ in range(count):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(1, width / 3), rng.uniform(1, height / 3)
        mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        mask[int(cy) % height, int(cx) % width] = True
        found.append(mask)
    return found


def record(
    image_id: int, width: int = 96, height: int = 64, count: int = 3, seed: int | None = None
) -> tuple[bytes, Record]:
    """A jpeg and its json, as values."""
    seed = image_id if seed is None else seed
    info = {
        "image_id": image_id,
        "width": width,
        "height": height,
        "file_name": f"sa_{image_id}.jpg",
    }
    shapes = masks(width, height, count, seed)
    annotations = [annotation(mask, image_id * 1000 + i) for i, mask in enumerate(shapes)]
    return jpeg(width, height, seed), {"image": info, "annotations": annotations}


def members(
    ids: Iterable[int], changed: Mapping[int, Record] | None = None, **kwargs: Any
) -> dict[str, bytes]:
    """All jpgs, then all jsons, so that no pair is adjacent; `changed` replaces records."""
    records = {i: record(i, **kwargs) for i in ids}
    changed = changed or {}
    jpgs = {f"sa_{i}.jpg": jpg for i, (jpg, _) in records.items()}
    jsons = {
        f"sa_{i}.json": json.dumps(changed.get(i, value)).encode()
        for i, (_, value) in records.items()
    }
    return jpgs | jsons


def write_tar(path: Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """A plain tar, the same bytes each time; pairs may name a member twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """The same members as files."""
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path
