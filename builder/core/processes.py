"""Safe worker processes.

A worker ends when its parent ends. Only the parent reacts to Ctrl-C. A worker imports nothing from
the folder that the command was started in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

PARENT = "ASAM_DATASETS_PARENT"  # tells a worker the process that started it
_POLL = 0.1  # seconds between looks at the parent


@contextmanager
def safe_start() -> Iterator[None]:
    """Start processes meanwhile that import nothing from here, and that end with this one.

    A worker of `spawn` starts as `python -c`, which puts the working directory first on the module
    path until the worker receives its parent's path. The process that tracks semaphores starts in
    the same way. The first queue or event starts it.

    A worker follows its parent as soon as it imports `builder`, before everything else: see
    `follow_parent`.
    """
    set_now = {"PYTHONSAFEPATH": "1", PARENT: str(os.getpid())}
    before = {name: os.environ.get(name) for name in set_now}
    os.environ.update(set_now)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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


def start_worker(target: Callable[..., None], *arguments: object) -> tuple[Connection, BaseProcess]:
    """Start a worker process that shares nothing with others, and ends with this one.

    Parameters
    ----------
    target
        What it calls: a function of a module, with its end of a pipe and the arguments.
    arguments
        Picklable.

    Returns
    -------
    pipe : Connection
        This process's end. It is at its end (EOFError) when the worker has ended.
    process : BaseProcess
        The worker.

    Raises
    ------
    OSError, RuntimeError
        No process can be started.
    """
    context = multiprocessing.get_context("spawn")  # CUDA and threads can't be forked
    with safe_start():
        resource_tracker.ensure_running()  # its start unblocks Ctrl-C, so it comes before
        with interrupt_deferred():
            pipe, theirs = context.Pipe()
            try:
                given = (theirs, *arguments)
                process = context.Process(target=target, args=given, daemon=True)
                process.start()
            except BaseException:
                pipe.close()
                raise
            finally:
                theirs.close()
    return pipe, process


def follow_parent() -> None:
    """End this process when the process that started it by `safe_start` ends, for any reason.

    `builder` calls this when it is imported. So a worker whose parent is killed ends at once, also
    while it still imports the libraries, which can take long on a busy machine.
    """
    parent = int(os.environ.pop(PARENT))  # so that the worker's own processes don't follow it, too
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:  # a process without its parent gets another one
        time.sleep(_POLL)
    os._exit(1)
