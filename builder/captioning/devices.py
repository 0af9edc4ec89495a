"""The devices of this machine, and the processes that caption on several of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from builder.captioning.images import ImageSource
from builder.captioning.team import Desk, Event, Order, failure
from builder.captioning.todo import Inbox, Numbered
from builder.core.deaths import died
from builder.core.errors import SettingsError, UsageError
from builder.core.processes import start_worker

# What this process sends to a device's: a source, images of it, their number, an early end.
_BEGIN, _FEED, _END, _STOP = range(4)


def choose_devices(names: Sequence[str]) -> tuple[list[torch.device], bool]:
    """Resolve the names of devices.

    Parameters
    ----------
    names
        "auto", which is all GPUs or else the CPU, or "cpu", "cuda", "cuda:N".

    Returns
    -------
    devices : list of torch.device
        At least one.
    fell_back : bool
        Whether the CPU is used because there is no GPU.

    Raises
    ------
    SettingsError
        This machine has no such GPU.
    UsageError
        A name is none of these.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found: list[torch.device] = []
    for name in names:
        if name == "auto" or (name == "cuda" and len(names) == 1 and gpus):
            found += [torch.device("cuda", index) for index in range(gpus)]
            continue
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from error
        if device.type not in ("cpu", "cuda"):
            raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
        if device.type == "cuda" and (device.index or 0) >= gpus:
            raise SettingsError(f"--device {name}: {_gpus(gpus)}; use another, or auto or cpu")
        found.append(device)
    return (found, False) if found else ([torch.device("cpu")], True)


def _gpus(number: int) -> str:
    """What this machine has."""
    if number:
        names = (f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(number))
        return f"this machine has {', '.join(names)}"
    built = torch.version.cuda
    why = f"torch {torch.__version__}, for CUDA {built}" if built else "this torch is for the CPU"
    return f"this machine has no GPU that torch can use ({why})"


def device_name(device: torch.device) -> str:
    """What a device is called in a record."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class DeviceProcess:
    """A device of this machine in a process of its own."""

    def __init__(self, order: Order) -> None:
        self.name = order.device
        self.pipe, self.process = start_worker(_work, order)

    def begin(self, images: ImageSource) -> None:
        """Start with a source."""
        self._send(_BEGIN, images)

    def feed(self, block: Sequence[Numbered]) -> None:
        """Give images."""
        self._send(_FEED, block)

    def end(self, total: int) -> None:
        """Say how many images were given."""
        self._send(_END, total)

    def stop(self) -> None:
        """Give up the source."""
        self._send(_STOP, None)

    def _send(self, kind: int, value: object) -> None:
        with suppress(OSError):  # it has died, and `events` finds it
            self.pipe.send((kind, value))


class LocalCrew:
    """A process for each of some devices of this machine."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._by_pipe: dict[Any, DeviceProcess] = {}
        try:
            for order in orders:
                member = DeviceProcess(order)
                self._by_pipe[member.pipe] = member
        except BaseException:
            self.close()
            raise

    @property
    def members(self) -> Sequence[DeviceProcess]:
        """Those that live."""
        return list(self._by_pipe.values())

    def events(self) -> Sequence[tuple[DeviceProcess, Event]]:
        """Wait for an event of some of them."""
        found: list[tuple[DeviceProcess, Event]] = []
        for pipe in wait(list(self._by_pipe)):
            member = self._by_pipe[pipe]
            try:
                found.append((member, member.pipe.recv()))
            except (EOFError, OSError):
                del self._by_pipe[pipe]
                member.process.join()
                found.append((member, died(member.process.exitcode)))
        return found

    def close(self) -> None:
        """End all."""
        for member in self.members:
            member.process.terminate()
            member.process.join()
            member.pipe.close()


def _work(pipe: Connection, order: Order) -> None:
    """What a device's process does. One thread receives, and this one captions."""
    try:
        desk = Desk(order)
    except Exception as error:
        pipe.send(failure(error))
        pipe.recv()  # until it is ended
        return
    pipe.send(desk.ready)
    sources: queue.SimpleQueue[tuple[ImageSource, Inbox]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, sources), daemon=True).start()
    while True:
        for event in desk.work(*sources.get()):
            pipe.send(event)


def _receive(pipe: Connection, sources: queue.SimpleQueue[tuple[ImageSource, Inbox]]) -> None:
    inbox = Inbox()
    with suppress(EOFError, OSError):
        while True:
            kind, value = pipe.recv()
            if kind == _BEGIN:
                inbox = Inbox()
                sources.put((value, inbox))
            elif kind == _FEED:
                inbox.put(value)
            elif kind == _END:
                inbox.end(value)
            else:
                inbox.stop()
