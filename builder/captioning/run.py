"""A captioning run over sources, on one device or several. It can be resumed.

Lines are written in the source's order. An image that is done early waits for those before it.
Therefore a run that was killed and resumed leaves the same file as a run that was not disturbed.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import torch

import builder
from builder.captioning.actors import RayCrew, choose_actors, disconnect
from builder.captioning.devices import LocalCrew, choose_devices, device_name
from builder.captioning.images import ImageSource
from builder.captioning.model import Described, describe, load_weights
from builder.captioning.plain import retry_options
from builder.captioning.quality import shared_caption, why_no_caption
from builder.captioning.settings import CaptionSettings, RunOptions, describe_preset
from builder.captioning.sight import check_sight
from builder.captioning.store import CaptionsWriter, captions_path, rejects_path
from builder.captioning.stream import CaptionStream, Outcome
from builder.captioning.team import Crew, Order, Team
from builder.captioning.todo import Numbered
from builder.core.console import Progress, counted, say
from builder.core.errors import (
    CaptionError,
    CaptionsFileError,
    ContractError,
    SettingsError,
    SourceError,
)
from builder.core.records import Json, Reject

_PACKAGES = ("torch", "transformers", "tokenizers", "pillow", "simplejpeg")
_FLUSH = 128  # the most lines that wait to be written; with smaller batches, one batch of lines
_FLUSH_SECONDS = 2.0
_ACTOR_THREADS = 4  # that decode images, for each device of a cluster


@dataclass(slots=True)
class CaptionSummary:
    """The result of a run for one source.

    Parameters
    ----------
    config
        The config that the captions are for.
    path
        The captions file.
    captions
        The number of captions in the file, including those of earlier runs.
    made
        The number of images that this run has processed.
    rejects
        The number of rejected images in the rejects file, by reason.
    shared
        The caption that nearly all images have, and how many have it; None if there is none.
    seconds
        How long the source took.
    error
        Why the source could not be captioned, or why not one of its images has a caption; None if
        there are captions.
    """

    config: str
    path: Path
    captions: int = 0
    made: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    shared: tuple[str, int] | None = None
    seconds: float = 0.0
    error: str | None = None

    def as_json(self) -> Json:
        """The result as `--json` prints it."""
        return {
            "config": self.config,
            "file": str(self.path),
            "captions": self.captions,
            "made": self.made,
            "rejects": dict(sorted(self.rejects.items())),
            "shared_caption": self.shared and {"caption": self.shared[0], "images": self.shared[1]},
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }

    @property
    def warning(self) -> str | None:
        """A warning if nearly all captions are the same, else None."""
        if self.shared is None:
            return None
        caption, images = self.shared
        return (
            f"warning: {self.config}: {images:,} of {self.captions:,} images have the caption "
            f"{caption[:80]!r}: look at some of them; the model may not see the images"
        )


def caption_sources(
    sources: Sequence[ImageSource],
    out: Path,
    settings: CaptionSettings | None = None,
    options: RunOptions | None = None,
) -> list[CaptionSummary]:
    """Caption every image of the sources that has no caption in the files in `out` yet.

    If one of several sources can't be read, or its captions file is refused, the error is printed
    at once and stored in its summary. The other sources are captioned. If there is only one source,
    its error is raised. If all images of a source are rejected, the reason is printed and stored,
    and nothing is raised.

    Parameters
    ----------
    sources
        The images. No two sources have the same config.
    out
        The folder of the captions files. It is made if it does not exist.
    settings
        The settings that decide a caption; by default those of the preset "asam".
    options
        How the run works.

    Returns
    -------
    list of CaptionSummary
        One for each source, in their order.

    Raises
    ------
    SettingsError
        `out` can't be a folder, or this machine has no such device.
    CaptionError
        The model can't be used, the disk is full, or not even one image fits a device's memory.
    CaptionsFileError
        The captions file of the only source is refused.
    SourceError
        The only source can't be read.
    """
    options = options or RunOptions()
    if options.address is None:
        devices, fell_back = choose_devices(options.devices)
    else:
        devices, fell_back = choose_actors(options.address, options.devices), False
    _make_folder(out)
    summaries = []
    with _Run(devices, settings or CaptionSettings(), out, options, fell_back) as run:
        for images in sources:
            try:
                summary = run.caption(images)
            except (SourceError, CaptionsFileError) as error:
                if len(sources) == 1:
                    raise
                say(f"error: {images.config}: {error}")
                path = captions_path(out, images.config)
                summary = CaptionSummary(images.config, path, error=str(error))
            else:
                if summary.error is not None:
                    say(f"error: {images.config}: {summary.error}")
            summaries.append(summary)
    return summaries


def _make_folder(path: Path) -> None:
    """Make the folder, so that a bad path is reported before a model is loaded."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{path} can't be a folder ({error.strerror}): choose another --out"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError(f"{path}: no permission to write there: choose another --out")


def _names(images: ImageSource) -> list[str]:
    """The names of a source's images. Whatever is wrong with it concerns no other source."""
    try:
        return images.names()
    except (SettingsError, ContractError) as error:  # no chosen image in it, a damaged index
        raise SourceError(str(error)) from error


class _Run:
    """One run over sources.

    For each source its list of images, its captions file and its settings are looked at first. The
    model is loaded for the first source that has images to caption.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        settings: CaptionSettings,
        out: Path,
        options: RunOptions,
        fell_back: bool,
    ) -> None:
        self._devices, self._settings = devices, settings
        self._out, self._options, self._fell_back = out, options, fell_back
        self._stack = ExitStack()
        self._lines = 1  # a batch of them
        if options.address is None:
            self._place = device_name(devices[0])
        else:
            self._place = f"{devices[0].type}, on a Ray cluster"

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        if self._options.address is not None:
            disconnect()

    @functools.cached_property
    def _described(self) -> Described:
        return describe(self._settings, self._devices[0], self._options.engine)

    @functools.cached_property
    def _captions(self) -> Callable[[ImageSource, Sequence[Numbered]], Iterable[Sequence[Outcome]]]:
        """What captions images of a source, on one device or several. The model is loaded here."""
        options, described = self._options, self._described
        if not options.quiet:
            say(f"loading {self._settings.model} ...")
        threads = options.threads or len(os.sched_getaffinity(0))
        if len(self._devices) == 1 and options.address is None:
            loaded = load_weights(described, self._devices[0])
            check_sight(loaded)
            stream = CaptionStream(loaded, described.engine, options.batch, threads)
            self._lines = stream.batch or 1
            return stream
        each = max(1, threads // len(self._devices))
        if options.address is not None:
            each = options.threads or _ACTOR_THREADS
        orders = [
            Order(described.settings, str(device), described.engine, options.batch, each)
            for device in self._devices
        ]
        crew: Crew = LocalCrew(orders) if options.address is None else RayCrew(orders)
        team = self._stack.enter_context(Team(crew))
        self._lines = team.batch
        return team.share

    def caption(self, images: ImageSource) -> CaptionSummary:
        """Caption one source."""
        start = time.monotonic()
        names = _names(images)[: self._options.limit]
        described = self._described
        summary = CaptionSummary(images.config, captions_path(self._out, images.config))
        with CaptionsWriter(
            summary.path,
            {**described.identity, "retry": retry_options(described.settings)},
            self._details(images, described),
            force_mix=self._options.force_mix,
            retry_rejects=self._options.retry_rejects,
        ) as writer:
            done = writer.done
            todo = [(i, name) for i, name in enumerate(n for n in names if n not in done)]
            if todo:
                _ = self._captions  # loads the model now, so that a bad one leaves no file behind
                self._warn(len(todo), images, todo[0][1])
                summary.made = self._write(images, todo, writer)
            writer.finish()
            summary.captions = len(writer.prompts)
            summary.rejects = Counter(writer.rejected.values())
            if not summary.captions:
                summary.error = why_no_caption(summary.rejects, rejects_path(summary.path))
            summary.shared = shared_caption(writer.prompts.values())
        summary.seconds = time.monotonic() - start
        return summary

    def _write(self, images: ImageSource, todo: Sequence[Numbered], writer: CaptionsWriter) -> int:
        with (
            Progress(len(todo), "image", images.config, quiet=self._options.quiet) as progress,
            _InOrder(writer, min(_FLUSH, self._lines)) as ordered,
        ):
            for outcomes in self._captions(images, todo):
                ordered.add(outcomes)
                progress.update(len(outcomes))
        return len(todo)

    def _warn(self, count: int, images: ImageSource, first: str) -> None:
        """Warn once that no GPU was found, and estimate how long the CPU will take."""
        if not self._fell_back:
            return
        self._fell_back = False
        say("warning: no GPU found: captioning on the CPU, in float32 unless --dtype is given")
        start = time.perf_counter()
        for _ in self._captions(images, [(0, first)]):
            pass
        seconds = (time.perf_counter() - start) * count
        say(
            f"  this takes about {_duration(seconds)} for {counted(count, 'image')}, "
            "estimated from one"
        )

    def _details(self, images: ImageSource, described: Described) -> Json:
        return {
            "source": images.name,
            "preset": describe_preset(described.settings),
            "engine": described.engine,
            "device": self._place,
            "versions": {
                "asam-datasets": builder.__version__,
                **{package: importlib.metadata.version(package) for package in _PACKAGES},
            },
        }


class _InOrder:
    """Writes outcomes in the order of their numbers, some lines at a time."""

    def __init__(self, writer: CaptionsWriter, lines: int) -> None:
        self._writer, self._lines = writer, lines
        self._waiting: dict[int, Outcome] = {}
        self._ready: list[Outcome] = []
        self._next = 0
        self._written = time.monotonic()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes; write those that are next if they are enough or some time has passed."""
        for outcome in outcomes:
            self._waiting[outcome[0]] = outcome
        while self._next in self._waiting:
            self._ready.append(self._waiting.pop(self._next))
            self._next += 1
        late = time.monotonic() - self._written > _FLUSH_SECONDS
        if len(self._ready) >= self._lines or late:
            self._flush()

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        self._written = time.monotonic()
        self._writer.append(
            [(name, result) for _, name, result in ready if isinstance(result, str)],
            [result for _, _, result in ready if isinstance(result, Reject)],
        )

    def __enter__(self) -> _InOrder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is ready, also when the run is interrupted, but not after writing failed."""
        if not isinstance(error, CaptionError):
            self._flush()


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
