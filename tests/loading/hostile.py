"""Reads a config under seeded lies about its record batches; prints how often each outcome came.

A process of its own, since what is looked for is one that ends: `python -m tests.loading.hostile`.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import random
import sys
import zlib
from pathlib import Path
from typing import Any

from asam_datasets import AsamDatasetsError, load
from asam_datasets.contract import signed

CASES = 150
_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 63, 64, 100, 1000, 2**16, 2**20, 2**31 - 1, 2**31, -1, 2**63 - 1)


def main(dist: Path) -> None:
    """Try all cases on the dist's config sa_000000, which is damaged after it."""
    logging.disable()
    rng = random.Random(1)
    path = dist / "data/sa_000000/index.json"
    whole = json.loads(path.read_bytes())
    shard = dist / "data/sa_000000" / whole["splits"]["train"]["shards"][0]["file"]
    data = shard.read_bytes()
    expected = rows(dist)
    counts = {"refused": 0, "equal": 0, "other": 0, "wrong": 0}
    for case in range(CASES):
        document = copy.deepcopy(whole)
        entry = document["splits"]["train"]["shards"][0]
        body = bytearray(data)
        lie = _lie_in_bytes if case % 3 == 0 else _lie_in_numbers
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            lie(rng, entry["batches"][rng.randrange(len(entry["batches"]))], body)
        shard.write_bytes(body)
        path.write_text(json.dumps(signed(document) if whole["format_version"] > 1 else document))
        try:
            found = rows(dist)
        except AsamDatasetsError:
            counts["refused"] += 1
            continue
        counts["equal" if found == expected else "other"] += 1
        counts["wrong"] += lie is _lie_in_numbers and len(found) != len(expected)
    json.dump(counts, sys.stdout)


def rows(dist: Path) -> list[Any]:
    """All rows, as Python values."""
    return list(load("sa_000000", repo_or_path=dist, streaming=True).decode(False))


def _lie_in_numbers(rng: random.Random, batch: dict[str, Any], data: bytearray) -> None:
    """Change a number that describes the batch; in format 1, bytes of its message."""
    if "message" in batch:
        head = bytearray(zlib.decompress(base64.b64decode(batch["message"])))
        place = rng.randrange(0, len(head) - 8, 4)
        value = rng.choice(_NUMBERS) & (2**64 - 1)
        size = rng.choice((1, 2, 4, 8))
        head[place : place + size] = (value & (256**size - 1)).to_bytes(size, "little")
        batch["message"] = base64.b64encode(zlib.compress(head)).decode()
        return
    numbers = batch[rng.choice(("lengths", "nulls", "buffers", "buffers"))]
    place = rng.randrange(len(numbers))
    near = numbers[place] + rng.choice((-64, -8, -4, -1, 1, 4, 8, 64))
    numbers[place] = rng.choice((*_NUMBERS, near, near, near, near))
    _sign(batch, data)


def _lie_in_bytes(rng: random.Random, batch: dict[str, Any], data: bytearray) -> None:
    """Change bytes of the batch, such as offsets and the bits that say what is null."""
    start = batch["offset"] + batch.get("metadata", 0)
    place = start + rng.randrange(batch["body"] // 8) * 8
    if rng.random() < 0.7:  # behind the images, where the structure is
        place = start + batch["body"] - rng.randrange(1, 3000)
    value = rng.choice(_NUMBERS) & (2**32 - 1)
    data[place : place + 4] = value.to_bytes(4, "little")
    _sign(batch, data)


def _sign(batch: dict[str, Any], data: bytearray) -> None:
    """Give each column the crc32 of the bytes that the numbers now say it has."""
    if "columns" in batch:
        start = batch["offset"] + batch["metadata"]
        for column in batch["columns"]:
            column[2] = zlib.crc32(data[start + column[0] : start + column[0] + column[1]])
        return
    from asam_datasets import TRAIN_FEATURES
    from asam_datasets.batches import Batch, Layout

    layout = Layout(TRAIN_FEATURES.arrow_schema)
    numbers = {key: tuple(batch[key]) for key in ("lengths", "nulls", "buffers", "crc32")}
    stated = Batch(batch["rows"], batch["offset"], batch["body"], **numbers)
    batch["crc32"] = [
        zlib.crc32(data[stated.offset + max(0, first) : stated.offset + max(0, first + size)])
        for first, size in stated.columns(layout)
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
