"""The devices of a Ray cluster: Ray Core actors that caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from builder.captioning.images import ImageSource
from builder.captioning.team import Desk, Event, Order, failure
from builder.captioning.todo import Inbox, Numbered
from builder.core.cluster import connect
from builder.core.deaths import ProcessDied
from builder.core.errors import SettingsError, UsageError

_POLL = 1.0  # seconds
_AT_ONCE = 8  # calls of an actor; one of them captions


def choose_actors(address: str, names: Sequence[str]) -> list[torch.device]:
    """Connect to a Ray cluster, and choose one actor for each of its GPUs, or for each node.

    Parameters
    ----------
    address
        As `builder.core.cluster.connect` takes it.
    names
        ("auto",) is all GPUs, or the CPUs of all nodes if there is no GPU; or ("cuda",), ("cpu",).

    Returns
    -------
    list of torch.device
        What each actor has: the only GPU that Ray shows it, or the CPU.

    Raises
    ------
    SettingsError
        There is no cluster, or it has no such device.
    UsageError
        A name is none of these.
    """
    if len(names) != 1 or names[0] not in ("auto", "cuda", "cpu"):
        raise UsageError(
            f"--device {','.join(names)}: expected auto, cuda or cpu with --engine ray, which "
            "takes all devices of that kind in the cluster"
        )
    connect(address)
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cpus = sum(node.get("CPU", 0) >= 1 for node in nodes)
    cuda = names[0] == "cuda" or (names[0] == "auto" and gpus > 0)
    if not (gpus if cuda else cpus):
        raise SettingsError(f"the Ray cluster at {address} has no {'GPU' if cuda else 'CPU'}")
    return [torch.device("cuda", 0)] * gpus if cuda else [torch.device("cpu")] * cpus


def disconnect() -> None:
    """Leave the cluster; its actors end."""
    import ray

    ray.shutdown()


class _Actor:
    """A device's process. Ray calls its methods, several at a time, in threads."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._desk: Desk | None = None
        self._inboxes: dict[int, Inbox] = {}  # by the number of the source

    def load(self) -> Event:
        """Load the model."""
        try:
            self._desk = Desk(self._order)
        except Exception as error:
            return failure(error)
        return self._desk.ready

    def work(self, number: int, images: ImageSource) -> Any:
        """Caption a source; yields events."""
        assert self._desk is not None
        yield from self._desk.work(images, self._inbox(number))
        del self._inboxes[number]

    def feed(self, number: int, block: Sequence[Numbered]) -> None:
        """Take images of a source."""
        self._inbox(number).put(block)

    def end(self, number: int, total: int) -> None:
        """Know how many images of a source there are here."""
        self._inbox(number).end(total)

    def stop(self, number: int) -> None:
        """Give up a source."""
        self._inbox(number).stop()

    def _inbox(self, number: int) -> Inbox:
        return self._inboxes.setdefault(number, Inbox())


class Device:
    """An actor, as the driver sees it."""

    def __init__(self, number: int, order: Order) -> None:
        import ray

        self.name = f"device {number} of the cluster ({order.device.partition(':')[0]})"
        on_gpu = order.device.startswith("cuda")
        self.actor = (
            ray.remote(_Actor)
            .options(
                num_cpus=1,
                num_gpus=1 if on_gpu else 0,
                max_restarts=0,
                max_concurrency=_AT_ONCE,
                scheduling_strategy="SPREAD",
            )
            .remote(order)
        )
        self.pending: Any = self.actor.load.remote()  # what the next event comes from
        self._source = 0

    def begin(self, images: ImageSource) -> None:
        """Start with a source."""
        self._source += 1
        work = self.actor.work.options(num_returns="streaming")
        self.pending = work.remote(self._source, images)

    def feed(self, block: Sequence[Numbered]) -> None:
        """Give images."""
        self.actor.feed.remote(self._source, block)

    def end(self, total: int) -> None:
        """Say how many images were given."""
        self.actor.end.remote(self._source, total)

    def stop(self) -> None:
        """Give up the source."""
        self.actor.stop.remote(self._source)


class RayCrew:
    """The actors of a cluster."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._members = [Device(number, order) for number, order in enumerate(orders, 1)]

    @property
    def members(self) -> Sequence[Device]:
        """Those that live."""
        return list(self._members)

    def events(self) -> Sequence[tuple[Device, Event]]:
        """Wait for an event of some of them."""
        import ray
        from ray.exceptions import RayError

        by_pending = {m.pending: m for m in self._members if m.pending is not None}
        found: list[tuple[Device, Event]] = []
        for pending in ray.wait(list(by_pending), timeout=_POLL)[0] if by_pending else ():
            member = by_pending[pending]
            try:
                streams = not isinstance(pending, ray.ObjectRef)
                event: Event = ray.get(next(pending) if streams else pending)
            except RayError as error:  # its process or its node is gone
                self._members.remove(member)
                found.append((member, ProcessDied("lost", type(error).__name__)))
                continue
            if event is None or not streams:
                member.pending = None
            found.append((member, event))
        return found

    def close(self) -> None:
        """End all."""
        import ray

        for member in self._members:
            ray.kill(member.actor)
