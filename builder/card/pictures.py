"""A small picture of one row per config, for the card."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from asam_datasets.index import Index
from builder.core.files import sha256_file, write_bytes
from builder.core.layout import config_folder, index_path, picture_name
from builder.core.records import Json
from builder.core.shown import picture_size, show
from builder.masks.control import mask_order, paint
from builder.masks.rle import RleBatch

HEIGHT = 256  # pixels


def draw_picture(dist: Path, index: Index, stated: str | None = None) -> str | None:
    """Draw the image and the control image of a config's first row side by side.

    Parameters
    ----------
    dist, index
        The dist, and the config's index.
    stated
        The sha256 that the dist's manifest states of the picture. The picture is drawn again unless
        the file has this checksum and is no older than the index.

    Returns
    -------
    str or None
        The sha256 of the picture; None for a config without rows, which has none.
    """
    path = dist / picture_name(index.config)
    made_from = index_path(dist, index.config)
    fresh = path.is_file() and path.stat().st_mtime_ns >= made_from.stat().st_mtime_ns
    if stated and fresh and sha256_file(path) == stated:
        return stated
    parts = [part for row in _first_row(dist, index) for part in _parts(row, index.kind)]
    if not parts:
        return None
    canvas = Image.new("RGB", (sum(p.width for p in parts) + 8 * (len(parts) - 1), HEIGHT), "white")
    left = 0
    for part in parts:
        canvas.paste(part, (left, 0))
        left += part.width + 8
    data = io.BytesIO()
    canvas.save(data, "JPEG", quality=85, optimize=True)
    write_bytes(path, data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()


def _first_row(dist: Path, index: Index) -> Iterator[Json]:
    """The first row of the first shard, read without the rest of it."""
    shard = next((shard for shard in index.shards if shard.rows), None)
    if shard is None:
        return
    path = config_folder(dist, index.config) / shard.file
    if index.format == "parquet":
        with pq.ParquetFile(path) as file:
            yield from next(file.iter_batches(batch_size=1)).to_pylist()
    else:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            yield from stream.read_next_batch().slice(0, 1).to_pylist()


def _parts(row: Json, kind: str) -> Iterator[Image.Image]:
    if row["image"] is not None:
        yield _thumbnail(row["image"]["bytes"])
    if kind == "train":
        yield _thumbnail(row["conditioning_image"]["bytes"])
        return
    counts = [annotation["segmentation"]["counts"] for annotation in row["annotations"]]
    batch = RleBatch.parse(counts, row["height"], row["width"])
    yield _thumbnail(paint(batch, mask_order(row["annotations"])))


def _thumbnail(data: bytes) -> Image.Image:
    full_width, full_height = picture_size(data)
    size = max(1, round(full_width * HEIGHT / full_height)), HEIGHT
    return show(data, size).convert("RGB").resize(size, Image.Resampling.BOX)
