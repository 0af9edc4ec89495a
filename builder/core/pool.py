"""Runs a function over tasks in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from builder.core.console import default_workers
from builder.core.errors import ShardError
from builder.core.processes import interrupt_deferred, safe_start

T = TypeVar("T")
R = TypeVar("R")
OnRow = Callable[[int, int], None]

# Starting a process takes as long as building about 32 MB of rows.
_WORTH_A_PROCESS = 32 * 10**6
_POLL = 0.2  # seconds between looks at the workers' counts

# Of a worker process, set by `_start_worker`.
_counts: Any = None
_stop: Event | None = None


class _Stopped(Exception):
    """Ends a worker's task early."""


def workers_for(size: int) -> int:
    """The best number of processes for so many bytes of rows, at most one for each core."""
    return max(1, min(default_workers(), size // _WORTH_A_PROCESS))


def run(
    function: Callable[[T, OnRow], R], tasks: Sequence[T], workers: int, on_row: OnRow
) -> list[R]:
    """Call the function with each task.

    Parameters
    ----------
    function
        Takes a task and a callback. It calls that with the numbers of new images and new masks
        after each row. Picklable.
    tasks
        The tasks. Picklable.
    workers
        The number of processes. With 1, no process is started.
    on_row
        Called in this process with the same numbers.

    Returns
    -------
    list
        The results, in the order of the tasks.

    Raises
    ------
    ShardError
        A worker process died or can't be started. The shards that were finished stay.
    """
    if workers == 1 or len(tasks) <= 1:
        return [function(task, on_row) for task in tasks]
    context = multiprocessing.get_context("spawn")
    with safe_start():
        counts, stop = context.SimpleQueue(), context.Event()
        pool = ProcessPoolExecutor(
            min(workers, len(tasks)), context, initializer=_start_worker, initargs=(counts, stop)
        )
    with safe_start(), interrupt_deferred():
        futures = _submit(pool, function, tasks)
    try:
        pending: set[Future[R]] = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=_POLL)
            _drain(counts, on_row)
            for future in finished:
                future.result()  # the first failure ends the run
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise ShardError(
            "a worker process died (out of memory?); run the same command again, with fewer "
            "--workers if it was memory: what is done stays done"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        _drain(counts, on_row)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[T, OnRow], R], tasks: Sequence[T]
) -> list[Future[R]]:
    """Give all tasks to the pool; the first starts its processes and a thread that minds them."""
    try:
        return [pool.submit(_call, function, task) for task in tasks]
    except RuntimeError as error:  # of a thread or of the pool
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():  # they wait for tasks, for ever
            process.terminate()
            process.join()
        raise ShardError(
            f"worker processes can't be started ({error}): run the same command with --workers 1, "
            "or with more memory and threads"
        ) from error


def _call(function: Callable[[T, OnRow], R], task: T) -> R:
    def on_row(images: int, masks: int) -> None:
        _counts.put((images, masks))
        if _stop is not None and _stop.is_set():
            raise _Stopped

    return function(task, on_row)


def _start_worker(counts: Any, stop: Event) -> None:
    global _counts, _stop
    _counts, _stop = counts, stop


def _drain(counts: Any, on_row: OnRow) -> None:
    while not counts.empty():
        on_row(*counts.get())
