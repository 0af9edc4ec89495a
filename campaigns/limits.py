"""`python -m campaigns.limits`: too little disk, memory, files and rights.

A command that can't go on says so in an own error, and leaves what a later run continues from. That
run, without the limit, ends with the bytes of an undisturbed one.
"""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from builder.core.console import Progress, say
from campaigns.commands import Command, Limits, digest, write_inputs
from campaigns.common import Options, Row, main
from campaigns.kills import finish

MB = 1 << 20
STEPS = 24  # limits of each kind


def campaign(options: Options) -> list[Row]:
    """Run each command under each limit."""
    commands = write_inputs(options.scratch)
    dist = options.scratch / "dist"
    finish(commands["build, 1 worker"], "--out", dist)
    rows = []
    kinds = _kinds(options.times(STEPS), sum(p.stat().st_size for p in dist.rglob("*")))
    number = sum(map(len, kinds.values())) * len(commands)
    with Progress(number, "run", "limits") as progress:
        for name, command in commands.items():
            whole = options.scratch / f"whole {name}"
            finish(command, "--out", whole)
            for kind, limits in kinds.items():
                row = _run(name, command, kind, limits, digest(whole), options.scratch, progress)
                rows.append(row)
    return rows


def _kinds(steps: int, size: int) -> dict[str, list[Limits]]:
    """The limits: the size of a file, open files, and memory, from nothing to enough."""
    shares = [step / steps for step in range(1, steps + 1)]
    return {
        "size of a file": [[(resource.RLIMIT_FSIZE, int(size * s * s / 4))] for s in shares],
        "open files": [[(resource.RLIMIT_NOFILE, 8 + int(56 * s))] for s in shares],
        "memory": [[(resource.RLIMIT_AS, int((200 + 2_000 * s) * MB))] for s in shares],
    }


def _run(
    name: str,
    command: Command,
    kind: str,
    limits: list[Limits],
    expected: dict[str, str],
    scratch: Path,
    progress: Progress,
) -> Row:
    out, log = scratch / "limited", scratch / "log"
    through = odd = 0
    for limit in limits:
        process = command.run("--out", out, log=log, limits=limit)
        process.join()
        text = log.read_text(errors="replace")
        through += process.exitcode == 0
        if process.exitcode and ("Traceback" in text or "error:" not in text):
            odd += 1
            say(f"{name}, {kind} {limit}: {process.exitcode}: {text.strip()[-300:]}")
        finish(command, "--out", out)
        if digest(out) != expected:
            odd += 1
            say(f"{name}, {kind} {limit}: other files afterwards")
        shutil.rmtree(out)
        progress.update()
    return {
        "command": name,
        "limit": kind,
        "runs": len(limits),
        "went through": through,
        "failed with an error": len(limits) - through,
        "odd": odd,
    }


if __name__ == "__main__":
    main("limits", campaign)
