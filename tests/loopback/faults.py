"""Faults on demand: what goes wrong, for which requests, how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Action = Literal[
    "status",  # answer with `status` (and Retry-After) instead of doing anything
    "cut",  # close the connection after `after` bytes of the answer's body
    "cut_upload",  # close it after reading `after` bytes of the request's body, do nothing
    "lose",  # do what was asked, then close the connection without an answer
    "stall",  # send `after` bytes of the body, then nothing for `seconds`
    "slow",  # send the body at `rate` bytes per second
    "flip",  # flip the lowest bit of the file's byte at offset `after`
    "whole",  # ignore the Range header
]


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Parameters
    ----------
    action
        What happens, see `Action`.
    method, path
        Shell patterns; the path is unquoted and without its query. A file's requests are
        `/datasets/<repo>/resolve/<revision>/<file>` on the hub, then `/cdn/<repo>/<sha256>/<file>`
        on the CDN where the file is LFS.
    count
        How many requests it hits; -1 for all.
    skip
        How many matching requests pass before the first hit.
    status, retry_after
        Of "status"; seconds.
    after
        Bytes: see `Action`.
    seconds
        Of "stall".
    rate
        Of "slow", bytes per second.
    reset
        Cut with RST, not FIN.
    """

    action: Action
    method: str = "*"
    path: str = "*"
    count: int = 1
    skip: int = 0
    status: int = 503
    retry_after: int | None = None
    after: int = 0
    seconds: float = 30.0
    rate: float = 1e6
    reset: bool = False
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.count != 0 and fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


class Faults:
    """The faults that are waiting, in order."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(
        self, method: str, path: str, *, covers: tuple[int, int] | None = None
    ) -> Fault | None:
        """The first fault for this request, counted as hit.

        "flip" faults wait for a response that covers their byte: they are taken only when
        `covers`, the half-open range of the file's bytes that is sent, is given and holds it.
        """
        with self._lock:
            for fault in self._faults:
                if not fault.matches(method, path) or (fault.action == "flip") != bool(covers):
                    continue
                if covers and not covers[0] <= fault.after < covers[1]:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.count -= fault.count > 0
                fault.hits += 1
                return fault
        return None
