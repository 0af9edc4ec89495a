"""A process that runs code, block after block, and gives back what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SERVE = """
import contextlib, io, json, sys, traceback
from asam_datasets import *
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(json.loads(line), dict(globals()))
        except Exception:
            print(traceback.format_exc())
    print(json.dumps(out.getvalue()), flush=True)
"""


class Client:
    """Runs code after `from asam_datasets import *`, in an environment of its own."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env=env,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> str:
        """What the code prints; an exception is printed with its traceback."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        printed: str = json.loads(self._process.stdout.readline())
        return printed

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=30)
