"""Where an export reads from: a dist on disk or a repo on the Hub, shard by shard, front to back.

A shard is read once, in one pass (from the Hub in one request for Arrow), its sha256 taken on the
way and compared with the index at its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import HubError, ShardError
from builder.records import Json
from builder.shards.layout import DATA, INDEX

_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """A dist or a repo. Picklable.

    `root` is a folder, or `hf://datasets/<repo>@<revision>`.
    """

    root: str
    remote: bool = False

    @classmethod
    def of(cls, dist_or_repo: str, revision: str | None = None) -> Origin:
        """A folder if there is one of that name, else a Hub repo `<name>/<repo>`.

        Raises
        ------
        ShardError
            It is neither.
        """
        if Path(dist_or_repo).is_dir():
            return cls(dist_or_repo)
        if dist_or_repo.count("/") != 1 or dist_or_repo.startswith((".", "/")):
            raise ShardError(f"{dist_or_repo}: no such folder, and no name of a Hub repo")
        at = f"@{revision}" if revision else ""
        return cls(f"hf://datasets/{dist_or_repo}{at}", remote=True)

    def index(self, config: str) -> Json:
        """A config's index.

        Raises
        ------
        ShardError
            There is none, or it can't be read.
        """
        try:
            with self._open(config, INDEX) as file:
                index = json.loads(file.read())
        except FileNotFoundError as error:
            raise ShardError(
                f"{self.root}: no config {config} ({DATA}/{config}/{INDEX} not found)"
            ) from error
        except (OSError, ValueError) as error:
            raise ShardError(f"{self.root}: {config}/{INDEX} can't be read: {error}") from error
        return dict(index)

    def rows(self, config: str, fmt: str, entry: Json) -> Iterator[Json]:
        """The rows of a shard as Python values.

        Raises
        ------
        ShardError
            The shard can't be read to its end, or is not the one that the index describes; rows
            that were yielded before may be wrong.
        """
        where = f"{config}/{entry['file']}"
        rows = 0
        try:
            with self._open(config, entry["file"]) as file:
                batches = _parquet(file) if fmt == "parquet" else _stream(file, where, entry)
                for batch in batches:
                    for i in range(batch.num_rows):
                        yield batch.slice(i, 1).to_pylist()[0]
                    rows += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            kind = HubError if self.remote else ShardError
            raise kind(f"{where}: can't be read on after row {rows}: {error}") from error
        if rows != entry["rows"]:
            raise ShardError(f"{where}: expected {entry['rows']} rows, found {rows}")

    @contextlib.contextmanager
    def _open(self, config: str, name: str) -> Iterator[BinaryIO]:
        if not self.remote:
            with (Path(self.root) / DATA / config / name).open("rb") as file:
                yield file
            return
        sequential = {"block_size": 0} if name.endswith(".arrow") else {}
        with fsspec.open(f"{self.root}/{DATA}/{config}/{name}", "rb", **sequential) as remote:
            yield remote


class _Hashed(io.RawIOBase):
    """A file read front to back, hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _stream(file: BinaryIO, where: str, entry: Json) -> Iterator[Any]:
    hashed = _Hashed(file)
    with pa.ipc.open_stream(pa.PythonFile(hashed, mode="r")) as stream:
        yield from stream
    while hashed.read(_READ):
        pass
    if (found := hashed.sha256.hexdigest()) != entry["sha256"]:
        raise ShardError(f"{where}: expected sha256 {entry['sha256']}, found {found}")


def _parquet(file: BinaryIO) -> Iterator[Any]:
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        yield from parquet.iter_batches(batch_size=8)
