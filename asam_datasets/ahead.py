"""Brings the rows of a stream to a size, in threads beside the one that takes them."""

from __future__ import annotations

import copy
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np

from asam_datasets.errors import AsamDatasetsError
from asam_datasets.sized import Row, Sizer
from asam_datasets.stream import OTHER_STATE

# How many rows are decoded ahead, for each thread; and how many bytes their arrays may have.
AHEAD_ROWS = 2
AHEAD_PIXELS = 256 << 20
_MOST_THREADS = 4


class SizedStream(datasets.iterable_dataset._BaseExamplesIterable):  # type: ignore[misc]
    """The rows of another stream, brought to a size. Its state is the other stream's.

    Threads decode the next rows while one is used. Each row takes two others in, until as many as
    allowed are on their way. So the first row waits for no other, and an error is raised when its
    row is asked for.
    """

    def __init__(self, source: Any, sizer: Sizer) -> None:
        super().__init__()
        self._source = source
        self._sizer = sizer
        self._sleep_on_threads_shutdown = False

    @property
    def is_typed(self) -> bool:
        """The rows have the types that `features` says."""
        return True

    @property
    def features(self) -> datasets.Features:
        return self._sizer.features

    @property
    def num_shards(self) -> int:
        return int(self._source.num_shards)

    def _init_state_dict(self) -> dict[str, Any]:
        # A copy: the source goes ahead of the rows that were given.
        state: dict[str, Any] = copy.deepcopy(self._source._init_state_dict())
        self._state_dict = state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Go on from a state of this stream."""
        if state_dict.keys() != self._init_state_dict().keys():
            raise AsamDatasetsError(OTHER_STATE)
        loaded: dict[str, Any] = super().load_state_dict(state_dict)
        return loaded

    def __iter__(self) -> Iterator[tuple[Any, Row]]:
        state = self._state_dict
        if state is not None:
            self._source.load_state_dict(state)
        rows = iter(self._source)
        threads = _threads()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="asam_datasets")
        ahead: deque[tuple[Any, Any, int, Future[Row]]] = deque()
        failure: Exception | None = None
        ended, more = False, 1
        try:
            while True:
                for _ in range(more):
                    full = sum(size for _, _, size, _ in ahead) > AHEAD_PIXELS
                    if ended or len(ahead) >= AHEAD_ROWS * threads or (ahead and full):
                        break
                    try:
                        key, row = next(rows)
                    except StopIteration:
                        ended = True
                    except Exception as error:  # raised after the rows that came before it
                        failure, ended = error, True
                    else:
                        after = None if state is None else self._source.state_dict()
                        work = pool.submit(self._sizer.row, row)
                        ahead.append((key, after, self._sizer.bytes(row), work))
                if not ahead:
                    if failure:
                        raise failure
                    return
                key, after, _, work = ahead.popleft()
                made = work.result()
                if state is not None:
                    state.update(after)
                yield key, made
                more = 2
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            rows.close()

    def shuffle_data_sources(self, generator: np.random.Generator) -> SizedStream:
        """The stream in another order."""
        return SizedStream(self._source.shuffle_data_sources(generator), self._sizer)

    def shard_data_sources(self, *args: Any, **options: Any) -> SizedStream:
        """The part of one rank or worker."""
        return SizedStream(self._source.shard_data_sources(*args, **options), self._sizer)

    def reshard_data_sources(self) -> SizedStream:
        """The stream in smaller parts, if it has any."""
        return SizedStream(self._source.reshard_data_sources(), self._sizer)


def _threads() -> int:
    """How many threads decode: one in a DataLoader's worker, else one for each core, at most 4."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.utils.data.get_worker_info() is not None:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)
