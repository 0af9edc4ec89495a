"""Reads columns of record batches, checks them, and fetches the next batches ahead of time."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.errors import HfHubHTTPError

from asam_datasets.errors import AsamDatasetsError, CorruptDataError, UnreachableError
from asam_datasets.images import ImageRoot
from asam_datasets.index import Index
from asam_datasets.shards import Place
from asam_datasets.stores import Files, Hub
from asam_datasets.values import check_values

# Columns that lie near each other are read by one request. For that, at most so many unwanted bytes
# of a record batch are read.
GAP_BYTES = 16 << 10
# How much is fetched ahead while a batch is consumed: four batches of 8 MiB, or 16 small ones, for
# which latency is most of the time.
AHEAD_BYTES = 32 << 20
AHEAD_BATCHES = 16


class Reader:
    """Reads chosen columns of record batches, each checked against the index.

    Parameters
    ----------
    store
        Where the dist is.
    index
        Of the config.
    columns
        The columns to give; None for all.
    image_root
        The images to give in the column `image`; None for those of the shards.
    """

    def __init__(
        self,
        store: Files | Hub,
        index: Index,
        columns: Sequence[str] | None,
        image_root: ImageRoot | None,
    ) -> None:
        names = index.columns(columns)
        self.schema = pa.schema([index.schema.field(name) for name in names])
        self.features = datasets.Features({name: index.features[name] for name in names})
        self._store = store
        self._layout = index.layout
        self._images = image_root if "image" in names else None
        wanted = set(names)
        if self._images:
            wanted = wanted - {"image"} | {"file_name", "image_sha256"}
        self._fields = {name: i for i, name in enumerate(index.schema.names) if name in wanted}

    def size(self, place: Place) -> int:
        """The bytes to read of a record batch."""
        columns = place.batch.columns(self._layout)
        return sum(columns[i][1] for i in self._fields.values())

    def read(self, place: Place) -> pa.RecordBatch:
        """The chosen columns of a record batch. A batch whose checksum is wrong is read once more.

        Raises
        ------
        CorruptDataError
            The bytes differ from what the index states, both times.
        UnreachableError
            The bytes can't be read.
        """
        where = f"{self._store.name}/{place.path}, record batch {place.number}"
        columns, problem = self._read(place, where)
        if problem:
            columns, problem = self._read(place, where)
        if problem:
            raise CorruptDataError(
                f"{where}: {problem}. The file is damaged, or is not the one that index.json "
                "describes: `python -m builder.verify` says more"
            )
        try:
            return self._chosen(
                {
                    name: place.batch.column(i, self._layout, columns[name])
                    for name, i in self._fields.items()
                }
            )
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise CorruptDataError(
                f"{where}: index.json describes no valid record batch there: {error}"
            ) from error

    def _read(self, place: Place, where: str) -> tuple[dict[str, pa.Buffer], str | None]:
        """The bytes of each wanted column, and what is wrong with them, if anything."""
        columns = place.batch.columns(self._layout)
        wanted = {name: columns[i] for name, i in self._fields.items()}
        runs = _runs(wanted.values())
        try:
            if len(runs) > 1 and not self._store.is_local:
                with ThreadPoolExecutor(len(runs)) as pool:  # so that none waits for the others
                    read = [*pool.map(lambda run: self._range(place, where, *run), runs)]
            else:
                read = [self._range(place, where, *run) for run in runs]
        except FileNotFoundError:
            return {}, "the file is not there"
        parts: dict[int, pa.Buffer] = {}  # what was read, by its start in the body
        for (start, end), data in zip(runs, read, strict=True):
            if len(data) != end - start:
                return {}, f"the file is cut: {end - start} bytes expected, {len(data)} found"
            parts[start] = pa.py_buffer(data)
        found: dict[str, pa.Buffer] = {}
        for name, (start, length) in wanted.items():
            found[name] = pa.py_buffer(b"")
            if length:
                part = max(first for first in parts if first <= start)
                found[name] = parts[part].slice(start - part, length)
            expected, crc32 = place.batch.crc32[self._fields[name]], zlib.crc32(found[name])
            if crc32 != expected:
                return {}, f"column {name}: crc32 {expected:08x} expected, {crc32:08x} found"
        return found, None

    def _range(self, place: Place, where: str, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` of a record batch's body.

        Raises FileNotFoundError or UnreachableError.
        """
        first, stop = place.batch.offset + start, place.batch.offset + end
        try:
            return self._store.read(place.path, first, stop)
        except FileNotFoundError:
            raise
        except UnreachableError as error:
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:  # whatever the transport raises after its retries
            raise UnreachableError(
                f"{where}, bytes {first} to {stop}: {error!r}; try again"
            ) from error

    def read_parquet(self, path: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The chosen columns of a Parquet shard. Parquet's own page checksums are checked.

        Parameters
        ----------
        path
            The shard's path in the dist.
        rows
            How many rows it must have.

        Raises
        ------
        CorruptDataError
            The shard is absent or damaged.
        UnreachableError
            The Hub fails.
        """
        where = f"{self._store.name}/{path}"
        try:
            with self._store.open(path) as opened:
                file = pq.ParquetFile(opened, pre_buffer=True, page_checksum_verification=True)
                if (found := file.metadata.num_rows) != rows:
                    raise CorruptDataError(f"{where}: {rows} rows expected, {found} found")
                for group in range(file.num_row_groups):
                    for batch in file.read_row_group(group, columns=[*self._fields]).to_batches():
                        batch.validate(full=True)
                        yield self._chosen({name: batch.column(name) for name in self._fields})
        except AsamDatasetsError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            kind = UnreachableError if isinstance(error, HfHubHTTPError) else CorruptDataError
            raise kind(f"{where}: can't be read: {error}") from error

    def _chosen(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        if self._images:
            images = self._joined(columns["file_name"], columns["image_sha256"])
            columns = {**columns, "image": images}
        for field in self.schema:
            if (found := columns[field.name].type) != field.type:
                raise pa.ArrowInvalid(f"column {field.name} is {found}, expected {field.type}")
            check_values(field.name, columns[field.name])
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self.schema.names], schema=self.schema
        )

    def _joined(self, names: pa.Array, sha256s: pa.Array) -> pa.Array:
        pairs = zip(names.to_pylist(), sha256s.to_pylist(), strict=True)
        images = [{"bytes": self._images.read(n, s), "path": n} for n, s in pairs if self._images]
        return pa.array(images, self._layout.schema.field("image").type)

    def read_ahead(self, places: Iterable[Place]) -> Iterator[pa.RecordBatch]:
        """Yield the record batches in order. Threads read the next ones in the meantime."""
        with Ahead(self, places) as ahead:
            ahead.fill()
            while (batch := ahead.next()) is not None:
                yield batch
                ahead.fill()


class Ahead:
    """Gives record batches in order, and reads the next ones in threads.

    Nothing is read before it is asked for by `next` or `fill`.
    """

    def __init__(self, reader: Reader, places: Iterable[Place]) -> None:
        self._reader = reader
        self._left = ((reader.size(place), place) for place in places)
        self._next = next(self._left, None)
        self._begun: deque[tuple[int, Future[pa.RecordBatch]]] = deque()
        self._pool = ThreadPoolExecutor(AHEAD_BATCHES, thread_name_prefix="asam_datasets")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def fill(self) -> None:
        """Begin to read as many batches as may be on their way; returns at once."""
        while self._next and self._has_room(self._next[0]):
            self._begin(*self._next)

    def next(self) -> pa.RecordBatch | None:
        """The next batch, None after the last. Raises what `Reader.read` does."""
        if not self._begun and self._next:
            self._begin(*self._next)
        return self._begun.popleft()[1].result() if self._begun else None

    def _has_room(self, size: int) -> bool:
        total = sum(begun for begun, _ in self._begun) + size
        return not self._begun or (len(self._begun) < AHEAD_BATCHES and total <= AHEAD_BYTES)

    def _begin(self, size: int, place: Place) -> None:
        self._begun.append((size, self._pool.submit(self._reader.read, place)))
        self._next = next(self._left, None)


def _runs(columns: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The byte ranges (start, end) that hold these columns (start, length).

    Gaps between columns are closed, the smallest first, up to GAP_BYTES in all.
    """
    ranges = sorted((start, start + length) for start, length in columns if length)
    gaps = sorted((b[0] - a[1], i) for i, (a, b) in enumerate(pairwise(ranges), 1))
    spare = list(accumulate(size for size, _ in gaps))
    closed = {i for (_, i), total in zip(gaps, spare, strict=True) if total <= GAP_BYTES}
    runs: list[tuple[int, int]] = []
    for i, (start, end) in enumerate(ranges):
        if i in closed:
            start = runs.pop()[0]
        runs.append((start, end))
    return runs
