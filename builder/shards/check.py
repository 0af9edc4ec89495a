"""Is a dist what its indexes say? Hashes first, then every row, image and mask.

The checks of a row don't trust the code that built it: PIL decodes the images, zlib the masks, and
the control image is compared with masks painted one by one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from asam_datasets import decode_masks, features_of
from builder.errors import ShardError
from builder.files import sha256_file, sha256_json
from builder.layout import (
    DATA,
    FORMATS,
    INDEX,
    REJECTS,
    SHARD_NAME,
    config_folder,
    configs,
    receipts_folder,
    rejects_path,
)
from builder.masks.control import decode_control
from builder.masks.png import read_bits
from builder.masks.rle import RleBatch
from builder.records import Json
from builder.shards.index import read_index
from builder.shards.receipt import check_file, count_rejects, read_receipt
from builder.shards.write import arrow_batches

_AT_A_TIME = 64  # masks, of half a megabyte each


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `row` counts from 0 within the shard."""

    config: str
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = self.config
        where += f"/{self.shard}" if self.shard else ""
        where += f", row {self.row}" if self.row is not None else ""
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """One shard to check; picklable. `entry` and `schema` are the index's."""

    dist: Path
    config: str
    kind: str
    fmt: str
    entry: Json
    fast: bool
    schema: str | None = None


def plan_checks(
    dist: Path, only: Sequence[str] | None = None, *, fast: bool = False
) -> tuple[list[Problem], list[ShardCheck]]:
    """Check each config's index, receipts, rejects and files; returns what is left to read.

    Raises
    ------
    ShardError
        The folder is no dist, or lacks a config that was asked for.
    """
    known = configs(dist)
    if not known:
        raise ShardError(f"{dist}: no data/<config>/index.json in it; is it a dist?")
    problems = [] if only else list(_without_index(dist))
    if absent := sorted(set(only or ()) - set(known)):
        raise ShardError(f"{dist}: no config {', '.join(absent)}; it holds {', '.join(known)}")
    shards: list[ShardCheck] = []
    for config in only or known:
        try:
            index = read_index(dist, config)
            entries = checked_entries(index)
            problems += _check_index(dist, config, index, entries)
            shards += [
                ShardCheck(
                    dist, config, index["kind"], index["format"], entry, fast, index["schema"]
                )
                for entry in entries
            ]
        except (ShardError, KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"its index can't be used: {error!r}; build the config again"
            problems.append(Problem(config, str(error) if isinstance(error, ShardError) else what))
    return problems, shards


def check_shard(
    check: ShardCheck, on_row: Callable[[int, int], None] = lambda rows, masks: None
) -> list[Problem]:
    """Check one shard: its hash, and unless `fast` its rows. `on_row` is told (rows, masks)."""
    name = check.entry["file"]
    path = config_folder(check.dist, check.config) / name
    try:
        check_file(path, check.entry)
    except ShardError as error:
        return [Problem(check.config, str(error), name)]
    if check.fast:
        return []
    problems = []
    number = 0
    try:
        if check.fmt == "arrow" and (wrong := _check_layout(path, check)):
            problems.append(Problem(check.config, wrong, name))
        for number, row in enumerate(read_rows(path, check.fmt)):
            faults = check_train_row if check.kind == "train" else check_row
            problems += [Problem(check.config, what, name, number) for what in faults(row)]
            on_row(1, len(row["masks"]))
    except (pa.ArrowException, OSError, ShardError) as error:
        problems.append(Problem(check.config, f"can't be read on: {error}", name, number))
    return problems


def read_rows(path: Path, fmt: str) -> Iterator[Json]:
    """The rows of a local shard as Python values."""
    if fmt == "parquet":
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=8):
                yield from batch.to_pylist()
        return
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            for i in range(batch.num_rows):
                yield batch.slice(i, 1).to_pylist()[0]


def check_row(row: Json) -> Iterator[str]:
    """What is wrong with a row: image, masks against RLE, areas, boxes, void mask."""
    size = row["width"], row["height"]
    if row["image"] is not None:
        data = row["image"]["bytes"]
        if hashlib.sha256(data).hexdigest() != row["image_sha256"]:
            yield "the image's sha256 is not image_sha256"
        yield from _check_image("image", data, size)
    if row.get("void_mask"):
        yield from _check_image("void_mask", row["void_mask"]["bytes"], size)
    annotations = row["annotations"]
    if len(row["masks"]) != len(annotations):
        yield f"{len(row['masks'])} masks for {len(annotations)} annotations"
        return
    batch = RleBatch.parse([a["segmentation"]["counts"] for a in annotations], size[1], size[0])
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
        good.append(i)
    for i, expected in zip(good, _packed([annotations[i] for i in good]), strict=True):
        try:
            found = read_bits(row["masks"][i]["bytes"], size[1], size[0])
        except ValueError as error:
            yield f"{_mask(i, annotations[i])}: PNG: {error}"
        else:
            if not np.array_equal(found, expected):
                yield f"{_mask(i, annotations[i])}: the PNG differs from the RLE"


def check_train_row(row: Json) -> Iterator[str]:
    """As `check_row`, and the control image against masks painted one by one."""
    wrong = list(check_row(row))
    yield from wrong
    if wrong:
        return
    size = row["width"], row["height"]
    data = row["conditioning_image"]["bytes"]
    yield from (wrong := list(_check_image("conditioning_image", data, size)))
    if wrong:
        return
    with Image.open(io.BytesIO(data)) as image:
        shown = decode_control(np.asarray(image.convert("RGB")), len(row["masks"]))
    painted = np.full((size[1], size[0]), -1, np.int32)
    annotations = row["annotations"]
    order = sorted(range(len(annotations)), key=lambda i: (-annotations[i]["area"], i))
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


def _without_index(dist: Path) -> Iterator[Problem]:
    """Configs that `configs` doesn't list, since they have no index."""
    folders = {p.parent for p in (dist / DATA).glob("*/*") if SHARD_NAME.fullmatch(p.name)}
    for folder in sorted(folders):
        if not (folder / INDEX).is_file():
            yield Problem(folder.name, f"it holds shards and no {INDEX}: its build didn't end")


def checked_entries(index: Json) -> list[Json]:
    """The entries of all shards, each with what a check needs; raises ShardError otherwise."""
    entries = [dict(entry) for split in index["splits"].values() for entry in split["shards"]]
    for entry in entries:
        for key, kind in (("file", str), ("sha256", str), ("rows", int), ("bytes", int)):
            if not isinstance(entry.get(key), kind):
                raise ShardError(
                    f"its index can't be used: expected {key} in the entry of every shard, found "
                    f"{entry.get(key)!r} in that of {entry.get('file')}; build the config again"
                )
    return entries


def _check_index(dist: Path, config: str, index: Json, entries: list[Json]) -> Iterator[Problem]:
    if config != index["config"]:
        yield Problem(config, f"its index is that of {index['config']}")
    for what in _contradictions(index, entries):
        yield Problem(config, f"its index contradicts itself: {what}")
    yield from _check_rejects(dist, config, index)
    named = {entry["file"] for entry in entries}
    for path in sorted(config_folder(dist, config).iterdir()):
        if _is_data(path.name, index) and path.name not in named:
            yield Problem(config, "no part of the index, but load_dataset may read it", path.name)
    if not receipts_folder(dist, config).is_dir():
        return  # a copy of a published repo: receipts stay where the build ran
    counts: Counter[str] = Counter()
    receipts = 0
    for entry in entries:
        receipt = read_receipt(dist, config, entry["file"])
        if receipt is None:
            yield Problem(config, "it has no receipt", entry["file"])
            continue
        there = {"schema": index["schema"], **receipt.entry, "file": receipt.file}
        made = receipt.source, receipt.settings_sha256
        if there != {**entry, "schema": index["schema"]} or made != (
            index["source"],
            index["settings_sha256"],
        ):
            yield Problem(config, "its receipt and the index differ", entry["file"])
        counts.update(receipt.counts)
        receipts += 1
    found = {name: count for name, count in index["counts"].items() if isinstance(count, int)}
    if receipts == len(entries) and found != dict(counts):
        yield Problem(config, f"its index counts {found}, its receipts {dict(counts)}")


def _contradictions(index: Json, entries: list[Json]) -> Iterator[str]:
    """What in an index doesn't fit the rest of it."""
    columns = list(features_of(index["kind"]))
    if index["columns"] != columns:
        yield f"columns {index['columns']}, those of kind {index['kind']} are {columns}"
    if index["settings_sha256"] != sha256_json(index["settings"]):
        yield "settings_sha256 is not that of its settings"
    if index["format"] not in FORMATS or index["format"] != index["settings"]["format"]:
        yield f"format {index['format']}, its settings say {index['settings']['format']}"
    for name, split in index["splits"].items():
        for key, part in (("num_rows", "rows"), ("num_bytes", "bytes")):
            total = sum(entry[part] for entry in split["shards"])
            if total != split[key]:
                yield f"split {name}: {split[key]} {part}, its shards hold {total}"
    rows = sum(entry["rows"] for entry in entries)
    if entries and index["counts"]["images"] != rows:
        yield f"{index['counts']['images']} images, its shards hold {rows}"


def _check_rejects(dist: Path, config: str, index: Json) -> Iterator[Problem]:
    table = rejects_path(dist, config)
    if not table.is_file() or sha256_file(table) != index["rejects"]["sha256"]:
        yield Problem(config, f"{REJECTS} is absent, or not the one that the index names")
        return
    found = [json.loads(line) for line in table.read_bytes().splitlines()]
    if len(found) != index["rejects"]["rows"] or count_rejects(found) != index["counts"]["rejects"]:
        yield Problem(config, f"its index counts other rejects than {REJECTS} holds")


def _is_data(name: str, index: Json) -> bool:
    """Whether `load_dataset` takes a file of the config's folder for rows, or may do so."""
    return bool(SHARD_NAME.fullmatch(name)) or any(name.startswith(s) for s in index["splits"])


def _check_layout(path: Path, check: ShardCheck) -> str | None:
    """What the index says wrongly of an Arrow shard: its schema, where its columns lie."""
    try:
        stated = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(check.schema or "")))
        with pa.memory_map(str(path)) as file:
            found = pa.ipc.read_schema(file)
        if not found.equals(stated, check_metadata=True):
            return "its schema is not the one that the index states"
        entries = [_unpacked(batch) for batch in check.entry["batches"]]
    except (pa.ArrowException, KeyError, TypeError, ValueError, zlib.error) as error:
        return f"what the index states of its schema and record batches can't be read: {error!r}"
    batches = [_unpacked(batch) for batch in arrow_batches(path)]
    if batches == entries:
        return None
    differing = (
        i for i, pair in enumerate(zip(batches, entries, strict=False)) if pair[0] != pair[1]
    )
    number = next(differing, min(len(batches), len(entries)))
    return f"record batch {number} is not what the index states; build the config again"


def _unpacked(batch: Json) -> Json:
    """A batch of the index with its message as it was before zlib, of which there are several."""
    return {**batch, "message": zlib.decompress(base64.b64decode(batch["message"]))}


def _check_image(column: str, data: bytes, size: tuple[int, int]) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.size != size:
                yield f"{column}: {image.size} pixels, expected {size}"
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        yield f"{column}: does not decode: {error}"


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
