"""The images that a device has still to caption: all at once, or as they are dealt to it."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

Numbered = tuple[int, str]  # an image's number in its source, and its name


class Todo(Protocol):
    """Images that come one by one."""

    def take(self, *, wait: bool) -> Numbered | None:
        """The next image.

        Without `wait`, None says that there is none now. With it, that none will come.
        """
        ...


class Given:
    """Images that are there from the start."""

    def __init__(self, images: Iterable[Numbered]) -> None:
        self._images = iter(images)

    def take(self, *, wait: bool) -> Numbered | None:
        """The next image, or None at the end."""
        return next(self._images, None)


class Inbox:
    """Images that another thread deals, in blocks, until it says how many there were.

    The blocks may arrive in any order, also after their number.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Sequence[Numbered] | int | None] = queue.SimpleQueue()
        self._block: deque[Numbered] = deque()
        self._taken = 0
        self._total: int | None = None
        self._stopped = False

    def put(self, block: Sequence[Numbered]) -> None:
        """Add images."""
        self._queue.put(block)

    def end(self, total: int) -> None:
        """Say how many images there are in all blocks."""
        self._queue.put(total)

    def stop(self) -> None:
        """Say that the images that are left shall not be captioned."""
        self._stopped = True
        self._queue.put(None)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def take(self, *, wait: bool) -> Numbered | None:
        """The next image, or None as `Todo` says."""
        while not self._block and not self._stopped and self._taken != self._total:
            try:
                found = self._queue.get(wait)
            except queue.Empty:
                return None
            if isinstance(found, int):
                self._total = found
            else:
                self._block.extend(found or ())
        if self._stopped or not self._block:
            return None
        self._taken += 1
        return self._block.popleft()
