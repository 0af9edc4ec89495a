"""Builds on a Ray cluster give the local engine's bytes, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.cluster import RayEngine
from builder.core.engine import Engine, LocalEngine
from builder.core.errors import SettingsError
from builder.core.layout import receipts_folder
from builder.shards.built import Built
from builder.shards.config import BuildOptions, build_configs
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, open_sources
from tests.cluster.conftest import add_node
from tests.factory import members, write_tar
from tests.shards.deadly import WAIT, DeadlySource

pytestmark = pytest.mark.cluster

SETTINGS = Settings("arrow", 20_000)
DEEDS = {"poison": signal.SIGSEGV, "killed": signal.SIGKILL, "node": WAIT}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Sa1bSource:
    folder = tmp_path_factory.mktemp("source")
    (source,) = open_sources([str(write_tar(folder / "sa_000000.tar", members(range(1, 7))))])
    return source


@pytest.fixture
def engine(cluster: Any) -> Iterator[RayEngine]:
    with RayEngine(cluster.address, memory=10**8) as engine:
        yield engine


def tree(dist: Path) -> dict[str, bytes]:
    files = (path for path in (dist / "data").rglob("*") if path.is_file())
    return {str(path.relative_to(dist)): path.read_bytes() for path in files}


def build(sources: list[DeadlySource], dist: Path, engine: Engine) -> dict[str, bytes]:
    options = BuildOptions(quiet=True, engine=engine)
    for _, built in build_configs(sources, dist, SETTINGS, options):
        assert isinstance(built, Built), built
        rejects = {"kills_the_reader": 1} if built.index.config == "poison" else {}
        assert built.index.counts.rejects == rejects
    return tree(dist)


def test_a_record_that_kills_a_killed_worker_and_a_lost_node(
    cluster: Any, engine: RayEngine, source: Sa1bSource, tmp_path: Path
) -> None:
    """Three tars in one run: what kills comes always, and a worker and a node are lost once."""

    def sources(folder: Path, times: int | None) -> list[DeadlySource]:
        found = []
        for config, deed in DEEDS.items():
            (folder / config).mkdir(parents=True)
            how_often = None if config == "poison" else times
            each = replace(source, config=config)
            found.append(DeadlySource(each, {"sa_2": deed}, how_often, folder / config))
        return found

    marker = tmp_path / "deeds" / "node" / "sa_2.pid"

    def take_the_node_away() -> None:
        while not marker.exists() or not marker.read_text():
            time.sleep(0.05)
        status = Path("/proc", marker.read_text(), "stat").read_text()
        parent = int(status.rpartition(")")[2].split()[1])  # the raylet of the worker's node
        cluster.remove_node(
            next(
                node
                for node in cluster.worker_nodes
                if any(info.process.pid == parent for info in node.all_processes["raylet"])
            )
        )

    thread = threading.Thread(target=take_the_node_away, daemon=True)
    thread.start()
    found = build(sources(tmp_path / "deeds", 1), tmp_path / "ray", engine)
    thread.join()
    assert len(cluster.worker_nodes) == 1
    add_node(cluster)
    local = sources(tmp_path / "local", 0)
    assert found == build(local, tmp_path / "dist", LocalEngine(2))


def test_a_driver_that_is_killed_leaves_what_is_done(
    cluster: Any, engine: RayEngine, source: Sa1bSource, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "builder.build", source.archive.url, "--out", str(tmp_path)]
    command += ["--shard-size", "5000", "--engine", "ray", "--address", cluster.address, "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as driver:
        while not list(receipts_folder(tmp_path, "sa_000000").glob("train*")):
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            time.sleep(0.02)
        os.kill(driver.pid, signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    found = tree(tmp_path)
    options = BuildOptions(quiet=True, engine=LocalEngine(1))
    for _, built in build_configs([source], tmp_path / "local", Settings("arrow", 5000), options):
        assert isinstance(built, Built)
    assert found == tree(tmp_path / "local")


def test_no_more_tasks_are_in_flight_than_the_cluster_holds(engine: RayEngine) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    ended = 0
    counted = [0, 0]

    def on_row(images: int, masks: int) -> None:
        counted[0] += images
        counted[1] += masks

    for task, outcome in engine.stream(double, tasks(), on_row):
        assert len(taken) <= ended + 2  # one for each node
        ended += 1
        assert outcome == 2 * task
    assert ended == 6
    assert counted == [6, 12]


def double(number: int, on_row: Any) -> int:
    on_row(1, 2)
    return 2 * number


def test_a_cluster_without_room_is_told(cluster: Any) -> None:
    with (
        RayEngine(cluster.address, memory=10**12) as engine,
        pytest.raises(SettingsError, match=r"no node .* has a CPU and 1 TB of memory for a task"),
    ):
        next(engine.stream(double, [1], lambda images, masks: None))


def test_no_cluster_is_told() -> None:
    with pytest.raises(SettingsError, match=r"no Ray cluster at 127.0.0.1:1 .*ray start --head"):
        RayEngine("127.0.0.1:1")
