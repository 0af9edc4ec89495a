"""Reads a config of a dist or a repo block by block: some rows, or some columns of many rows.

A block is a record batch of an Arrow shard, or a row group of a Parquet shard. The columns of a
record batch are checked against the index. The PNGs of masks are never read, because the
annotations hold the same masks in a third of the bytes.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from asam_datasets import CorruptDataError, ImageRoot, Reader, open_index, open_store
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.shards import Place
from asam_datasets.values import check_values
from builder.core.errors import SettingsError
from builder.core.records import Json, Reject
from builder.core.rejects import read_rejects

NOT_SHOWN = ("masks",)


@dataclass(frozen=True, slots=True)
class Block:
    """A record batch or a row group. `first` is the number of its first row in the config."""

    split: str
    path: str
    first: int
    rows: int
    place: Place | None  # of an Arrow shard
    group: int = 0  # of a Parquet shard


class Config:
    """A config of a dist or repo.

    Parameters
    ----------
    where
        A folder, a repo "owner/name" or a URL that fsspec opens.
    config
        Its name.
    revision
        A branch, tag or commit of a repo.
    image_root
        The user's own images, for a config that was built without pixels.
    patience
        How long a request may take, and how often it is repeated.
    """

    def __init__(
        self,
        where: str,
        config: str,
        revision: str | None = None,
        image_root: Path | None = None,
        patience: Patience = PATIENT,
    ) -> None:
        self.where = where
        self.store = open_store(where, revision, patience=patience)
        self.index = open_index(self.store, config)
        self.folder = Path(self.store.local("")) if self.store.is_local else None
        self._images = ImageRoot(image_root) if image_root else None
        self.blocks = list(self._blocks())
        self._ends = list(accumulate(block.rows for block in self.blocks))

    @property
    def name(self) -> str:
        """The config's name."""
        return self.index.config

    @property
    def kind(self) -> str:
        """ "train" or "eval"."""
        return self.index.kind

    def __len__(self) -> int:
        """The number of rows in all splits."""
        return self._ends[-1] if self._ends else 0

    def _blocks(self) -> Iterator[Block]:
        first = 0
        for split, described in self.index.splits.items():
            if self.index.format == "arrow":
                for place in self.index.places(described.shards):
                    yield Block(split, place.path, first, place.rows, place)
                    first += place.rows
                continue
            for path in map(self.index.path, described.shards):
                with self.store.open(path) as opened, pq.ParquetFile(opened) as file:
                    for group in range(file.num_row_groups):
                        rows = file.metadata.row_group(group).num_rows
                        yield Block(split, path, first, rows, None, group)
                        first += rows

    def read(self, block: Block, columns: Sequence[str]) -> pa.Table:
        """Read columns of a block.

        Raises
        ------
        CorruptDataError
            They do not fit the index, or can't be decoded.
        UnreachableError
            They can't be read.
        """
        if block.place is not None:
            batch = Reader(self.store, self.index, columns, None).read(block.place)
            return pa.Table.from_batches([batch])
        try:
            with (
                self.store.open(block.path) as opened,
                pq.ParquetFile(opened, page_checksum_verification=True) as file,
            ):
                table = file.read_row_group(block.group, columns=list(columns))
            for name in table.column_names:
                for chunk in table[name].chunks:
                    check_values(name, chunk)
            return table
        except (pa.ArrowException, OSError, ValueError) as error:
            where = f"{self.store.name}/{block.path}, row group {block.group}"
            raise CorruptDataError(f"{where}: can't be read: {error}") from error

    def rows(self, numbers: Sequence[int]) -> Iterator[tuple[Block, int, Json]]:
        """Read rows by their numbers in the config.

        Yields the block, the number and the row, in rising order of the numbers. A row has all
        columns except the masks' PNGs.
        """
        columns = [name for name in self.index.features if name not in NOT_SHOWN]
        held: tuple[Block, pa.Table] | None = None
        for number in sorted(numbers):
            block = self._block_of(number)
            if held is None or held[0] is not block:
                held = block, self.read(block, columns)
            row = held[1].slice(number - block.first, 1).to_pylist()[0]
            if row["image"] is None and self._images:
                data = self._images.read(row["file_name"], row["image_sha256"])
                row["image"] = {"bytes": data, "path": row["file_name"]}
            yield block, number, row

    def file_names(self, numbers: Sequence[int]) -> list[str]:
        """The file names of rows by their numbers in the config, in rising order of these.

        No other column is read.
        """
        names: list[str] = []
        for block, wanted in groupby(sorted(numbers), self._block_of):
            column = self.read(block, ["file_name"])["file_name"]
            names += [column[number - block.first].as_py() for number in wanted]
        return names

    def _block_of(self, number: int) -> Block:
        return self.blocks[bisect.bisect_right(self._ends, number)]

    def find(self, file_names: Sequence[str]) -> list[int]:
        """Find images by file name, or by the last part of it; returns the numbers of their rows.

        Raises
        ------
        SettingsError
            The config has no image of that name.
        """
        wanted = set(file_names)
        found: dict[str, int] = {}
        for block in self.blocks:
            if len(found) == len(wanted):
                break
            for i, name in enumerate(self.read(block, ["file_name"])["file_name"].to_pylist()):
                for alias in {name, name.rpartition("/")[2]} & wanted - found.keys():
                    found[alias] = block.first + i
        if missing := sorted(wanted - found.keys()):
            raise SettingsError(
                f"{self.store.name}, config {self.name}: no image {', '.join(missing)}"
            )
        return sorted(set(found.values()))

    def some_blocks(self, rows: int | None) -> list[Block]:
        """Evenly spread blocks that hold about `rows` rows or more; all blocks if it is None."""
        if rows is None or rows >= len(self):
            return self.blocks
        mean = len(self) / len(self.blocks)
        return [self.blocks[i] for i in spread(len(self.blocks), -int(-rows // mean))]

    def rejects(self) -> list[Reject]:
        """Read the rejects table; raises CorruptDataError if it is absent or damaged."""
        path = f"data/{self.name}/rejects.jsonl"
        try:
            content = self.store.read(path)
        except FileNotFoundError as error:
            raise CorruptDataError(f"{self.store.name}/{path} is not there") from error
        return read_rejects(content, f"{self.store.name}/{path}")


def spread(total: int, count: int) -> list[int]:
    """`count` of the numbers below `total`, evenly spread; all of them if there are fewer."""
    count = min(count, total)
    return [(2 * k + 1) * total // (2 * count) for k in range(count)]
