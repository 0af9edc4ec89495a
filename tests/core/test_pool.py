"""A worker that dies costs its own task alone, and its end is told."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core import pool
from builder.core.deaths import ProcessDied, died
from builder.core.errors import ShardError


def task(number: int, on_row: pool.OnRow) -> int:
    """Counts a row; then ends its process by a signal or a status, or raises, or gives back."""
    on_row(1, 2)
    if number < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -number)
    if number == 3:
        os._exit(3)
    if number == 4:
        raise MemoryError
    if number == 5:
        raise Unpicklable(lambda: None)
    return number


class Unpicklable(Exception):
    """It can't be sent to another process."""


def test_the_other_tasks_are_done() -> None:
    counted = [0, 0]

    def on_row(images: int, masks: int) -> None:
        counted[0] += images
        counted[1] += masks

    given = [-signal.SIGSEGV, 10, 3, -signal.SIGTERM, 4, 5, -signal.SIGKILL, 11, 12]
    ended = dict(pool.stream(task, given, 2, on_row))
    assert ended.keys() == set(given)
    assert [ended[number] for number in (10, 11, 12)] == [10, 11, 12]
    found = {n: (e.kind, e.how) for n, e in ended.items() if isinstance(e, ProcessDied)}
    assert found == {
        -signal.SIGSEGV: ("crash", "SIGSEGV"),
        3: ("exit", "exit status 3"),
        -signal.SIGTERM: ("lost", "SIGTERM"),
        4: ("memory", "MemoryError"),
        -signal.SIGKILL: ("memory", "SIGKILL"),
    }
    error = ended[5]
    assert isinstance(error, ShardError)
    assert "Unpicklable: " in str(error)
    assert counted == [4, 8]  # of the tasks that a process has ended itself


def test_tasks_are_taken_when_a_worker_is_free_for_them() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(10, 100):
            taken.append(number)
            yield number

    outcomes = pool.stream(task, tasks(), 1, lambda images, masks: None)
    assert next(outcomes) == (10, 10)
    assert len(taken) < 3
    outcomes.close()
    assert len(taken) < 3


def test_a_run_ends_with_the_first_death() -> None:
    with pytest.raises(ShardError, match=r"a worker process died \(SIGSEGV\)"):
        pool.run(task, [10, -signal.SIGSEGV], 2, lambda images, masks: None)


def test_where_addresses_are_limited_a_crash_is_no_proof(tmp_path: Path) -> None:
    assert died(-signal.SIGSEGV).kind == "crash"
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 46, before[1]))
    try:
        assert died(-signal.SIGSEGV).kind == "memory"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
