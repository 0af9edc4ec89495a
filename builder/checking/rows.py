"""The rows of a shard: does every image decode, and does each mask's PNG show its RLE?

An independent check does not trust the code that built a row: PIL decodes the image at its full
size, zlib the masks, and the control image is compared with masks painted one by one. The other
check is faster. It takes a PNG as right if it has the bytes that the encoders give for the RLEs. It
decodes a JPEG at an eighth of its size, which reads all of its bits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from asam_datasets import AsamDatasetsError, decode_masks
from asam_datasets.values import check_values
from builder.checking.encoded import are_encoded_masks, is_encoded_control
from builder.core.errors import what_went_wrong
from builder.core.records import Json
from builder.core.shown import orientation, picture_size, show
from builder.core.text import brief
from builder.masks.control import decode_control
from builder.masks.png import read_bits
from builder.masks.rle import RleBatch
from builder.sources.checks import BBOX_TOLERANCE, box_distance

_AT_A_TIME = 64  # masks, of half a megabyte each


def read_rows(path: Path, fmt: str) -> Iterator[Json]:
    """The rows of a local shard as Python values.

    Raises
    ------
    ValueError
        A row lacks a value that every row must have, or a record batch is not valid.
    """
    for batch in read_batches(path, fmt):
        batch.validate(full=True)
        for i in range(batch.num_rows):
            one = batch.slice(i, 1)
            for name, column in zip(one.schema.names, one.columns, strict=True):
                check_values(name, column)
            yield one.to_pylist()[0]


def read_batches(path: Path, fmt: str) -> Iterator[pa.RecordBatch]:
    """The record batches of a local shard; an Arrow shard's are mapped, and not validated."""
    if fmt == "parquet":
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=8)
        return
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


def check_row(
    row: Json, box_tolerance: float = 0.0, *, upright: bool = False, independent: bool = True
) -> Iterator[str]:
    """What is wrong with a row: image, masks against RLE, areas, boxes, void mask.

    Parameters
    ----------
    row
        The row as Python values.
    box_tolerance
        How many pixels a corner of a `bbox` may be off the mask. Defaults to 0: an evaluation
        config states the box of the mask itself.
    upright
        Whether the image must have EXIF orientation 1, because the masks were made for the stored
        pixels. Defaults to False.
    independent
        Whether to decode each PNG, also one that has the encoder's bytes.
    """
    size = row["width"], row["height"]
    least = None if independent else (1, 1)
    if row["image"] is not None:
        data = row["image"]["bytes"]
        if hashlib.sha256(data).hexdigest() != row["image_sha256"]:
            yield "the image's sha256 is not image_sha256"
        yield from _check_image("image", data, size, upright=upright, least=least)
    if row.get("void_mask"):
        yield from _check_image("void_mask", row["void_mask"]["bytes"], size)
    annotations = row["annotations"]
    if len(row["masks"]) != len(annotations):
        yield f"{len(row['masks'])} masks for {len(annotations)} annotations"
        return
    batch = RleBatch.parse([a["segmentation"]["counts"] for a in annotations], size[1], size[0])
    trusted = [False] * len(annotations)
    if not independent and not any(batch.problem):
        trusted = are_encoded_masks(batch, row["masks"])
    good = []
    for i, annotation in enumerate(annotations):
        where = _mask(i, annotation)
        problem = batch.problem[i]
        if problem:
            yield f"{where}: RLE: {problem[0]}: expected {problem[1]}, found {problem[2]}"
            continue
        if annotation["segmentation"]["size"] != [size[1], size[0]]:
            yield f"{where}: RLE size {annotation['segmentation']['size']} in an image of {size}"
            continue
        if annotation["area"] != int(batch.areas[i]):
            yield f"{where}: area {annotation['area']}, the mask's is {int(batch.areas[i])}"
        if wrong := _wrong_box(annotation["bbox"], batch.bboxes[i].tolist(), box_tolerance):
            yield f"{where}: {wrong}"
        if not trusted[i]:
            good.append(i)
    for i, expected in zip(good, _packed([annotations[i] for i in good]), strict=True):
        try:
            found = read_bits(row["masks"][i]["bytes"], size[1], size[0])
        except ValueError as error:
            yield f"{_mask(i, annotations[i])}: PNG: {error}"
        else:
            if not np.array_equal(found, expected):
                yield f"{_mask(i, annotations[i])}: the PNG differs from the RLE"


def check_train_row(row: Json, *, independent: bool = True) -> Iterator[str]:
    """As `check_row`, and the control image against masks painted one by one.

    The boxes are SA-1B's own, which the build keeps if they are off the mask by no more than
    BBOX_TOLERANCE.
    """
    wrong = list(check_row(row, BBOX_TOLERANCE, upright=True, independent=independent))
    yield from wrong
    if wrong or (not independent and is_encoded_control(row)):
        return
    size = row["width"], row["height"]
    data = row["conditioning_image"]["bytes"]
    yield from (wrong := list(_check_image("conditioning_image", data, size)))
    if wrong:
        return
    rgb = np.asarray(show(data).convert("RGB"))
    annotations = row["annotations"]
    try:
        shown = decode_control(rgb, annotations)
    except AsamDatasetsError as error:
        yield f"the control image: {error}"
        return
    painted = np.full((size[1], size[0]), -1, np.int32)
    boxes = [annotation["bbox"] for annotation in annotations]
    order = sorted(range(len(boxes)), key=lambda i: boxes[i][2] * boxes[i][3], reverse=True)
    for i, packed in zip(order, _packed([annotations[i] for i in order]), strict=True):
        x, y, w, h = _box(annotations[i])
        window = painted[y : y + h, x : x + w]
        window[np.unpackbits(packed[y : y + h], axis=1, count=size[0])[:, x : x + w] != 0] = i
    if not np.array_equal(shown, painted):
        pixel = tuple(int(v) for v in np.argwhere(shown != painted)[0])
        yield (
            f"the control image shows mask {shown[pixel]} at row {pixel[0]}, column {pixel[1]}, "
            f"expected {painted[pixel]}"
        )


def _check_image(
    column: str,
    data: bytes,
    size: tuple[int, int],
    *,
    upright: bool = False,
    least: tuple[int, int] | None = None,
) -> Iterator[str]:
    try:
        show(data, least)
        if (found := picture_size(data)) != size:
            yield f"{column}: {found} pixels, expected {size}"
        if upright and (turned := orientation(data)) != 1:
            yield (
                f"{column}: expected EXIF orientation 1, found {turned}: load_dataset turns the "
                "picture, and the masks don't fit; build the config again"
            )
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        yield f"{column}: does not decode: {what_went_wrong(error)}"


def _wrong_box(stated: Any, bbox: list[float], tolerance: float) -> str | None:
    """What is wrong with an annotation's box; `bbox` is the mask's own."""
    numbers = isinstance(stated, list) and all(isinstance(v, int | float) for v in stated)
    if not numbers or len(stated) != 4 or not all(map(math.isfinite, stated)):
        return f"bbox: expected 4 finite numbers, found {brief(stated)}"
    if box_distance(stated, bbox) > tolerance:
        within = f" within {tolerance:g} px" if tolerance else ""
        return f"bbox: expected {bbox}{within}, the mask's own, found {stated}"
    return None


def _mask(i: int, annotation: Json) -> str:
    return f"annotation {annotation['id']} (mask {i})"


def _packed(annotations: list[Json]) -> Iterator[npt.NDArray[np.uint8]]:
    """Each mask of one size as packed bits, (H, ceil(W / 8)), decoded some at a time."""
    for i in range(0, len(annotations), _AT_A_TIME):
        yield from decode_masks(annotations[i : i + _AT_A_TIME], packed=True)


def _box(annotation: Json) -> tuple[int, int, int, int]:
    """A box that holds the mask: the stated one, which may be off by a pixel, and a margin."""
    x, y, w, h = annotation["bbox"]
    left, top = max(0, int(x) - 2), max(0, int(y) - 2)
    return left, top, int(x + w) + 3 - left, int(y + h) + 3 - top
