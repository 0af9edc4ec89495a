"""How many processes a build starts, and what an estimate makes of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.core import pool
from builder.core.console import default_workers
from builder.core.errors import ShardError
from builder.core.pool import workers_for
from builder.shards import estimate
from builder.shards.estimate import estimate_config
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources
from tests.factory import members, write_tar

MB = 10**6
IMAGES = 24
READ_SECONDS = 4.0  # by the clock of the test, which ticks while the probes are read


def test_a_machine_without_room_for_a_worker_is_told() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
    opened = []
    with contextlib.suppress(OSError):
        while True:  # until none is left for a pipe
            opened.append(os.open(os.devnull, os.O_RDONLY))
    try:
        with pytest.raises(ShardError, match=r"can't be started .* --workers 1"):
            pool.run(_nothing, [1, 2], 2, lambda images, masks: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for file in opened:
            os.close(file)
    assert not multiprocessing.active_children()


def _nothing(task: int, on_row: pool.OnRow) -> int:
    return task


@pytest.mark.parametrize(
    ("size", "cores", "expected"),
    [
        (0, 8, 1),
        (1 * MB, 8, 1),
        (63 * MB, 8, 1),
        (64 * MB, 8, 2),
        (100 * MB, 8, 3),
        (256 * MB, 8, 8),
        (12_000 * MB, 8, 8),
        (12_000 * MB, 1, 1),
    ],
)
def test_a_process_for_each_32_mb_and_at_most_one_a_core(
    monkeypatch: pytest.MonkeyPatch, size: int, cores: int, expected: int
) -> None:
    monkeypatch.setattr(pool, "default_workers", lambda: cores)
    assert workers_for(size) == expected


def test_cores_that_this_process_may_not_use_do_not_count() -> None:
    before = os.sched_getaffinity(0)
    assert default_workers() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert default_workers() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_tar(folder / "sa_000000.tar", members(range(1, IMAGES + 1)))


@pytest.mark.parametrize(
    ("shard_size", "workers", "processes"),
    [
        (20_000, 1, 1),
        (20_000, 4, 4),
        (20_000, 64, 8),  # there are eight shards
        (20_000, None, 1),  # so little is not worth a process
        (10**9, 4, 1),
    ],
)
def test_an_estimate_divides_the_work_by_its_processes(
    tar: Path,
    monkeypatch: pytest.MonkeyPatch,
    shard_size: int,
    workers: int | None,
    processes: int,
) -> None:
    ticks = iter((100.0, 100.0 + READ_SECONDS))
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    (source,) = open_sources([str(tar)])
    settings = Settings("arrow", shard_size)
    found = estimate_config(source, settings, workers=workers)
    assert found.workers == processes
    assert found.probes == 8
    assert found.seconds == pytest.approx(READ_SECONDS / 8 * IMAGES / processes)
