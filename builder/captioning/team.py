"""Several devices caption one source. The images are dealt to them as they get done with others.

A device that dies costs its own images alone: they go to the other devices. Whoever calls `share`
writes the captions, in the source's order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import torch

from builder.captioning.images import ImageSource
from builder.captioning.model import load
from builder.captioning.settings import CaptionSettings
from builder.captioning.sight import check_sight
from builder.captioning.stream import CaptionStream, Outcome
from builder.captioning.todo import Inbox, Numbered
from builder.core.console import counted, say
from builder.core.deaths import ProcessDied
from builder.core.errors import CaptionError, SourceError


@dataclass(frozen=True, slots=True)
class Ready:
    """What a device tells when it has loaded the model: how many images it takes at a time."""

    batch: int


@dataclass(frozen=True, slots=True)
class Order:
    """What a device needs to load the model and to make a stream; see `CaptionStream`.

    The settings hold no "auto", so that all devices caption in the same way.
    """

    settings: CaptionSettings
    device: str
    engine: str
    batch: int | None
    threads: int


Event = Ready | Sequence[Outcome] | SourceError | CaptionError | ProcessDied | None
"""What comes from a device: that it is ready, outcomes, an error, its end; None ends a source."""


class Member(Protocol):
    """A device in a process of its own. Its events come from its team's `events`."""

    @property
    def name(self) -> str:
        """The device, for messages."""
        ...

    def begin(self, images: ImageSource) -> None:
        """Start with a source. Its images come by `feed`."""
        ...

    def feed(self, block: Sequence[Numbered]) -> None:
        """Give images."""
        ...

    def end(self, total: int) -> None:
        """Say how many images were given. When they are done, the event None comes."""
        ...

    def stop(self) -> None:
        """Give up the source; the event None comes soon."""
        ...


class Crew(Protocol):
    """Devices that were started."""

    @property
    def members(self) -> Sequence[Member]:
        """Those that live."""
        ...

    def events(self) -> Sequence[tuple[Member, Event]]:
        """Wait for some events. A member that died is no member any more."""
        ...

    def close(self) -> None:
        """End all devices."""
        ...


@dataclass(slots=True)
class _Work:
    """What a member does."""

    given: dict[int, str] = field(default_factory=dict)  # without outcomes yet
    total: int = 0
    busy: bool = False  # with a source
    told: bool = False  # that no more images come


class Team:
    """Deals images to the devices of a crew. A context manager.

    Parameters
    ----------
    crew
        The devices. One of them has to be ready; the others may be so later.

    Raises
    ------
    CaptionError
        The model can't be used.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._batches: dict[Member, int] = {}
        self._work: dict[Member, _Work] = {}
        try:
            while not self._batches:
                self._listen(deque())
        except BaseException:
            crew.close()
            raise

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        self._crew.close()

    @property
    def batch(self) -> int:
        """How many images a device takes at a time."""
        return min(self._batches.values(), default=1)

    def share(self, images: ImageSource, todo: Sequence[Numbered]) -> Iterator[Sequence[Outcome]]:
        """Caption a source on all devices.

        Parameters
        ----------
        images
            The source.
        todo
            The numbers and names of the images.

        Yields
        ------
        sequence of Outcome
            In any order. Each image has exactly one outcome.

        Raises
        ------
        CaptionError
            No device is left, or one can't use the model.
        SourceError
            The source can't be read any further. Every device gives it up and is ready for the
            next one.
        """
        waiting = deque(todo)
        try:
            while waiting or self._busy():
                self._deal(images, waiting)
                yield from self._listen(waiting)
        except SourceError:
            for member in self._busy():
                member.stop()
            while self._busy():
                with suppress(SourceError):
                    self._listen(deque())
            raise

    def _busy(self) -> list[Member]:
        return [member for member, work in self._work.items() if work.busy]

    def _deal(self, images: ImageSource, waiting: deque[Numbered]) -> None:
        """Fill up each device that is ready, and say when no more images come."""
        ready = list(self._batches)
        for member in ready:
            if waiting and not self._work[member].busy:
                self._work[member] = _Work(busy=True)
                member.begin(images)
            work = self._work[member]
            if not work.busy or work.told:
                continue
            # Twice the batch, so that the device never waits. Half of what is left at most, so that
            # no device has much to do when the others have nothing.
            room = 2 * self._batches[member] - len(work.given)
            most = min(room, -(-len(waiting) // (2 * len(ready))))
            if most > 0:
                block = [waiting.popleft() for _ in range(most)]
                work.given.update(block)
                work.total += len(block)
                member.feed(block)
            if not waiting:
                work.told = True
                member.end(work.total)

    def _listen(self, waiting: deque[Numbered]) -> list[Sequence[Outcome]]:
        """Take events; returns the outcomes. The images of devices that died wait again."""
        outcomes: list[Sequence[Outcome]] = []
        for member, event in self._crew.events():
            if isinstance(event, Ready):
                self._batches[member] = event.batch
                self._work[member] = _Work()
            elif isinstance(event, ProcessDied):
                self._bury(member, event, waiting)
            elif isinstance(event, Exception):
                raise event
            elif event is None:
                self._work[member].busy = False
            else:
                for number, _, _ in event:
                    del self._work[member].given[number]
                outcomes.append(event)
        return outcomes

    def _bury(self, member: Member, death: ProcessDied, waiting: deque[Numbered]) -> None:
        """Take a dead device's images back; raises CaptionError if no device is left."""
        self._batches.pop(member, None)
        given = self._work.pop(member, _Work()).given
        if not self._crew.members:
            raise CaptionError(
                f"{member.name}: its process died ({death}), and no device is left: run the same "
                "command again to go on; use a smaller --batch-size if memory ran out"
            )
        images = counted(len(given), "image")
        say(f"warning: {member.name}: its process died ({death}); other devices take its {images}")
        waiting.extendleft(reversed(given.items()))


class Desk:
    """What a device's process does: it loads the model, and captions what comes into an inbox.

    Raises
    ------
    CaptionError
        The model can't be used.
    """

    def __init__(self, order: Order) -> None:
        torch.set_num_threads(order.threads)
        loaded = load(order.settings, torch.device(order.device), order.engine)
        check_sight(loaded)
        self._stream = CaptionStream(loaded, order.engine, order.batch, order.threads)
        self.ready = Ready(self._stream.batch or 1)

    def work(self, images: ImageSource, inbox: Inbox) -> Iterator[Event]:
        """Caption until the inbox ends or is stopped. The last event is None."""
        try:
            for outcomes in self._stream(images, inbox):
                if inbox.stopped:
                    break
                yield outcomes
        except Exception as error:
            yield failure(error)
        yield None


def failure(error: Exception) -> SourceError | CaptionError:
    """An error in a form that can be sent to another process."""
    if isinstance(error, SourceError):
        return SourceError(str(error))
    if isinstance(error, CaptionError):
        return CaptionError(str(error))
    return CaptionError(f"a device's process failed: {type(error).__name__}: {error}")
