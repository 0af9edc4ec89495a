"""The commands under attack, in processes that start at once."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from builder.captioning.synthetic import write_random_model
from builder.core.console import run_command
from tests.factory import members, write_tar

CONFIG = "sa_000000"
REPO = "xhk/ASAM-Datasets"
IMAGES = 16
PRELOAD = [
    *("builder.build", "builder.caption", "builder.export", "builder.push", "builder.card.top"),
    *("builder.captioning.run", "builder.checking.shards", "builder.exporting.tree"),
    *("builder.hub.upload", "builder.shards.config", "campaigns.commands", "campaigns.reader"),
]


@dataclass(frozen=True, slots=True)
class Command:
    """A command, such as ("builder.build", "tar", "--workers", "1"); `--out` is added."""

    module: str
    arguments: tuple[str, ...]

    def run(self, *more: object, log: Path | None = None) -> ForkServerProcess:
        """Start the command in a new process, which leads a group of its own.

        Parameters
        ----------
        more
            Further arguments.
        log
            Where its messages go; nowhere by default.
        """
        arguments = [*self.arguments, *map(str, more)]
        process = context().Process(target=_run, args=(self.module, arguments, log))
        process.start()
        return process


def context() -> ForkServerContext:
    """Processes that are copies of one in which everything is imported.

    That one starts with the first of them, with the environment of that moment.
    """
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOAD)
    return chosen


def _run(module: str, arguments: Sequence[str], log: Path | None) -> None:
    os.setsid()
    for number, stream in ((1, os.devnull), (2, log or os.devnull)):
        file = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    main: Callable[[Sequence[str] | None], int] = importlib.import_module(module).main
    sys.exit(run_command(main, arguments))


def write_inputs(folder: Path) -> dict[str, Command]:
    """A tar, captions and a tiny model, and the commands that read them."""
    ids = range(1, IMAGES + 1)
    archive = write_tar(folder / f"{CONFIG}.tar", members(ids))
    captions = folder / f"{CONFIG}-blip2-caption.json"
    captions.write_text("".join(f'{{"img": "sa_{i}.jpg", "prompt": "street {i}"}}\n' for i in ids))
    write_random_model(folder / "model")
    build = (str(archive), "--captions", str(captions), "--shard-size", "12K", "--quiet")
    model = ("--model", str(folder / "model"), "--prompt", "", "--device", "cpu")
    quick = ("--threads", "1", "--batch-size", "2", "--quiet")
    return {
        "build, 1 worker": Command("builder.build", (*build, "--workers", "1")),
        "build, 2 workers": Command("builder.build", (*build, "--workers", "2")),
        "caption": Command("builder.caption", (str(archive), *model, *quick)),
    }


def digest(folder: Path) -> dict[str, str]:
    """Every file below a folder by its path, with its sha256; locks, which stay, are left out."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
