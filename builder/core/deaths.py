"""Why the process of a task ended before the task did."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Literal

from builder.core.console import sized

Kind = Literal["crash", "memory", "lost", "exit"]

# Signals that a process gets for what it did itself.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
# cgroups, version 2 and version 1, as a container sees its own.
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class ProcessDied(Exception):
    """A process ended before its task did.

    Parameters
    ----------
    kind
        "crash" is a signal that a process gets for what it did itself, such as SIGSEGV. "memory"
        means that the memory ran out. "exit" is an exit status. "lost" is everything else that ends
        a process from outside, such as SIGTERM, or a node that was taken away.
    how
        The signal's name or the exit status, such as "SIGSEGV" or "exit status 1".
    """

    def __init__(self, kind: Kind, how: str) -> None:
        super().__init__(kind, how)
        self.kind, self.how = kind, how

    def __str__(self) -> str:
        return f"{self.how}, out of memory" if self.kind == "memory" else self.how


def died(exitcode: int | None) -> ProcessDied:
    """What the exit code of a process says, as `multiprocessing` gives it.

    Linux ends the process that has the most memory by SIGKILL when the memory runs out. Libraries
    also crash where they get no memory. So no crash counts as one if the addresses of a process are
    limited (`ulimit -v`).

    Parameters
    ----------
    exitcode
        Negative for a signal; None if it is not known.
    """
    if exitcode is None:
        return ProcessDied("lost", "an unknown end")
    if exitcode >= 0:
        return ProcessDied("exit", f"exit status {exitcode}")
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:  # a real-time signal has no name
        return ProcessDied("lost", f"signal {-exitcode}")
    if name == "SIGKILL" or (name in _CRASHES and _addresses() is not None):
        return ProcessDied("memory", name)
    return ProcessDied("crash" if name in _CRASHES else "lost", name)


def memory_bound() -> int:
    """The most memory in bytes that a process of this machine can get.

    The machine's memory, or a lower limit of the container or of the process's addresses.
    """
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _addresses()]
    for path in _CGROUPS:
        try:
            bounds.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # not this version, or "max"
            continue
    return min(bound for bound in bounds if bound is not None)


def memory_there() -> str:
    """`memory_bound` in words."""
    return f"at most {sized(memory_bound())} of memory"


def _addresses() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
