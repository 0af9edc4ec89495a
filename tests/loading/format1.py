"""The index of a dist as format 1 had it, made of the shards and of the index of today."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from asam_datasets.batches import Batch
from builder.core.layout import index_path
from builder.shards.index import read_index


def downgrade(dist: Path, config: str) -> Path:
    """Rewrite a config's index in format 1; returns its path."""
    index = read_index(dist, config)
    path = index_path(dist, config)
    document: dict[str, Any] = json.loads(path.read_bytes())
    del document["sha256"], document["features"]
    document |= {"format_version": 1, "columns": index.schema.names}
    document["schema"] = base64.b64encode(index.schema.serialize()).decode()
    for split in document["splits"].values():
        for shard in split["shards"]:
            if "batches" in shard:
                described = next(s for s in index.shards if s.file == shard["file"])
                file = dist / index.path(described)
                shard["batches"] = _batches(file, described.batches, index.layout)
    path.write_text(json.dumps(document))
    return path


def _batches(path: Path, batches: tuple[Batch, ...], layout: Any) -> list[dict[str, Any]]:
    found = []
    with pa.OSFile(str(path)) as file:
        pa.ipc.read_schema(file)
        for batch in batches:
            start = file.tell()
            pa.ipc.read_message(file)
            after = file.tell()
            file.seek(start)
            head = file.read(batch.offset - start)
            file.seek(after)
            columns = [place if place[1] else (0, 0) for place in batch.columns(layout)]
            found.append(
                {
                    "rows": batch.rows,
                    "offset": start,
                    "metadata": len(head),
                    "message": base64.b64encode(zlib.compress(head, 9)).decode(),
                    "body": batch.body,
                    "columns": [
                        [*place, crc32] for place, crc32 in zip(columns, batch.crc32, strict=True)
                    ],
                }
            )
    return found
