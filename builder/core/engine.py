"""What runs tasks: worker processes of this machine, or a cluster.

All engines call the same functions with the same tasks, so what is written is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from builder.core import pool

T = TypeVar("T")
R = TypeVar("R")
OnRow = Callable[[int, int], None]
Outcomes = Generator[tuple[T, R | Exception], None, None]


class Engine(Protocol):
    """Calls functions with tasks. `builder.core.pool.stream` says what the arguments are.

    A task's failure is its outcome, and ends no other task. A ProcessDied is one, too. What is
    called is stopped when the generator is closed.
    """

    def stream(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call the function with as many tasks at a time as there is room for."""
        ...

    def one_by_one(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call a function that starts processes, with one task after the other."""
        ...


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Worker processes of this machine.

    Parameters
    ----------
    workers
        The most processes at a time.
    own
        Whether a single worker is a process of its own. If not, tasks are done in this process.
    """

    workers: int
    own: bool = False

    def stream(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call the function with each task, in the workers."""
        if self.own or self.workers > 1:
            return pool.stream(function, tasks, self.workers, on_row)
        return pool.in_process(function, tasks, on_row)

    def one_by_one(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call the function with each task, in this process."""
        return pool.in_process(function, tasks, on_row)


def engine_for(size: int, workers: int | None, *, risky: bool) -> LocalEngine:
    """The local engine for so many bytes of rows, with the given number of workers if there is one.

    A worker that crashes does not end the run, and what killed it is found. So a single worker is a
    process of its own if the run takes long enough to be worth it, or if it is risky because a run
    before it was killed.
    """
    own = risky or pool.worth_a_process(size)
    return LocalEngine(workers or pool.workers_for(size), own)
