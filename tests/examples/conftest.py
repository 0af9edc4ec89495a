"""What every example's tests start from: the sample in eight shards, one thread for torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sample_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dist of the sample; several shards, so that workers and ranks have something to share."""
    from builder import build

    dist = tmp_path_factory.mktemp("sample") / "dist"
    command = ["--sample", "--out", str(dist), "--shard-size", "1M", "--quiet"]
    if build.main(command) != 0:
        raise RuntimeError("the sample can't be built")
    return dist


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums in every process, and no fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(*command: str) -> subprocess.Popen[bytes]:
    """Start a Python program at the repository's root, one thread per process."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env)
