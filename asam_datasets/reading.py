"""The columns of a record batch, checked, with the next batches already on their way."""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.errors import (
    HfHubHTTPError,
)

from asam_datasets.errors import CorruptDataError, UnreachableError
from asam_datasets.images import ImageRoot
from asam_datasets.index import Batch, Index

GAP_BYTES = 16 << 10  # read at most this much of a record batch in vain, to save requests
AHEAD_BYTES = 32 << 20  # on the way while a batch is consumed: four of 8 MiB ...
AHEAD_BATCHES = 16  # ... or as many small ones, whose time is all latency


class Reader:
    """Reads chosen columns of record batches, each checked against the index."""

    def __init__(
        self, index: Index, columns: Sequence[str] | None, image_root: ImageRoot | None
    ) -> None:
        names = index.columns(columns)
        self.schema = pa.schema([index.schema.field(name) for name in names])
        self.features = datasets.Features({name: index.features[name] for name in names})
        self._store = index.store
        self._file_schema = index.schema
        self._images = image_root if "image" in names else None
        wanted = set(names)
        if self._images:
            wanted = wanted - {"image"} | {"file_name", "image_sha256"}
        self._fields = [i for i, name in enumerate(index.schema.names) if name in wanted]

    def size(self, batch: Batch) -> int:
        """The bytes to read of a batch."""
        return sum(batch.columns[i][1] for i in self._fields)

    def read(self, batch: Batch) -> pa.RecordBatch:
        """The chosen columns of a record batch.

        Raises CorruptDataError when they are not what the index says, twice; UnreachableError when
        they can't be read at all.
        """
        where = f"{self._store.name}/{batch.path}, record batch {batch.number}"
        try:
            chosen, problem = self._read(batch)
        except (ValueError, zlib.error, pa.ArrowException, OSError, OverflowError) as error:
            raise CorruptDataError(
                f"{where}: index.json describes no record batch there: {error!r}"
            ) from error
        if problem:
            raise CorruptDataError(
                f"{where}: {problem}. The file is damaged, or is not the one that index.json "
                "describes: `python -m builder.verify` says more"
            )
        return chosen

    def _read(self, batch: Batch) -> tuple[pa.RecordBatch | None, str | None]:
        """The chosen columns of a record batch, or what is wrong with their bytes."""
        head = zlib.decompress(base64.b64decode(batch.message))
        # A message in which only the wanted columns' bytes are there; the others are never touched,
        # so their zeros cost no memory.
        message = bytearray(len(head) + batch.body[1])
        message[: len(head)] = head
        body = memoryview(message)[len(head) :]
        if problem := self._fill(body, batch) and self._fill(body, batch):
            return None, problem
        read = pa.ipc.read_record_batch(pa.py_buffer(message), self._file_schema)
        if read.num_rows != batch.rows:
            return None, f"{batch.rows} rows expected, {read.num_rows} found"
        return self._chosen(read), None

    def read_parquet(self, path: str) -> Iterator[pa.RecordBatch]:
        """The chosen columns of a Parquet shard, its pages checked.

        Raises CorruptDataError when it is absent or damaged, UnreachableError when the Hub fails.
        """
        wanted = [self._file_schema.names[i] for i in self._fields]
        try:
            with self._store.open(path) as opened:
                file = pq.ParquetFile(opened, pre_buffer=True, page_checksum_verification=True)
                for group in range(file.num_row_groups):
                    for batch in file.read_row_group(group, columns=wanted).to_batches():
                        yield self._chosen(batch)
        except (pa.ArrowException, OSError) as error:
            kind = UnreachableError if isinstance(error, HfHubHTTPError) else CorruptDataError
            raise kind(f"{self._store.name}/{path}: can't be read: {error}") from error

    def _chosen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = [self._file_schema.names[i] for i in self._fields]
        columns = {name: batch.column(name) for name in names}
        if self._images:
            columns["image"] = self._joined(columns["file_name"], columns["image_sha256"])
        return pa.RecordBatch.from_arrays(
            [columns[n] for n in self.schema.names], schema=self.schema
        )

    def _fill(self, body: memoryview, batch: Batch) -> str | None:
        """Read the wanted columns into their places; what is wrong with them, if anything."""
        for start, end in _runs([batch.columns[i] for i in self._fields]):
            try:
                data = self._store.read(batch.path, batch.body[0] + start, batch.body[0] + end)
            except FileNotFoundError:
                return "the file is not there"
            except Exception as error:  # whatever the transport raises after its retries
                raise UnreachableError(
                    f"{self._store.name}/{batch.path}, record batch {batch.number}, bytes "
                    f"{batch.body[0] + start} to {batch.body[0] + end}: {error!r}"
                ) from error
            if len(data) != end - start:
                return f"the file is cut: {end - start} bytes expected, {len(data)} found"
            body[start:end] = data
        for i in self._fields:
            start, length, expected = batch.columns[i]
            found = zlib.crc32(body[start : start + length])
            if found != expected:
                name = self._file_schema.names[i]
                return f"column {name}: crc32 {expected:08x} expected, {found:08x} found"
        return None

    def _joined(self, names: pa.Array, sha256s: pa.Array) -> pa.Array:
        pairs = zip(names.to_pylist(), sha256s.to_pylist(), strict=True)
        images = [{"bytes": self._images.read(n, s), "path": n} for n, s in pairs if self._images]
        return pa.array(images, self._file_schema.field("image").type)

    def read_ahead(self, batches: Iterable[Batch]) -> Iterator[pa.RecordBatch]:
        """The batches in order, read by threads while the ones before are consumed."""
        pool = ThreadPoolExecutor(AHEAD_BATCHES, thread_name_prefix="asam_datasets")
        ahead: deque[tuple[int, Future[pa.RecordBatch]]] = deque()
        try:
            for batch in batches:
                size = self.size(batch)
                while ahead and (
                    len(ahead) == AHEAD_BATCHES or sum(s for s, _ in ahead) + size > AHEAD_BYTES
                ):
                    yield ahead.popleft()[1].result()
                ahead.append((size, pool.submit(self.read, batch)))
            while ahead:
                yield ahead.popleft()[1].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _runs(columns: list[list[int]]) -> list[tuple[int, int]]:
    """The [start, length, ...] of columns as (start, end), the smallest gaps closed first."""
    ranges = sorted((start, start + length) for start, length, _ in columns if length)
    gaps = sorted((b[0] - a[1], i) for i, (a, b) in enumerate(pairwise(ranges), 1))
    spare = list(accumulate(size for size, _ in gaps))
    closed = {i for (_, i), total in zip(gaps, spare, strict=True) if total <= GAP_BYTES}
    runs: list[tuple[int, int]] = []
    for i, (start, end) in enumerate(ranges):
        if i in closed:
            start = runs.pop()[0]
        runs.append((start, end))
    return runs
