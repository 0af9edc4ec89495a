"""Several devices, a process each: they start, stop and die together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from builder.captioning.run import caption_sources
from builder.captioning.settings import CaptionSettings, RunOptions
from builder.core.console import EXIT_OK
from builder.core.errors import CaptionError
from tests.captioning.deadly import DeadlyPhotographs
from tests.factory import members, write_tar

TWO = RunOptions(devices=("cpu", "cpu"), batch=2, threads=2, quiet=True)


def alive(group: int) -> dict[Path, str]:
    """A process group's processes that have not ended: their folders and command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found[folder] = (folder / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
    return found


@contextmanager
def captioning(folder: Path, settings: CaptionSettings) -> Iterator[subprocess.Popen[str]]:
    """The command on two devices, in a process group of its own, as in a terminal."""
    tar = write_tar(folder / "sa_000000.tar", members(range(1, 11)))
    command = [sys.executable, "-m", "builder.caption", str(tar), "--out", str(folder), "--quiet"]
    command += ["--model", settings.model, "--device", "cpu,cpu", "--batch-size", "1"]
    command += ["--max-new-tokens", "5"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_the_other(process: subprocess.Popen[str]) -> int:
    """Wait until the second device's process is at its imports, which take it seconds; its id."""
    while process.poll() is None:
        for folder, command in alive(process.pid).items():
            if "spawn_main" in command and "numpy" in (folder / "maps").read_text():
                return int(folder.name)
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


def test_ctrl_c_is_for_the_first_process_alone(settings: CaptionSettings, tmp_path: Path) -> None:
    with captioning(tmp_path, settings) as process:
        os.kill(wait_for_the_other(process), signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == EXIT_OK, said
    assert "Traceback" not in said
    assert "10 captions" in said


def test_a_process_does_not_outlive_the_first_one(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    with captioning(tmp_path, settings) as process:
        wait_for_the_other(process)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(process.pid)


def test_the_images_of_a_device_that_dies_go_to_the_others(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = DeadlyPhotographs(5, tmp_path / "marker")
    (two,) = caption_sources([images], tmp_path / "two", settings, TWO)
    assert images.marker.exists()
    assert "cpu: its process died (SIGKILL, out of memory); other devices take its" in (
        capsys.readouterr().err
    )
    (one,) = caption_sources([images], tmp_path / "one", settings, replace(TWO, devices=("cpu",)))
    assert two.captions == one.captions > 0
    assert two.path.read_bytes() == one.path.read_bytes()


def test_a_run_without_devices_ends_and_the_next_one_goes_on(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    """Both devices read the image that ends them: the second one as an image of the first."""
    images = DeadlyPhotographs(5, tmp_path / "absent" / "marker")
    with pytest.raises(CaptionError, match="and no device is left: run the same command again"):
        caption_sources([images], tmp_path / "out", settings, TWO)
    images = DeadlyPhotographs(5, tmp_path)
    one = replace(TWO, devices=("cpu",))
    (summary,) = caption_sources([images], tmp_path / "out", settings, one)
    assert summary.captions + sum(summary.rejects.values()) == 12
