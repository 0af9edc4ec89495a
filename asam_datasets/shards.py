"""The shards of a config, as its index and the receipts of a build describe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asam_datasets.batches import Batch, Layout
from asam_datasets.contract import Node
from asam_datasets.names import LONGEST_NAME, SPLIT_NAME, shard_name

_MOST_SHARD_BYTES = 2**48


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard: a file of the config's folder. `batches` are those of an Arrow shard."""

    file: str
    rows: int
    bytes: int
    sha256: str
    batches: tuple[Batch, ...] = ()

    @classmethod
    def from_json(cls, node: Node, file: str, layout: Layout | None) -> Shard:
        """Check and take what an index or a receipt says of a shard.

        Parameters
        ----------
        node
            What it says.
        file
            The name that the shard must have.
        layout
            Of the config's schema. None for a Parquet shard, whose index lists no record batches.

        Raises
        ------
        ContractError
            A field is invalid, or the record batches don't add up to the shard.
        """
        node["file"].equal(file)
        size = node["bytes"].integer(1, _MOST_SHARD_BYTES)
        rows = node["rows"].integer(0, size)  # a row has more than one byte
        batches = []
        if layout is not None:
            end = 0
            for item in node["batches"].items():
                batches.append(Batch.from_json(item, layout, end, size))
                end = batches[-1].offset + batches[-1].body
            if (found := sum(batch.rows for batch in batches)) != rows:
                node["rows"].fail(f"{found}, the rows of its record batches")
        return cls(file, rows, size, node["sha256"].sha256(), tuple(batches))

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        found = {"file": self.file, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}
        batches = [batch.to_json() for batch in self.batches]
        return {**found, "batches": batches} if self.file.endswith(".arrow") else found


@dataclass(frozen=True, slots=True)
class Split:
    """A split: its shards in order."""

    name: str
    shards: tuple[Shard, ...]

    @property
    def num_rows(self) -> int:
        """The rows of all its shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """The bytes of all its shards."""
        return sum(shard.bytes for shard in self.shards)

    @classmethod
    def from_json(cls, node: Node, name: str, fmt: str, layout: Layout | None) -> Split:
        """Check and take what an index says of a split; raises ContractError."""
        if len(name) > LONGEST_NAME or not SPLIT_NAME.fullmatch(name):
            node.fail("a split whose name is words joined by dots, and is not 'all'")
        items = node["shards"].items()
        if not items:
            node["shards"].fail("at least one shard")
        names = (shard_name(name, i, len(items), fmt) for i in range(len(items)))
        shards = tuple(Shard.from_json(x, n, layout) for x, n in zip(items, names, strict=True))
        split = cls(name, shards)
        node["num_rows"].equal(split.num_rows)
        node["num_bytes"].equal(split.num_bytes)
        return split

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        shards = [shard.to_json() for shard in self.shards]
        return {"num_rows": self.num_rows, "num_bytes": self.num_bytes, "shards": shards}


@dataclass(frozen=True, slots=True)
class Place:
    """A record batch, the path of its shard in the dist, and its number there."""

    path: str
    number: int
    batch: Batch

    @property
    def rows(self) -> int:
        """The rows of the record batch."""
        return self.batch.rows
