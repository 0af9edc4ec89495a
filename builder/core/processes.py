"""Worker processes: none outlives its parent, and Ctrl-C is the parent's business alone.

None of them imports anything from the folder that a command stands in.
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

    A worker of `spawn` is a `python -c`. That has the working directory first on its path, until it
    gets the path of its parent. The process that watches over semaphores is one too; the first
    queue or event starts it.
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
    """Hold Ctrl-C back while workers are started, so that it never meets one half started.

    The workers inherit the blocked signal: to stop is the parent's business. Blocking it is not
    enough for the parent, where any thread may be handed the signal.
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
    """In a worker: end as soon as the parent has, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
