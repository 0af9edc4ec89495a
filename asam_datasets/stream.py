"""A stream of rows in an order that a seed fixes, which stops and resumes at any row."""

from __future__ import annotations

import bisect
import copy
import hashlib
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from asam_datasets.errors import AsamDatasetsError, CorruptDataError, UnreachableError
from asam_datasets.reading import Reader
from asam_datasets.shards import Place

OTHER_STATE = (
    "this state was saved from another stream: resume with the same data, size, shuffle_seed, "
    "epoch, rank and number of ranks and workers"
)
WINDOW = 8  # record batches whose rows are shuffled together: 64 MiB with all columns


def units(batches: list[Place]) -> list[list[Place]]:
    """Group the batches into units, which are what ranks and workers get.

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
        The units, each of about as many batches, in the same order.
    """
    numbers = [2**k for k in range(31)] + [3 * 2**k for k in range(4, 30)]
    count = max(n for n in numbers if n <= max(1, len(batches)))
    bounds = [i * len(batches) // count for i in range(count + 1)]
    return [batches[start:end] for start, end in pairwise(bounds)]


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
        tables = self._reader.read_ahead(batch for window in windows[first:] for batch in window)
        for number, window in enumerate(windows[first:], first):
            try:
                read = [next(tables) for _ in window]
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

    def shuffle_data_sources(self, generator: np.random.Generator) -> RowStream:
        """The stream in another order; `set_epoch` (datasets 5) and `.shuffle` call this."""
        seed = int(copy.deepcopy(generator).integers(2**32))
        if self._seed is not None:
            return RowStream(self._reader, self._unshuffled, self._seed, seed)
        shuffled = RowStream(self._reader, self._unshuffled, seed, 0)
        shuffled._seed = None  # the order of the units alone
        return shuffled

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> RowStream:
        """The part of one rank or worker."""
        part = copy.copy(self)
        chosen = self.split_shard_indices_by_worker(num_shards, index, contiguous)
        part._units = [self._units[i] for i in chosen]
        return part

    def reshard_data_sources(self) -> RowStream:
        """Units are record batches already."""
        return self

    @property
    def num_shards(self) -> int:
        return len(self._units)
