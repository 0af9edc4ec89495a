"""Safe worker processes.

A worker ends when its parent ends. Only the parent reacts to Ctrl-C. A worker imports nothing from
the folder that the command was started in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working directory off the module path of the processes that are started meanwhile.

    A worker of `spawn` starts as `python -c`, which puts the working directory first on the module
    path until the worker receives its parent's path. The process that tracks semaphores starts in
    the same way. The first queue or event starts it.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Delay Ctrl-C while workers are started, so that none is interrupted half started.

    The workers inherit the blocked signal, so only the parent reacts to it. In the parent blocking
    is not enough, because any other thread may receive the signal. So a handler notes it there, and
    KeyboardInterrupt is raised at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C goes to the main thread
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def end_with_parent() -> None:
    """In a worker: end this process when its parent ends, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
