"""Captioning on several devices.

The main process uses the first device. Each other device has a process of its own. The images of a
source are dealt out to the devices in blocks. Only the main process writes captions.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any

import torch

from builder.captioning.images import ImageSource
from builder.captioning.model import load
from builder.captioning.settings import CaptionSettings
from builder.captioning.stream import CaptionStream, Numbered, Outcome
from builder.core.errors import CaptionError, SettingsError, SourceError, UsageError
from builder.core.processes import interrupt_deferred, safe_start

_BLOCK = 256  # images; small blocks keep the devices close to each other in the source


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


class DeviceProcesses:
    """Processes that caption, one for each device after the first. A context manager.

    Parameters
    ----------
    devices
        The devices without the first.
    settings, engine, batch, threads
        As for `CaptionStream`; `threads` is the number for each process.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        settings: CaptionSettings,
        engine: str,
        batch: int | None,
        threads: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA can't be forked
        self._shared = 0
        self._tasks: list[Any] = []
        self._processes: list[Any] = []
        # Making the first queue starts multiprocessing's resource tracker. Starting that unblocks
        # Ctrl-C, so the queue is made before Ctrl-C is deferred.
        with safe_start():
            self._outcomes: Any = context.Queue()
            # The number of the source that is being captioned; 0 for none.
            self._source: Any = context.Value("q", 0)
        with safe_start(), interrupt_deferred():
            for device in devices:
                tasks = context.Queue()
                queues = (self._source, tasks, self._outcomes)
                arguments = (str(device), settings, engine, batch, threads, *queues)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                self._tasks.append(tasks)
                self._processes.append(process)

    def share(
        self, stream: CaptionStream, images: ImageSource, todo: Sequence[Numbered]
    ) -> Iterator[Sequence[Outcome]]:
        """Caption a source on all devices.

        Parameters
        ----------
        stream
            The stream of the main process's device.
        images, todo
            As for `CaptionStream`.

        Yields
        ------
        sequence of Outcome
            In any order.

        Raises
        ------
        CaptionError
            A process failed or was killed.
        SourceError
            The source can't be read any further. Every process gives it up and is ready for the
            next one.
        """
        self._shared += 1
        self._source.value = self._shared
        parts = _deal(todo, 1 + len(self._processes))
        for tasks, part in zip(self._tasks, parts[1:], strict=True):
            tasks.put((self._shared, images, part))
        expected = sum(len(part) for part in parts[1:])
        try:
            with closing(stream(images, parts[0])) as own:
                for outcomes in own:
                    yield outcomes
                    for others in self._arrived(wait=False):
                        expected -= len(others)
                        yield others
            while expected:
                for others in self._arrived(wait=True):
                    expected -= len(others)
                    yield others
        finally:
            self._source.value = 0

    def _arrived(self, *, wait: bool) -> Iterator[Sequence[Outcome]]:
        while True:
            try:
                source, outcomes = self._outcomes.get(wait, timeout=1.0)
            except queue.Empty:
                self._check()
                return
            if isinstance(outcomes, str):
                raise CaptionError(f"a device's process failed: {outcomes}")
            if source != self._shared:  # an outcome of an earlier source, which was given up
                continue
            if isinstance(outcomes, SourceError):
                raise outcomes
            yield outcomes
            if wait:
                return

    def _check(self) -> None:
        for process in self._processes:
            if not process.is_alive() and self._outcomes.empty():
                raise CaptionError(
                    f"a device's process ended with status {process.exitcode}: run the same "
                    "command again to go on; use a smaller --batch-size if memory ran out"
                )

    def __enter__(self) -> DeviceProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def _deal(todo: Sequence[Numbered], parts: int) -> list[list[Numbered]]:
    """Deal blocks of images out to `parts` lists in turn."""
    size = max(1, min(_BLOCK, len(todo) // parts))
    dealt: list[list[Numbered]] = [[] for _ in range(parts)]
    for index in range(0, len(todo), size):
        dealt[index // size % parts] += todo[index : index + size]
    return dealt


def _work(
    device: str,
    settings: CaptionSettings,
    engine: str,
    batch: int | None,
    threads: int,
    current: Any,
    tasks: Any,
    outcomes: Any,
) -> None:
    """Run in a device's process: load the model, then caption what arrives in `tasks`.

    A source is given up as soon as `current` is no longer its number. The process ends when the
    main process ends.
    """
    torch.set_num_threads(threads)
    try:
        loaded = load(settings, torch.device(device))
        stream = CaptionStream(loaded, engine, batch, threads)
        while True:
            source, images, todo = tasks.get()
            try:
                for some in stream(images, todo):
                    if current.value != source:
                        break
                    outcomes.put((source, some))
            except SourceError as error:
                outcomes.put((source, SourceError(str(error))))
    except Exception as error:
        outcomes.put((0, f"{type(error).__name__}: {error}"))
