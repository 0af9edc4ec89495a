"""Converts an index of format 1 to format 2.

Format 1 had no checksum, and described record batches differently: by the Arrow library's own
message (zlib, then base64), and by the start, length and crc32 of each column. It also held the
schema as a message. That one is ignored here, because the config's kind says what the columns are.
"""

from __future__ import annotations

import base64
import zlib

from asam_datasets.batches import ALIGNMENT, Batch, Layout, read_message
from asam_datasets.contract import Node
from asam_datasets.schema import KINDS, features_of, features_to_json

_LONGEST_MESSAGE = 1 << 20  # bytes; those of both schemas have less than 4 kB


def upgraded(node: Node) -> Node:
    """An index of format 1 in the form of format 2.

    Raises
    ------
    ContractError
        The description of a record batch is malformed or contradicts itself.
    """
    features = features_of(node["kind"].choice(*KINDS))
    layout = Layout(features.arrow_schema)
    arrow = node["format"].value == "arrow"
    splits = {}
    for name, split in node["splits"].members().items():
        shards = []
        for shard in split["shards"].items():
            entry = dict(shard.mapping())
            if arrow:
                batches = shard["batches"].items()
                entry["batches"] = [_batch(batch, layout).to_json() for batch in batches]
            shards.append(entry)
        splits[name] = {**split.mapping(), "shards": shards}
    document = {**node.mapping(), "features": features_to_json(features), "splits": splits}
    return Node(node.file, "", document)


def _batch(node: Node, layout: Layout) -> Batch:
    head = _inflated(node["message"], node["metadata"].integer(8, _LONGEST_MESSAGE))
    try:
        lengths, nulls, buffers = read_message(head)
    except ValueError as error:
        node["message"].fail(f"a record batch's message ({error})")
    columns = [tuple(column.integers(3, 0, 2**53)) for column in node["columns"].items()]
    batch = Batch(
        rows=node["rows"].integer(0),
        offset=node["offset"].integer(0) + len(head),
        body=node["body"].integer(0),
        lengths=tuple(lengths),
        nulls=tuple(nulls),
        buffers=tuple(length for _, length in buffers),
        crc32=tuple(crc32 for _, _, crc32 in columns),
    )
    if len(buffers) != layout.buffers[-1] or min(batch.buffers) < 0:
        node["message"].fail(f"a message of {layout.buffers[-1]} buffers")
    if [start for start, _ in buffers] != batch.starts():
        node["message"].fail(f"buffers that follow each other at multiples of {ALIGNMENT} bytes")
    found = [(start, length) if length else (0, 0) for start, length in batch.columns(layout)]
    if found != [(start, length) for start, length, _ in columns]:
        node["columns"].fail(f"the columns of its message, {found}")
    return batch


def _inflated(node: Node, size: int) -> bytes:
    """A message that inflates to `size` bytes; it is never inflated further than that."""
    text = node.text()
    try:
        inflater = zlib.decompressobj()
        head = inflater.decompress(base64.b64decode(text, validate=True), size)
    except (ValueError, zlib.error) as error:
        node.fail(f"base64 of zlib ({error})")
    if len(head) != size or not inflater.eof or inflater.unused_data:
        node.fail(f"a message of {size} bytes")
    return head
