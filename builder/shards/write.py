"""Writes rows to a shard's file and makes the shard's entry for the index.

An Arrow shard is an IPC *stream*, so plain `load_dataset` streams it with one GET. The entry makes
it readable column by column. It says where each record batch and each of its columns is in the
file, with a checksum. `close` makes the entry by reading the finished file. A shard that can't be
read back gets no entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from asam_datasets.batches import ALIGNMENT, Batch, Layout, read_message
from asam_datasets.schema import legacy_metadata
from asam_datasets.shards import Shard
from builder.core.errors import ShardError

# The size of Arrow's record batches in bytes. A reader of one row fetches a whole batch, and a
# streaming reader shuffles within it. 8 MiB are about eight images of SA-1B. Smaller batches need
# more requests, larger ones more memory.
BATCH_BYTES = 8 << 20
# The size of Parquet's row groups in bytes. fsspec reads 5 MiB ahead for each column chunk, so with
# smaller groups, reading one column would transfer most of the file.
ROW_GROUP_BYTES = 32 << 20
# Chunks end by content, so that Xet stores equal rows only once. These are the Hub's own values.
CONTENT_DEFINED_CHUNKING = {
    "min_chunk_size": 256 << 10,
    "max_chunk_size": 1 << 20,
    "norm_level": 0,
}
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def shard_schema(features: datasets.Features) -> pa.Schema:
    """The Arrow schema of a shard. Its metadata holds the features in the form of datasets 3."""
    metadata = {"huggingface": json.dumps(legacy_metadata(features))}
    return pa.schema(features.type, metadata=metadata)


class _Sink(io.RawIOBase):
    """A file for pyarrow to write to. It hashes what is written, and keeps an error until `check`.

    An error must not reach pyarrow 26 while it chunks a column by content: that ends the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._position = 0
        self._error: OSError | None = None
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        if self._error is None:
            self.sha256.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        self._position += len(data)
        return len(data)

    def check(self) -> None:
        """Raise the error of an earlier write, if there was one."""
        if self._error is not None:
            raise self._error

    def close_durably(self) -> None:
        """Check, sync to disk and close."""
        self.check()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            super().close()


class ShardWriter:
    """Writes rows to a shard. The same rows always give the same bytes.

    It is a context manager. An exception in the context removes the file.

    Parameters
    ----------
    path
        A temporary path. The caller renames it after `close`.
    features
        The features of the config.
    fmt
        "arrow" or "parquet".
    batch_bytes
        A record batch or row group ends as soon as it has this size; by default BATCH_BYTES or
        ROW_GROUP_BYTES.
    """

    def __init__(
        self, path: Path, features: datasets.Features, fmt: str, batch_bytes: int | None = None
    ) -> None:
        self.path = path
        self.schema = shard_schema(features)
        self._columns = frozenset(self.schema.names)
        self._arrow = fmt == "arrow"
        self._limit = batch_bytes or (BATCH_BYTES if self._arrow else ROW_GROUP_BYTES)
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._rows = 0
        self._sink = _Sink(path)
        try:
            self._writer = (
                pa.ipc.new_stream(self._sink, self.schema)
                if self._arrow
                else _parquet_writer(self._sink, self.schema)
            )
        except BaseException:
            self._sink.close()
            path.unlink(missing_ok=True)
            raise

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Parameters
        ----------
        row
            A value for each column. An image is `{"bytes": ..., "path": ...}`.

        Raises
        ------
        ShardError
            The row does not fit the schema.
        OSError
            The disk is full.
        """
        if row.keys() != self._columns:
            raise ShardError(
                f"{self.path.name}, row {self._rows}: the columns must be {sorted(self._columns)}, "
                f"missing {sorted(self._columns - row.keys())}, "
                f"unknown {sorted(row.keys() - self._columns)}"
            )
        arrays = []
        for field in self.schema:
            try:
                arrays.append(pa.array([row[field.name]], type=field.type))
            except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
                raise ShardError(
                    f"{self.path.name}, row {self._rows} ({row.get('file_name')}): the value of "
                    f"{field.name} is not of type {field.type}: {error}"
                ) from error
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        self._rows += 1
        if self._pending_bytes >= self._limit:
            self._flush()

    def close(self) -> Shard:
        """Finish the file, sync it to disk and read it back.

        Returns
        -------
        Shard
            The shard's entry for the index, with the temporary file's name.

        Raises
        ------
        ShardError
            The file can't be read back, or holds another number of rows.
        """
        self._flush()
        self._writer.close()
        self._sink.close_durably()
        batches: list[Batch] = []
        if self._arrow:
            batches = arrow_batches(self.path, self.schema)
            found = sum(batch.rows for batch in batches)
        else:
            found = pq.read_metadata(self.path).num_rows
        if found != self._rows:
            raise ShardError(f"{self.path}: {self._rows} rows were written, {found} read back")
        size = self.path.stat().st_size
        sha256 = self._sink.sha256.hexdigest()
        return Shard(self.path.name, self._rows, size, sha256, tuple(batches))

    def abort(self) -> None:
        """Close and remove the file. It may be incomplete."""
        for part in (self._writer, self._sink):
            with contextlib.suppress(OSError, pa.ArrowException):
                part.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending).combine_chunks()
            self._pending = []
            self._pending_bytes = 0
            self._writer.write_table(table)
            self._sink.check()


def arrow_batches(path: Path, schema: pa.Schema) -> list[Batch]:
    """Describe each record batch of an Arrow stream for the index (asam_datasets.batches).

    Parameters
    ----------
    path
        The file.
    schema
        The schema that the file must have.

    Raises
    ------
    ShardError
        The stream is truncated, has another schema, or holds a batch that is not valid.
    """
    with pa.OSFile(str(path), "rb") as file:
        try:
            found = pa.ipc.read_schema(file)
            if not found.equals(schema):
                raise ShardError(f"{path}: expected the schema\n{schema}\nfound\n{found}")
            batches = list(_read_batches(file, Layout(schema)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ShardError(f"{path}: not a whole Arrow stream: {error}") from error
        file.seek(file.size() - len(END_OF_STREAM))
        if file.read() != END_OF_STREAM:
            raise ShardError(f"{path}: the Arrow stream has no end marker, so it was cut")
    return batches


def _read_batches(file: pa.NativeFile, layout: Layout) -> Iterator[Batch]:
    while True:
        start = file.tell()
        try:
            message = pa.ipc.read_message(file)
        except EOFError:
            return
        read = pa.ipc.read_record_batch(message, layout.schema)
        body = message.body
        end = file.tell()
        file.seek(start)
        lengths, nulls, buffers = read_message(file.read(end - start - body.size))
        file.seek(end)
        batch = Batch(
            rows=read.num_rows,
            offset=end - body.size,
            body=body.size,
            lengths=tuple(lengths),
            nulls=tuple(nulls),
            buffers=tuple(length for _, length in buffers),
            crc32=(),
        )
        if [start for start, _ in buffers] != batch.starts():
            raise ValueError(f"buffers do not follow each other at multiples of {ALIGNMENT} bytes")
        columns = batch.columns(layout)
        crc32 = tuple(zlib.crc32(body.slice(first, size)) for first, size in columns)
        batch = replace(batch, crc32=crc32)
        _compare(batch, read, body, layout)
        yield batch


def _compare(batch: Batch, read: pa.RecordBatch, body: pa.Buffer, layout: Layout) -> None:
    """Check that the entry's numbers give the same columns as the Arrow library reads."""
    for number, (first, size) in enumerate(batch.columns(layout)):
        made = batch.column(number, layout, body.slice(first, size))
        if _places(made) != _places(read.column(number)):
            raise ValueError(f"column {layout.schema.names[number]} is not what was read")


def _places(array: pa.Array) -> list[tuple[int, int]]:
    """The address and size of each of an array's buffers, without empty ones."""
    return [(b.address, b.size) for b in array.buffers() if b is not None and b.size]


def _parquet_writer(sink: io.RawIOBase, schema: pa.Schema) -> pq.ParquetWriter:
    """Images are stored as they are. Other columns get dictionaries and snappy compression."""
    leaves = {path: leaf for field in schema for path, leaf in _leaves(field.name, field.type)}
    images = {path for path, leaf in leaves.items() if pa.types.is_binary(leaf)}
    return pq.ParquetWriter(
        sink,
        schema,
        compression={path: "none" if path in images else "snappy" for path in leaves},
        use_dictionary=[path for path in leaves if path not in images],
        write_page_index=True,
        write_page_checksum=True,
        use_content_defined_chunking=CONTENT_DEFINED_CHUNKING,
    )


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of Parquet that make up a column: their dotted paths and types."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind
