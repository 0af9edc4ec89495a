"""A stream of rows in an order that a seed fixes, which stops and resumes at any row."""

from __future__ import annotations

import bisect
import copy
import hashlib
import heapq
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from asam_datasets.errors import AsamDatasetsError, CorruptDataError, UnreachableError
from asam_datasets.reading import Ahead, Reader
from asam_datasets.shards import Place

OTHER_STATE = (
    "this state was saved from another stream: resume with the same data, size, shuffle_seed, "
    "epoch, rank, number of ranks and workers, and version of asam_datasets"
)
WINDOW = 8  # record batches whose rows are shuffled together: 64 MiB with all columns


def units(batches: list[Place]) -> list[list[Place]]:
    """Group the batches into units, which say how many ranks and workers can share them.

    The number of units is a power of two, or three times one where there are enough batches. It is
    the largest such number that is not above the number of batches. Most numbers of ranks and
    workers divide it. That matters: where the ranks don't divide the number of units,
    `split_dataset_by_node` makes every rank read everything.

    Parameters
    ----------
    batches
        The record batches of a split, in order.

    Returns
    -------
    list of list of Place
        The units, each of about as many rows, in the same order.
    """
    numbers = [2**k for k in range(31)] + [3 * 2**k for k in range(4, 30)]
    return cut(batches, max(n for n in numbers if n <= max(1, len(batches))))


def cut(batches: list[Place], count: int) -> list[list[Place]]:
    """Cut batches, in order, into `count` parts of about as many rows."""
    before = list(accumulate((batch.rows for batch in batches), initial=0))
    bounds = [0]
    for i in range(1, count):
        wanted = before[-1] * i / count
        at = bisect.bisect_left(before, wanted)
        if at and wanted - before[at - 1] < before[at] - wanted:
            at -= 1
        bounds.append(max(min(at, len(batches) - count + i), bounds[-1] + 1))
    return [batches[start:end] for start, end in pairwise([*bounds, len(batches)])]


def deal(batches: list[Place], count: int) -> list[list[Place]]:
    """Deal batches out to `count` parts of about as many rows, each in the order of the batches.

    The largest come first, and each goes to the part that has the fewest rows so far (Graham,
    Bounds on multiprocessing timing anomalies, 1969). Then the part with the most rows trades a
    batch for a smaller one, as long as there is a part with which that makes both more equal.
    Batches of as many rows keep their order. So the order decides which part gets which of them.
    """
    rows = [batch.rows for batch in batches]
    parts: list[list[int]] = [[] for _ in range(count)]
    lightest = [(0, i) for i in range(count)]  # rows and number of each part, a heap
    for at in sorted(range(len(batches)), key=lambda at: -rows[at]):
        total, i = lightest[0]
        parts[i].append(at)
        heapq.heapreplace(lightest, (total + rows[at], i))
    totals = [total for total, _ in sorted(lightest, key=lambda found: found[1])]
    while _traded(parts, totals, rows):
        pass
    return [[batches[at] for at in sorted(part)] for part in parts]


def _traded(parts: list[list[int]], totals: list[int], rows: list[int]) -> bool:
    """Let the part with the most rows trade once, if that makes it and another more equal."""
    most = totals.index(max(totals))
    mine = {rows[at]: at for at in parts[most]}
    for other in sorted(range(len(parts)), key=totals.__getitem__):
        gap = totals[most] - totals[other]
        if gap < 2:
            return False
        theirs = {rows[at]: at for at in parts[other]}
        sizes = sorted(theirs)
        for size in mine:
            at = bisect.bisect_right(sizes, size - gap / 2)  # what would make both equal
            for less in sizes[max(0, at - 1) : at + 1]:
                if abs(2 * (size - less) - gap) < gap:
                    a, b = mine[size], theirs[less]
                    parts[most][parts[most].index(a)], parts[other][parts[other].index(b)] = b, a
                    totals[most] -= size - less
                    totals[other] += size - less
                    return True
    return False


class RowStream(datasets.iterable_dataset._BaseExamplesIterable):  # type: ignore[misc]
    """The rows of record batches, for an IterableDataset. Each row is a table of its own.

    The units, the seed and the epoch fix the order of the rows. So the state of the stream is the
    number of rows that it has given.
    """

    def __init__(
        self, reader: Reader, shards: list[list[Place]], seed: int | None, epoch: int
    ) -> None:
        super().__init__()
        self._reader = reader
        self._seed = seed
        self._epoch = epoch
        self._unshuffled = shards
        self._units = shards
        if seed is not None:
            order = np.random.default_rng([seed, epoch]).permutation(len(shards))
            self._units = [shards[i] for i in order]
        self._sleep_on_threads_shutdown = False

    def _order(self) -> list[Place]:
        batches = [batch for unit in self._units for batch in unit]
        if self._seed is None:
            return batches
        order = np.random.default_rng([self._seed, self._epoch, 1]).permutation(len(batches))
        return [batches[i] for i in order]

    def _fingerprint(self, order: list[Place]) -> str:
        names = [(batch.path, batch.number, batch.rows) for batch in order]
        return hashlib.sha256(repr((self._seed, self._epoch, names)).encode()).hexdigest()[:16]

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {
            "row": 0,
            "order": self._fingerprint(self._order()),
            "type": type(self).__name__,
        }
        return self._state_dict

    @property
    def iter_arrow(self) -> Callable[[], Iterator[tuple[int, pa.Table]]]:
        return self._iter_arrow

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, table in self._iter_arrow():
            yield key, table.to_pylist()[0]

    def _iter_arrow(self) -> Iterator[tuple[int, pa.Table]]:
        order = self._order()
        fingerprint = self._fingerprint(order)
        state: dict[str, Any] = self._state_dict or {"row": 0, "order": fingerprint}
        if state["order"] != fingerprint:
            raise AsamDatasetsError(OTHER_STATE)
        size = 1 if self._seed is None else WINDOW
        windows = [order[i : i + size] for i in range(0, len(order), size)]
        ends = list(accumulate(sum(batch.rows for batch in window) for window in windows))
        row = state["row"]
        first = bisect.bisect_right(ends, row)
        with Ahead(self._reader, (b for window in windows[first:] for b in window)) as ahead:
            for number, window in enumerate(windows[first:], first):
                if len(window) > 1 or number > first:  # a first batch alone has the line to itself
                    ahead.fill()
                try:
                    read = [batch for _ in window if (batch := ahead.next())]
                except (CorruptDataError, UnreachableError) as error:
                    raise type(error)(
                        f"{error}. The {row} rows before it were given: keep this stream's "
                        "state_dict() and load_state_dict() it to go on from there"
                    ) from error
                places = [(table, i) for table in read for i in range(table.num_rows)]
                if self._seed is not None:
                    rng = np.random.default_rng([self._seed, self._epoch, 2, number])
                    places = [places[i] for i in rng.permutation(len(places))]
                for table, i in places[row - ends[number] :]:
                    row += 1
                    state["row"] = row
                    yield row, pa.Table.from_batches([table.slice(i, 1)])
                    ahead.fill()

    def shuffle_data_sources(self, generator: np.random.Generator) -> RowStream:
        """The stream in another order; `set_epoch` (datasets 5) and `.shuffle` call this."""
        seed = int(copy.deepcopy(generator).integers(2**32))
        if self._seed is not None:
            return RowStream(self._reader, self._unshuffled, self._seed, seed)
        shuffled = RowStream(self._reader, self._unshuffled, seed, 0)
        shuffled._seed = None  # the order of the units alone
        return shuffled

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> RowStream:
        """The part of one rank or worker: as many rows as the others', or nearly so."""
        count = min(num_shards, self.num_shards)
        batches = [batch for unit in self._units for batch in unit]
        part = copy.copy(self)
        part._units = []
        if index < count:
            part._units = units((cut if contiguous else deal)(batches, count)[index])
        return part

    def reshard_data_sources(self) -> RowStream:
        """Units are record batches already."""
        return self

    @property
    def num_shards(self) -> int:
        return len(self._units)
