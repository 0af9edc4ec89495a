"""Small configs of every kind to look at, built by the real builder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builder.core.records import Item, Listing, Outcome, Reject
from builder.masks.png import encode_bitmap
from builder.masks.rle import encode
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, open_sources
from tests.factory import jpeg, masks, members, record, write_tar

HOSTILE = (
    '<img src="x" onerror="document.title=1"></script><script>document.title=2</script> '
    '$x_1$ & " 日本'
)
SHARD_SIZE = 20_000


def build_train(folder: Path, fmt: str = "arrow", **options: Any) -> Path:
    """Twenty-four records, one of them broken, one annotation bad, one caption HTML, one missing.

    The last mask of the second record covers its first one. Returns the dist.
    """
    bad = record(5)[1]
    bad["annotations"][1]["area"] += 1
    covered = record(2)[1]
    covered["annotations"].append(covered["annotations"][0] | {"id": 2999, "predicted_iou": 0.5})
    tar = write_tar(
        folder / "sa_000000.tar", members(range(1, 25), {2: covered, 3: {"image": {}}, 5: bad})
    )
    (source,) = open_sources([str(tar)])
    captions = {f"sa_{i}.jpg": f"a picture of number {i}" for i in range(1, 25) if i != 7}
    captions["sa_1.jpg"] = HOSTILE
    source = Sa1bSource(source.archive, source.config, **{"captions": captions, **options})
    dist = folder / "dist"
    build_config(source, dist, Settings(fmt, SHARD_SIZE), quiet=True)
    return dist


@dataclass(frozen=True)
class EvaluationSource:
    """Six pictures with a few instances, a crowd among them, and a void mask on every other."""

    config: str = "camo"
    name: str = "a release"
    kind: str = "eval"

    def listing(self) -> Listing:
        items = [Item(f"set/{i}.jpg", 1000, i, "test_hard" if i % 3 else "val") for i in range(6)]
        return Listing(items, {"name": self.name, "members": 6})

    def settings(self) -> Mapping[str, Any]:
        return {"kind": "test"}

    @contextmanager
    def open(self) -> Iterator[EvaluationSource]:
        yield self

    def inputs(self, item: Item) -> str:
        return item.key

    def read(self, item: Item) -> Outcome:
        number = int(item.locator)
        width, height = 90 + number, 60
        shapes = masks(width, height, 4, seed=number)
        data = jpeg(width, height, number)
        void = np.zeros((height, width), bool)
        void[:10] = True
        annotations = [
            {
                "id": i,
                "category": (None, "<b>$猫$</b>", "dog", "dog")[i],
                "category_id": None if i == 0 else i,
                "segmentation": {"size": [height, width], "counts": encode(shape)},
                "bbox": _box(shape),
                "area": int(shape.sum()),
                "iscrowd": i == 3,
            }
            for i, shape in enumerate(shapes)
        ]
        row = {
            "image": {"bytes": data, "path": item.key},
            "image_id": str(number),
            "file_name": item.key,
            "width": width,
            "height": height,
            "masks": [{"bytes": encode_bitmap(shape), "path": None} for shape in shapes],
            "void_mask": {"bytes": encode_bitmap(void), "path": None} if number % 2 else None,
            "annotations": annotations,
            "image_sha256": hashlib.sha256(data).hexdigest(),
            "source": self.name,
            "num_rejected": int(number == 2),
        }
        rejects = [Reject(self.name, item.key, "mask_empty", "pixels", "none", 9)]
        return Outcome(row, rejects if number == 2 else [])


def build_evaluation(folder: Path) -> Path:
    """The dist of an evaluation config."""
    source = EvaluationSource()
    dist = folder / "dist"
    build_config(source, dist, Settings("arrow", SHARD_SIZE), quiet=True)
    return dist


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]
