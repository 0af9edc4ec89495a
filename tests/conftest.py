"""Fixtures that every room may use."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"  # read when huggingface_hub is imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in its background; a command that a test stops would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import filelock
import huggingface_hub.constants
import hypothesis
import pytest

import builder.build
from builder.core.console import EXIT_OK
from builder.sources import sample
from builder.sources.sample import CAPTIONS, TAR, SamplePaths, write_sample
from tests.loopback import LoopbackHub

# No test is timed: a busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tables of remote tars are kept in a folder of the test run's own."""
    folder = str(tmp_path_factory.mktemp("assets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ASSETS_CACHE", folder)  # for subprocesses
        patch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", folder)
        yield


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub on loopback, empty."""
    with LoopbackHub() as running:
        yield running


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once a run; read only: a test that changes it copies it.

    With pytest-xdist the first process that needs the folder fills it for all of them.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the run's own folder, which its processes share
    folder = root / f"{name}-once"
    with filelock.FileLock(root / f"{name}.lock"):
        if not folder.exists():
            unfinished = root / f"{name}-unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def sample_source(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    """The sample's tar and captions; read only."""
    folder = made_once(tmp_path_factory, "source", write_sample)
    return SamplePaths(folder / TAR, folder / CAPTIONS)


@pytest.fixture(scope="session")
def sample_dist(tmp_path_factory: pytest.TempPathFactory, sample_source: SamplePaths) -> Path:
    """The sample as the command builds it, in one shard; read only.

    Its pictures were drawn before, which takes longer than the build.
    """

    def build(folder: Path) -> None:
        arguments = ["--sample", "--workers", "1", "--out", str(folder / "dist")]
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            patch.setattr(sample, "write_sample", lambda *_: sample_source)
            status = builder.build.main(arguments)
        assert status == EXIT_OK, said.getvalue()
        assert "0 rejects, 0 captions missing" in said.getvalue()
        assert f"python -m builder.verify {folder / 'dist'}" in said.getvalue()

    return made_once(tmp_path_factory, "sample", build) / "dist"


@pytest.fixture(scope="session")
def eval_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every evaluation set, native, as the command builds it from the fixtures; read only."""

    def build(folder: Path) -> None:
        arguments = ["--eval-fixtures", "--out", str(folder / "dist"), "--quiet"]
        assert builder.build.main(arguments) == EXIT_OK

    return made_once(tmp_path_factory, "eval", build) / "dist"
