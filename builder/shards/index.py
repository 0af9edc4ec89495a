"""The index of a config: made of its receipts, it is the contract with every reader.

`index.json` holds, beside source, settings and counts, for each split the shards in order: file,
rows, bytes, sha256; and for Arrow shards, where each record batch lies (`offset` of its message,
length of the `metadata` before the body, those bytes themselves as `message`, base64 of zlib, so
that a reader fetches nothing but columns; length of the `body`) and for each column of the batch
`[start, length, crc32]`, the start counted from the body's. `schema` is the Arrow IPC schema
message, base64.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import builder
from asam_datasets import features_of
from builder.core.errors import ShardError
from builder.core.files import dump_json, sha256_json, write_bytes, write_json
from builder.core.layout import config_folder, index_path, rejects_path
from builder.core.records import Json, Listing, Source
from builder.shards.plan import Settings
from builder.shards.receipt import Receipt, count_rejects

FORMAT_VERSION = 1


def write_index(
    dist: Path, source: Source, settings: Settings, listing: Listing, receipts: Sequence[Receipt]
) -> Json:
    """Write a config's rejects table and index; remove shards that no receipt names.

    The rejects of the listing come first, then each shard's in order.
    """
    rejects = [asdict(reject) for reject in listing.rejects]
    rejects += [reject for receipt in receipts for reject in receipt.rejects]
    table = b"".join(dump_json(reject) for reject in rejects)
    write_bytes(rejects_path(dist, source.config), table)

    schema: str | None = None
    splits: dict[str, Any] = {}
    for receipt in receipts:
        entry = {"file": receipt.file, **receipt.entry}
        schema = entry.pop("schema", None)
        split = splits.setdefault(receipt.split, {"num_rows": 0, "num_bytes": 0, "shards": []})
        split["num_rows"] += entry["rows"]
        split["num_bytes"] += entry["bytes"]
        split["shards"].append(entry)
    counts: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
        unknown.update(receipt.unknown_keys)
    settings_json = settings.as_json()
    index = {
        "format_version": FORMAT_VERSION,
        "config": source.config,
        "kind": source.kind,
        "format": settings.fmt,
        "columns": list(features_of(source.kind)),
        "annotations_only": bool(settings_json.get("annotations_only")),
        "source": listing.fingerprint,
        "settings": settings_json,
        "settings_sha256": sha256_json(settings_json),
        "code_version": builder.__version__,
        "counts": {
            **counts,
            "rejects": count_rejects(rejects),
            "unknown_keys": dict(sorted(unknown.items())),
        },
        "rejects": {"rows": len(rejects), "sha256": hashlib.sha256(table).hexdigest()},
        "schema": schema,
        "splits": splits,
    }
    write_json(index_path(dist, source.config), index)
    _remove_others(dist, source.config, {receipt.file for receipt in receipts})
    return index


def read_index(dist: Path, config: str) -> Json:
    """Read a config's index.

    Raises
    ------
    ShardError
        There is none, or it isn't one of this format.
    """
    path = index_path(dist, config)
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ShardError(f"{path}: not found; build the config first") from error
    except (OSError, ValueError) as error:
        raise ShardError(f"{path}: can't be read: {error}; build the config again") from error
    found = index.get("format_version") if isinstance(index, dict) else None
    if found != FORMAT_VERSION:
        raise ShardError(f"{path}: expected format_version {FORMAT_VERSION}, found {found}")
    return dict(index)


def _remove_others(dist: Path, config: str, keep: set[str]) -> None:
    """Remove shards of an earlier plan: a glob of the card would read them too."""
    for path in config_folder(dist, config).iterdir():
        if path.suffix in (".arrow", ".parquet") and path.name not in keep:
            path.unlink()
