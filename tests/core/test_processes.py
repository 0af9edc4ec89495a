"""A worker ends with its parent, also while it still imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# What a worker does first, and then an import that takes long. The pipe closes when it has ended.
WORKER = """
import os, sys, time
import builder
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = f"""
import subprocess, sys
from builder.core.processes import safe_start
with safe_start():
    worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}])
worker.wait()
"""


# The checkout by its path: `-c` finds it only where the tests were started, and only as long as no
# other thread is within `safe_start`.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_worker_that_still_imports_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == b""  # ends when no process holds the pipe any more


def test_only_the_process_that_was_started_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import builder, os; print('ASAM_DATASETS_PARENT' in os.environ)"
    environment = {**ENVIRONMENT, "ASAM_DATASETS_PARENT": str(os.getpid())}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "False\n")


# Threads of a pool are no daemons, so Python waits for them at the end.
GIVEN_UP = """
import concurrent.futures, threading
from asam_datasets.deadlines import within
from builder.core.console import leave, run_command

def request():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(threading.Event().wait).result()

leave(run_command(lambda argv: within(0.1, "a file", request)))
"""


def test_a_command_ends_though_a_request_that_was_given_up_does_not() -> None:
    command = [sys.executable, "-c", GIVEN_UP]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a file: no whole answer within 0 s")
