"""Runs tasks on a Ray cluster. The tasks and the functions are those of the local engine.

Ray Core tasks, not Ray Data: what is done is known by receipts, which any machine can read, and the
plan alone decides what is in a shard.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import builder
from builder.core.console import sized
from builder.core.deaths import ProcessDied
from builder.core.engine import OnRow, Outcomes
from builder.core.errors import SettingsError
from builder.core.extras import needs
from builder.core.pool import called, portable

T = TypeVar("T")
R = TypeVar("R")

TASK_MEMORY = 600 * 10**6  # bytes; twice what a worker needs at its peak
_LOST_NODES = 3  # a task that lost so many nodes is tried once more alone
_POLL = 1.0  # seconds between looks at the cluster, which may grow
_CLEAN_UP = 10.0  # seconds for tasks that are stopped
_ANSWER = 10.0  # seconds for the cluster's address to answer
_NODE = "the loss of its node"
_END: Any = object()


class RayEngine(AbstractContextManager["RayEngine"]):
    """The nodes of a Ray cluster. A context manager, which connects to the cluster.

    All nodes need this project in the same versions, and must see the same paths.

    Parameters
    ----------
    address
        As `ray.init` takes it: "auto" is the cluster that this machine belongs to.
    memory
        What a task is declared to need, in bytes. Ray starts no more tasks on a node than fit.

    Raises
    ------
    MissingExtraError
        ray is not installed.
    SettingsError
        There is no cluster at the address.
    """

    def __init__(self, address: str = "auto", memory: int = TASK_MEMORY) -> None:
        self._memory = memory
        connect(address)

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()

    def stream(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call the function with as many tasks at a time as the cluster holds."""
        return self._stream(function, tasks, on_row, self._room)

    def one_by_one(
        self, function: Callable[[T, OnRow], R], tasks: Iterable[T], on_row: OnRow
    ) -> Outcomes[T, R]:
        """Call the function with one task after the other, each on some node."""
        return self._stream(function, tasks, on_row, lambda: min(1, self._room()))

    def _room(self) -> int:
        """How many tasks the cluster holds now, beside nothing else."""
        import ray

        return sum(
            int(
                min(
                    node["Resources"].get("CPU", 0),
                    node["Resources"].get("memory", 0) // self._memory,
                )
            )
            for node in ray.nodes()
            if node["Alive"]
        )

    def _stream(
        self,
        function: Callable[[T, OnRow], R],
        tasks: Iterable[T],
        on_row: OnRow,
        room: Callable[[], int],
    ) -> Outcomes[T, R]:
        import ray

        remote = ray.remote(_call).options(
            num_cpus=1, memory=self._memory, max_retries=0, scheduling_strategy="SPREAD"
        )
        waiting = iter(tasks)
        lost: deque[tuple[T, int]] = deque()  # with how many nodes each has lost
        running: dict[Any, tuple[T, int]] = {}
        try:
            while True:
                most = room()
                while len(running) < most:
                    task, times = lost.popleft() if lost else (next(waiting, _END), 0)
                    if task is _END:
                        break
                    running[remote.remote(function, task)] = task, times
                if not running:
                    if most:
                        return
                    task = next(waiting, _END) if not lost else lost[0][0]
                    if task is _END:
                        return
                    raise SettingsError(
                        f"no node of the Ray cluster has a CPU and {sized(self._memory)} of memory "
                        "for a task: start larger ones"
                    )
                for ref in ray.wait(list(running), timeout=_POLL)[0]:
                    task, times = running.pop(ref)
                    outcome = _outcome(ref, on_row)
                    again = isinstance(outcome, ProcessDied) and outcome.how == _NODE
                    if again and times + 1 < _LOST_NODES:
                        lost.append((task, times + 1))
                    else:
                        yield task, outcome
        finally:
            for ref in running:
                ray.cancel(ref)  # as Ctrl-C, so that the task cleans up
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_CLEAN_UP)


def connect(address: str) -> None:
    """Connect to a Ray cluster.

    Raises
    ------
    MissingExtraError
        ray is not installed.
    SettingsError
        There is no cluster at the address.
    """
    with needs("--engine ray", "ray"):
        import ray
    # Ray puts the working directory on the path that its workers import from. It may be a dist,
    # whose asam_datasets.py must not be run. So this package's own folder stands for it.
    with contextlib.chdir(Path(builder.__path__[0]).parent):
        try:
            _answers(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise SettingsError(
                f"no Ray cluster at {address} ({error}): start one by `ray start --head`, add "
                "nodes by `ray start --address=HOST:6379`, and give --address"
            ) from error


def _answers(address: str) -> None:
    """Raise OSError if nothing is at an address HOST:PORT. Ray would ask for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in address:
        socket.create_connection((host, int(port)), _ANSWER).close()


def _call(function: Callable[[T, OnRow], R], task: T) -> tuple[R | Exception, int, int]:
    """Call the function in a Ray worker; gives its outcome with the numbers of rows and masks."""
    done = [0, 0]

    def on_row(images: int, masks: int) -> None:
        done[0] += images
        done[1] += masks

    outcome = called(function, task, on_row)
    if isinstance(outcome, Exception):
        outcome = portable(outcome)
    return outcome, done[0], done[1]


def _outcome(ref: Any, on_row: OnRow) -> Any:
    import ray
    from ray import exceptions

    try:
        outcome, images, masks = ray.get(ref)
    except exceptions.OutOfMemoryError:
        return ProcessDied("memory", "Ray's memory monitor")
    except (exceptions.NodeDiedError, exceptions.ObjectLostError):
        return ProcessDied("lost", _NODE)
    except exceptions.RayError as error:  # a worker that died; Ray does not say by which signal
        return ProcessDied("lost", type(error).__name__)
    on_row(images, masks)
    return outcome
