"""Builds configs from their sources. The shards of all of them are tasks in one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from asam_datasets.errors import AsamDatasetsError
from builder.core.console import Progress, counted, default_workers, say
from builder.core.deaths import ProcessDied
from builder.core.engine import Engine, Outcomes, engine_for
from builder.core.errors import ShardError
from builder.core.pool import workers_for, worth_a_process
from builder.core.records import Source
from builder.shards.build import Made, ShardTask, build_shard
from builder.shards.built import Built, BuiltPart
from builder.shards.careful import build_carefully
from builder.shards.index import write_index
from builder.shards.part import Part
from builder.shards.plan import Settings
from builder.shards.prepare import (
    Planned,
    check_format,
    plan_config,
    prepare_part,
    prepared,
    unfinished,
)

_END: Any = object()


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How configs are built. None of it changes a byte.

    Parameters
    ----------
    workers
        The number of processes. By default it follows from the sources' size.
    resume
        Whether to keep shards that are done. If not, a config is deleted first.
    max_rejects
        The largest share of rejects that is accepted, 0 to 1. With more, a config gets no index.
    quiet
        Whether to show no progress bar.
    engine
        Runs the functions that build shards. By default, worker processes of this machine.
    part
        Which shards to build; all by default. A part writes no index.
    """

    workers: int | None = None
    resume: bool = True
    max_rejects: float = 1.0
    quiet: bool = False
    engine: Engine | None = None
    part: Part | None = None


def build_config(
    source: Source,
    dist: Path,
    settings: Settings,
    *,
    workers: int | None = None,
    resume: bool = True,
    max_rejects: float = 1.0,
    quiet: bool = False,
    engine: Engine | None = None,
) -> Built:
    """Build a config in a dist. Shards that are done are kept.

    Parameters
    ----------
    source
        Where the rows come from.
    dist
        The dist's folder.
    settings
        Format and shard size.
    workers, resume, max_rejects, quiet, engine
        As `BuildOptions` has them.

    Raises
    ------
    SourceError
        The source can't be listed or read.
    SettingsError
        The dist holds the config with other settings or from another source, or holds configs of
        another format, or another process is building the config.
    ShardError
        A shard could not be written. Shards that are done stay in the dist.
    """
    options = BuildOptions(workers, resume, max_rejects, quiet, engine)
    with closing(build_configs([source], dist, settings, options)) as ended:
        _, built = next(ended)  # an error stops the shards that are being built
    if isinstance(built, Exception):
        raise built
    assert isinstance(built, Built)  # since there is no part
    return built


def build_configs(
    sources: Sequence[Source],
    dist: Path,
    settings: Settings,
    options: BuildOptions,
    join: Callable[[Source], Source] = lambda source: source,
) -> Generator[tuple[Source, Built | BuiltPart | AsamDatasetsError], None, None]:
    """Build configs in a dist. The tasks of all of them are in one queue.

    A source is listed when its tasks are about to be needed, and its index is written when its last
    shard is done. So the memory does not grow with the number of sources.

    Parameters
    ----------
    sources
        Where the rows come from. No two have the same config.
    dist
        The dist's folder.
    settings
        Format and shard size.
    options
        How to build.
    join
        Called with each source before it is listed. It joins the source's captions.

    Yields
    ------
    source
        One of the sources, when it has ended.
    built
        What was built, or the source's error, which ends no other source.
    """
    with ExitStack() as stack:
        planned = stack.enter_context(closing(_planned(sources, settings, join)))
        first, size = _first(planned)
        risky = any(unfinished(dist, source.config) for source in sources)
        engine = options.engine or engine_for(size, options.workers, risky=risky)
        name = sources[0].config if len(sources) == 1 else counted(len(sources), "source")
        yield from _Run(dist, options, engine, name).build(chain(_taken(first), planned))


@dataclass(slots=True)
class _Open:
    """A config that is being built."""

    planned: Planned
    tasks: list[ShardTask]
    place: ExitStack
    made: dict[str, Made] = field(default_factory=dict)
    ended: bool = False

    @property
    def source(self) -> Source:
        return self.planned.source


class _Run:
    """One run of an engine over the tasks of many configs."""

    def __init__(self, dist: Path, options: BuildOptions, engine: Engine, name: str) -> None:
        self._dist, self._options, self._engine, self._name = dist, options, engine, name
        self._bar: Progress | None = None  # until there is a config, so that an error comes alone
        self._masks = 0
        self._open: dict[str, _Open] = {}
        self._died: list[ShardTask] = []
        self._ended: deque[tuple[Source, Built | BuiltPart | AsamDatasetsError]] = deque()

    def build(
        self, planned: Iterable[tuple[Source, Planned | AsamDatasetsError]]
    ) -> Iterator[tuple[Source, Built | BuiltPart | AsamDatasetsError]]:
        """Build all, and yield each config as it ends."""
        with ExitStack() as stack:
            tasks = self._tasks(planned, stack)
            yield from self._take(self._engine.stream(build_shard, tasks, self._on_row))
            died, self._died = self._died, []
            careful = self._engine.one_by_one(build_carefully, died, self._on_row)
            yield from self._take(careful, last=True)

    def _tasks(
        self, planned: Iterable[tuple[Source, Planned | AsamDatasetsError]], stack: ExitStack
    ) -> Iterator[ShardTask]:
        """The tasks of one config after the other."""
        checked = False
        for number, (source, plan) in enumerate(planned):
            if isinstance(plan, AsamDatasetsError):
                self._ended.append((source, plan))
                continue
            try:
                if not checked:  # the configs of this run have one format
                    fmt = str(plan.plan.settings["format"])
                    check_format(self._dist, fmt, except_config=source.config)
                    checked = True
                config = self._begun(plan, number, stack)
            except AsamDatasetsError as error:
                self._ended.append((source, error))
                continue
            self._open[source.config] = config
            if self._bar is None:
                bar = Progress(0, "image", self._name, quiet=self._options.quiet)
                self._bar = stack.enter_context(bar)
            self._bar.extend(sum(len(task.plan.items) for task in config.tasks))
            for task in tuple(config.tasks):
                if config.ended:  # one of its shards failed
                    break
                yield task
            self._end_if_done(config)  # one without a task

    def _begun(self, plan: Planned, number: int, stack: ExitStack) -> _Open:
        part = self._options.part
        place = stack.enter_context(ExitStack())
        if part is None:
            resume = self._options.resume
            tasks = place.enter_context(prepared(plan, self._dist, resume=resume))
        else:
            whole = prepare_part(plan, self._dist)
            tasks = [task for i, task in enumerate(whole) if part.has(number + i)]
        return _Open(plan, tasks, place)

    def _take(
        self, outcomes: Outcomes[ShardTask, Made], *, last: bool = False
    ) -> Iterator[tuple[Source, Built | BuiltPart | AsamDatasetsError]]:
        with closing(outcomes):
            for task, outcome in outcomes:
                config = self._open.get(task.job.source.config)
                if config is None:  # another of its shards failed
                    continue
                if isinstance(outcome, ProcessDied) and last:
                    self._end(
                        config, ShardError(f"{task.name}: its process died again ({outcome})")
                    )
                elif isinstance(outcome, ProcessDied):
                    say(f"{task.name}: its process died ({outcome}); tried again at the end")
                    self._died.append(task)
                elif isinstance(outcome, AsamDatasetsError):
                    self._end(config, outcome)
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    config.made[task.file] = outcome
                    self._end_if_done(config)
                while self._ended:
                    yield self._ended.popleft()
        while self._ended:
            yield self._ended.popleft()

    def _on_row(self, images: int, masks: int) -> None:
        self._masks += masks
        if self._bar is not None:
            rate = self._masks / max(self._bar.elapsed, 1e-9)
            self._bar.update(images, masks=f"{rate:,.0f}/s")

    def _end_if_done(self, config: _Open) -> None:
        if config.ended or len(config.made) < len(config.tasks):
            return
        made = [config.made[task.file] for task in config.tasks]
        seconds = time.monotonic() - config.planned.started
        reused = sum(not each.built for each in made)
        for why, number in Counter(each.why for each in made if each.why).items():
            what = f"{number} of {len(made)} shards" if number > 1 else "a shard"
            say(f"{config.source.config}: {what} built again: {why}")
        receipts = [each.receipt for each in made]
        plan = config.planned.plan
        if self._options.part is None:
            most = self._options.max_rejects
            try:
                index, refused = write_index(self._dist, config.source.config, plan, receipts, most)
            except AsamDatasetsError as error:
                self._end(config, error)
            else:
                self._end(config, Built(index, plan.listed, reused, seconds, refused))
        else:
            counts = sum((Counter(receipt.counts) for receipt in receipts), Counter[str]())
            rejects = sum(len(receipt.rejects) for receipt in receipts)
            numbers = (counts["images"], counts["masks"], rejects)
            self._end(config, BuiltPart(len(made), len(plan.shards), reused, *numbers, seconds))

    def _end(self, config: _Open, how: Built | BuiltPart | AsamDatasetsError) -> None:
        """Note how a config ended, and forget its items."""
        config.ended = True
        del self._open[config.source.config]
        self._ended.append((config.source, how))
        if not isinstance(how, AsamDatasetsError):  # else its other tasks may still run
            config.place.close()


def _planned(
    sources: Sequence[Source], settings: Settings, join: Callable[[Source], Source]
) -> Generator[tuple[Source, Planned | AsamDatasetsError], None, None]:
    """The sources with their plans. One is planned ahead while the shards of others are built."""

    def plan(source: Source) -> tuple[Source, Planned | AsamDatasetsError]:
        try:
            return source, plan_config(join(source), settings)
        except AsamDatasetsError as error:
            return source, error

    if len(sources) == 1:
        yield plan(sources[0])
        return
    ahead: queue.Queue[Any] = queue.Queue(1)
    stopped = threading.Event()

    def work() -> None:
        try:
            for source in sources:
                if stopped.is_set():
                    return
                ahead.put(plan(source))
            ahead.put(_END)
        except BaseException as error:  # raised where it is taken
            ahead.put(error)

    threading.Thread(target=work, daemon=True).start()  # a daemon, so that Ctrl-C ends it
    try:
        while (found := ahead.get()) is not _END:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()
        with ahead.mutex:
            ahead.queue.clear()
            ahead.not_full.notify()


def _first(
    planned: Iterator[tuple[Source, Planned | AsamDatasetsError]],
) -> tuple[deque[tuple[Source, Planned | AsamDatasetsError]], int]:
    """Plans until there are enough rows for all cores, or all plans; and their rows' bytes."""
    found: deque[tuple[Source, Planned | AsamDatasetsError]] = deque()
    size = 0
    for source, plan in planned:
        found.append((source, plan))
        size += 0 if isinstance(plan, AsamDatasetsError) else plan.size
        if worth_a_process(size) and workers_for(size) == default_workers():
            break
    return found, size


def _taken(items: deque[Any]) -> Iterator[Any]:
    """The items, of which none is kept."""
    while items:
        yield items.popleft()
