"""A record that kills its process is found; a process that is killed otherwise is no proof."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.errors import ShardError
from builder.core.layout import config_folder, index_path, rejects_path, temporary_folder
from builder.shards.built import Built
from builder.shards.config import BuildOptions, build_config, build_configs
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, Selection, open_sources
from tests.factory import members, write_tar
from tests.shards.deadly import MEMORY, DeadlySource

SETTINGS = Settings("arrow", 20_000)
IMAGES = range(1, 7)
KILLED = {"sa_2": signal.SIGSEGV, "sa_3": signal.SIGABRT}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Sa1bSource:
    folder = tmp_path_factory.mktemp("source")
    (source,) = open_sources([str(write_tar(folder / "sa_000000.tar", members(IMAGES)))])
    return source


def tree(dist: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in config_folder(dist, "sa_000000").iterdir()}


def rejected(dist: Path) -> list[tuple[str, str, str]]:
    lines = rejects_path(dist, "sa_000000").read_text().splitlines()
    return [(line["member"], line["reason"], line["found"]) for line in map(json.loads, lines)]


@pytest.fixture(scope="module")
def expected(source: Sa1bSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What two workers make of the source with two records that kill."""
    dist = tmp_path_factory.mktemp("two")
    built = build_config(DeadlySource(source, KILLED), dist, SETTINGS, workers=2, quiet=True)
    assert len(built.index.shards) == 2
    assert built.index.counts.images == len(IMAGES) - 2
    assert rejected(dist) == [
        (
            f"{key}.jpg",
            "kills_the_reader",
            f"a process that read it alone was ended by {how}, twice",
        )
        for key, how in (("sa_2", "SIGSEGV"), ("sa_3", "SIGABRT"))
    ]
    again = build_config(DeadlySource(source, KILLED), dist, SETTINGS, workers=2, quiet=True)
    assert again.reused == 2
    return tree(dist)


IN_PROCESS = """
import sys
from pathlib import Path
from builder.shards.config import build_config
from tests.shards.test_poison import KILLED, SETTINGS
from tests.shards.deadly import DeadlySource
from builder.sources.sa1b import open_sources
(source,) = open_sources(sys.argv[1:2])
build_config(DeadlySource(source, KILLED), Path(sys.argv[2]), SETTINGS, workers=1, quiet=True)
"""


def test_a_build_in_one_process_gets_past_the_record_when_it_is_started_again(
    source: Sa1bSource, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", IN_PROCESS, source.archive.url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == -signal.SIGSEGV, done.stderr
    (left,) = temporary_folder(tmp_path, "sa_000000").iterdir()
    assert left.name.startswith("train-00000-of-00002.arrow.")
    subprocess.run(command, check=True)
    assert tree(tmp_path) == expected


OTHERS = {
    signal.SIGKILL: r"sa_2.jpg: the memory was full \(SIGKILL\) .* had at most .*B of memory",
    MEMORY: r"sa_2.jpg: the memory was full \(MemoryError\) .* had at most .*B of memory",
    signal.SIGTERM: r"00000-of-00001.arrow: .* from outside, and again .* \(SIGTERM\)",
}


def test_other_ends_are_tried_again_and_are_never_rejects(
    source: Sa1bSource, tmp_path: Path
) -> None:
    """Each has a config of its own. A crash that comes once is none, either."""
    few = replace(source, selection=Selection(limit=2))
    deadly = [
        DeadlySource(replace(few, config=f"sa_{number}"), {"sa_2": deed})
        for number, deed in enumerate(OTHERS)
    ]
    once = DeadlySource(replace(few, config="once"), {"sa_2": signal.SIGSEGV}, 1, tmp_path)
    options = BuildOptions(workers=2, quiet=True)
    results = build_configs([once, *deadly], tmp_path, Settings("arrow", 10**6), options)
    ended = {source.config: built for source, built in results}
    for source_, said in zip(deadly, OTHERS.values(), strict=True):
        error = ended[source_.config]
        assert isinstance(error, ShardError)
        assert re.search(said, str(error))
        assert not index_path(tmp_path, source_.config).exists()
    built = ended["once"]
    assert isinstance(built, Built)
    assert built.index.counts.images == 2
    assert built.index.rejects.rows == 0
