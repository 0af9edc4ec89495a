"""Fixtures that every room may use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"  # read when huggingface_hub is imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in its background; a command that a test stops would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import filelock
import hypothesis
import pytest

from tests.loopback import LoopbackHub

# No test is timed: a busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub on loopback, empty."""
    with LoopbackHub() as running:
        yield running


@pytest.fixture(scope="session")
def sample_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as the command builds it, in one shard; read only. A test that changes it copies.

    With pytest-xdist it is built by the first process that needs it, for all of them.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the run's own folder, which its processes share
    dist = root / "sample" / "dist"
    with filelock.FileLock(root / "sample.lock"):
        if not dist.exists():
            unfinished = root / "sample.tmp" / "dist"
            command = [sys.executable, "-m", "builder.build", "--sample", "--workers", "1"]
            done = subprocess.run(
                [*command, "--out", str(unfinished)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "0 rejects, 0 captions missing" in done.stderr
            assert f"python -m builder.verify {unfinished}" in done.stderr
            unfinished.parent.rename(dist.parent)
    return dist
