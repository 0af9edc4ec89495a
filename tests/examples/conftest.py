"""What every example's tests start from: dists of a few rows, one thread for torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import build
from tests.factory import members, write_tar

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def small_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dist of twelve small images in several shards, for workers and ranks to share."""
    folder = tmp_path_factory.mktemp("small")
    tar = write_tar(folder / "sa_000000.tar", members(range(1, 13)))
    captions = folder / "captions.jsonl"
    lines = [json.dumps({"img": f"sa_{i}.jpg", "prompt": f"picture {i}"}) for i in range(1, 13)]
    captions.write_text("\n".join(lines) + "\n")
    return built(folder / "dist", str(tar), "--captions", str(captions), "--shard-size", "4K")


def built(dist: Path, *options: str) -> Path:
    """Build a dist."""
    if build.main([*options, "--out", str(dist), "--quiet"]) != 0:
        raise RuntimeError(f"{options} can't be built")
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
