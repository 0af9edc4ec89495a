"""Receipts: what proves that a shard is done, one small file each, kept beside the data.

A shard is done when its receipt names this plan and these settings, and the file is the one that
the receipt describes. Anything else is built again.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import builder
from builder.core.errors import ShardError
from builder.core.files import sha256_file, write_json
from builder.core.layout import config_folder, receipts_folder
from builder.core.records import Json, Reject
from builder.shards.plan import ShardPlan


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is in a shard: the index entry, the rejects met, the counts.

    `plan_sha256` names the items that went in, `settings_sha256` the settings. `counts` holds
    `images`, `masks` and `captions_missing`.
    """

    file: str
    split: str
    plan_sha256: str
    settings_sha256: str
    source: Json
    entry: Json
    counts: dict[str, int]
    unknown_keys: dict[str, int]
    rejects: list[Json]
    code_version: str = builder.__version__


def receipt_path(dist: Path, config: str, file: str) -> Path:
    """Where a shard's receipt stands."""
    return receipts_folder(dist, config) / f"{file}.json"


def write_receipt(dist: Path, config: str, receipt: Receipt) -> None:
    """Write a receipt atomically: from now on its shard is done."""
    write_json(receipt_path(dist, config, receipt.file), asdict(receipt))


def read_receipt(dist: Path, config: str, file: str) -> Receipt | None:
    """A shard's receipt, or None when there is none that can be read."""
    try:
        return Receipt(**json.loads(receipt_path(dist, config, file).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def done(
    dist: Path, config: str, shard: ShardPlan, fmt: str, settings_sha256: str
) -> Receipt | None:
    """The receipt of a shard that needn't be built, or None."""
    receipt = read_receipt(dist, config, shard.file(fmt))
    if (
        receipt is None
        or receipt.settings_sha256 != settings_sha256
        or receipt.plan_sha256 != shard.sha256()
    ):
        return None
    try:
        check_file(config_folder(dist, config) / receipt.file, receipt.entry)
    except ShardError:
        return None
    return receipt


def check_file(path: Path, entry: Json) -> None:
    """Compare a file with its index entry by size and sha256.

    Raises
    ------
    ShardError
        The file is absent, or another one; says what was expected and found.
    """
    if not path.is_file():
        raise ShardError(f"{path.name}: expected {entry['bytes']} bytes, found no file")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise ShardError(f"{path.name}: expected {entry['bytes']} bytes, found {size}")
    sha256 = sha256_file(path)
    if sha256 != entry["sha256"]:
        raise ShardError(f"{path.name}: expected sha256 {entry['sha256']}, found {sha256}")


def count_rejects(rejects: list[Reject] | list[Json]) -> dict[str, int]:
    """Rejects by reason, most first."""
    reasons = (r.reason if isinstance(r, Reject) else r["reason"] for r in rejects)
    return dict(sorted(Counter(reasons).items(), key=lambda pair: (-pair[1], pair[0])))
