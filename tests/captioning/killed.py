"""Captions again and again, and is killed each time, within a write: test_run.py starts this.

    python -m tests.captioning.killed CAPTIONS MOMENTS COMMAND

COMMAND is the command line of `builder.caption` and MOMENTS are sizes of the file CAPTIONS, both in
JSON. A process that would write more than such a size is killed. For each, prints its exit status,
and the file's content. The processes are forked from this one, so the imports happen once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

import torch

from builder.caption import main
from builder.core.console import run_command

# What captioning imports: synthetic has what the model is made of.
WHOLE = ("builder.captioning.run", "builder.captioning.synthetic")


def caption(arguments: list[str], captions: Path, most: int) -> None:
    """Caption, in a process that ends here."""
    write = os.write

    def limited(file: int, data: bytes) -> int:
        if Path(f"/proc/self/fd/{file}").readlink() == captions:
            room = most - os.fstat(file).st_size
            if len(data) > room:
                write(file, data[:room])
                os.kill(os.getpid(), signal.SIGKILL)
        return write(file, data)

    os.write = limited  # type: ignore[assignment]
    os._exit(run_command(main, arguments))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in WHOLE:
        import_module(module)
    path = Path(sys.argv[1])
    for moment in json.loads(sys.argv[2]):
        child = os.fork()
        if not child:
            caption(json.loads(sys.argv[3]), path, moment)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps([status, path.read_text()]) + "\n")
