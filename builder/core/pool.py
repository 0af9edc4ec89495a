"""Runs a function over tasks in worker processes of this machine.

`concurrent.futures` gives up all tasks when one process dies, and does not tell which task it had.
pebble tells, but its processes share two locks, and one that is killed while it holds a lock stops
the others; it also misses a process that dies within a tenth of a second after it took its task.
So each worker here has a pipe of its own, and shares nothing. A pipe that closes names the task.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from asam_datasets.errors import AsamDatasetsError
from builder.core.console import default_workers
from builder.core.deaths import ProcessDied, died
from builder.core.errors import ShardError
from builder.core.processes import start_worker

T = TypeVar("T")
R = TypeVar("R")
OnRow = Callable[[int, int], None]

# Starting a process takes as long as building about 32 MB of rows.
_WORTH_A_PROCESS = 32 * 10**6
_NO_TASK: Any = object()

# What a worker sends: that it is ready, the numbers of a row, a result, an error.
_READY, _ROW, _RESULT, _ERROR = range(4)


class _Stopped(Exception):
    """Ends a worker's task early."""


def workers_for(size: int) -> int:
    """The best number of processes for so many bytes of rows, at most one for each core."""
    return max(1, min(default_workers(), size // _WORTH_A_PROCESS))


def worth_a_process(size: int) -> bool:
    """Whether so many bytes of rows take so long that one more process costs next to nothing."""
    return size >= 2 * _WORTH_A_PROCESS


def run(
    function: Callable[[T, OnRow], R], tasks: Sequence[T], workers: int, on_row: OnRow
) -> list[R]:
    """Call the function with each task. The first failure ends the run.

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
    found: dict[int, R] = {}
    numbered = partial(_numbered, function)
    with closing(stream(numbered, enumerate(tasks), min(workers, len(tasks)), on_row)) as outcomes:
        for (number, _), outcome in outcomes:
            if isinstance(outcome, ProcessDied):
                raise ShardError(
                    f"a worker process died ({outcome}); run the same command again, with fewer "
                    "--workers if it was memory: what is done stays done"
                ) from outcome
            if isinstance(outcome, Exception):
                raise outcome
            found[number] = outcome
    return [found[number] for number in range(len(tasks))]


def _numbered(function: Callable[[T, OnRow], R], task: tuple[int, T], on_row: OnRow) -> R:
    return function(task[1], on_row)


def in_process(
    function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
) -> Generator[tuple[T, R | Exception], None, None]:
    """As `stream`, in this process. A death of it is not survived."""
    for task in tasks:
        yield task, called(function, task, on_row)


def called(function: Callable[[T, OnRow], R], task: T, on_row: OnRow) -> R | Exception:
    """The function's result, or its error. A MemoryError becomes a ProcessDied."""
    done = [0, 0]

    def counted(images: int, masks: int) -> None:
        done[0] += images
        done[1] += masks
        on_row(images, masks)

    try:
        return function(task, counted)
    except MemoryError:
        on_row(-done[0], -done[1])
        return ProcessDied("memory", "MemoryError")
    except Exception as error:
        return error


def stream(
    function: Callable[[T, OnRow], R], tasks: Iterable[T], workers: int, on_row: OnRow
) -> Generator[tuple[T, R | Exception], None, None]:
    """Call the function with each task in worker processes. Failures end no other task.

    A worker that dies is replaced. If it died because the memory is full, it is not, so the other
    tasks have fewer beside them.

    Parameters
    ----------
    function, on_row
        As for `run`. The rows of a task whose process died are taken back by negative numbers.
    tasks
        A task is taken when a worker is free for it.
    workers
        The most processes at a time.

    Yields
    ------
    task
        One of the tasks, in the order in which they end.
    outcome
        The function's result, the error that it raised, or a ProcessDied. A MemoryError is one,
        too.

    Raises
    ------
    ShardError
        No worker process can be started.
    """
    crew = _Crew(function, workers)
    waiting = iter(tasks)
    try:
        while True:
            task = _NO_TASK
            while crew.has_room() and (task := next(waiting, _NO_TASK)) is not _NO_TASK:
                if not crew.give(task):
                    waiting = chain([task], waiting)
            if crew.is_idle():
                return
            for task, outcome in crew.messages(on_row):
                if outcome is _NO_TASK:  # its worker died before it could take it
                    waiting = chain([task], waiting)
                else:
                    yield task, outcome
    finally:
        crew.stop(on_row)


def alone(function: Callable[[T, OnRow], R], task: T, on_row: OnRow) -> R:
    """Call the function with one task in a process of its own.

    Raises
    ------
    ProcessDied
        The process died.
    ShardError
        No process can be started.
    """
    with closing(stream(function, [task], 1, on_row)) as outcomes:
        _, outcome = next(outcomes)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Worker(Generic[T]):
    """A process, this end of its pipe, and its task."""

    def __init__(self) -> None:
        self.pipe, self.process = start_worker(_work)
        self.task: T = _NO_TASK
        self.ready = False
        self.rows = self.masks = 0


class _Crew(Generic[T, R]):
    """The workers of a run."""

    def __init__(self, function: Callable[[T, OnRow], R], most: int) -> None:
        self._function, self._most = function, most
        self._workers: dict[Any, _Worker[T]] = {}

    def is_idle(self) -> bool:
        """Whether no worker has a task."""
        return all(worker.task is _NO_TASK for worker in self._workers.values())

    def has_room(self) -> bool:
        """Whether a task can be given to a worker, or to a new one."""
        busy = sum(worker.task is not _NO_TASK for worker in self._workers.values())
        return busy < self._most

    def give(self, task: T) -> bool:
        """Give a task to a worker, or to a new one; False if no further one can be started."""
        free = (worker for worker in self._workers.values() if worker.task is _NO_TASK)
        worker = next(free, None)
        if worker is None:
            try:
                worker = _Worker()
            except (OSError, RuntimeError) as error:
                self._lower(str(error))
                return False
            self._workers[worker.pipe] = worker
        worker.task, worker.rows, worker.masks = task, 0, 0
        if worker.ready:
            self._send(worker)
        return True

    def messages(self, on_row: OnRow) -> Iterator[tuple[T, Any]]:
        """Wait for workers, and yield the tasks that have ended, each with its outcome.

        The outcome is `_NO_TASK` for a task whose worker died before it had read it.
        """
        for pipe in wait(list(self._workers)):
            worker = self._workers[pipe]
            try:
                kind, *values = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._buried(worker, on_row)
                continue
            if kind == _READY:
                worker.ready = True
                if worker.task is not _NO_TASK:
                    self._send(worker)
            elif kind == _ROW:
                worker.rows += values[0]
                worker.masks += values[1]
                on_row(*values)
            else:
                task, worker.task = worker.task, _NO_TASK
                outcome = values[0]
                if isinstance(outcome, MemoryError):
                    on_row(-worker.rows, -worker.masks)
                    outcome = ProcessDied("memory", "MemoryError")
                    self._most = max(1, self._most - 1)
                yield task, outcome

    def _send(self, worker: _Worker[T]) -> None:
        with suppress(OSError):  # it has died, and `messages` finds it
            worker.pipe.send((self._function, worker.task))

    def _buried(self, worker: _Worker[T], on_row: OnRow) -> Iterator[tuple[T, Any]]:
        """Forget a worker that died; yields its task."""
        del self._workers[worker.pipe]
        worker.pipe.close()
        worker.process.join()
        death = died(worker.process.exitcode)
        if not worker.ready:
            self._lower(f"one ended by {death} while it started")
            if worker.task is not _NO_TASK:
                yield worker.task, _NO_TASK
            return
        if death.kind == "memory":
            self._most = max(1, self._most - 1)
        if worker.task is not _NO_TASK:
            on_row(-worker.rows, -worker.masks)
            yield worker.task, death

    def _lower(self, why: str) -> None:
        """Go on with fewer workers; raises ShardError if none is left."""
        if not self._workers:
            raise ShardError(
                f"worker processes can't be started ({why}): run the same command with "
                "--workers 1, or with more memory and threads"
            )
        self._most = len(self._workers)

    def stop(self, on_row: OnRow) -> None:
        """End the workers. One that has a task ends it at its next row, and cleans up."""
        for worker in self._workers.values():
            with suppress(OSError):
                worker.pipe.send(None)
        for worker in self._workers.values():
            with suppress(EOFError, OSError):
                while True:  # what it still sends has to be read, or it would wait for ever
                    kind, *values = worker.pipe.recv()
                    if kind == _ROW:
                        on_row(*values)
            worker.process.join()
            worker.pipe.close()


def _work(pipe: Connection) -> None:
    """What a worker process does."""
    with suppress(EOFError, BrokenPipeError, _Stopped):
        pipe.send((_READY,))
        while (given := pipe.recv()) is not None:
            function, task = given
            pipe.send(_outcome(function, task, pipe))


def _outcome(function: Callable[[T, OnRow], R], task: T, pipe: Connection) -> tuple[int, Any]:
    def on_row(images: int, masks: int) -> None:
        pipe.send((_ROW, images, masks))
        if pipe.poll():  # nothing comes while a task is done, except the sign to stop
            raise _Stopped

    try:
        return _RESULT, function(task, on_row)
    except _Stopped:
        raise
    except MemoryError:
        return _ERROR, MemoryError()  # a subclass may hold what can't be pickled
    except Exception as error:
        return _ERROR, portable(error)


def portable(error: Exception) -> Exception:
    """The error, or one with its text if it can't be sent to another process.

    One that is none of this project's gets its traceback as a note.
    """
    if not isinstance(error, AsamDatasetsError):
        error.add_note(traceback.format_exc())
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return ShardError(f"{type(error).__name__}: {error}")
    return error
