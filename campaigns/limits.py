"""`python -m campaigns.limits`: too little disk, memory, files and rights.

A command that can't go on says so in an own error, and leaves what a later run continues from. That
run, without the limit, ends with the bytes of an undisturbed one.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

from builder.core.console import EXIT_FAILED, Progress, say
from campaigns.commands import Command, digest, write_inputs
from campaigns.common import Options, Row, main
from campaigns.kills import finish

MB = 1 << 20
STEPS = 24  # limits of each kind
TIME = 120.0  # seconds after which a command counts as one that never ends
Limit = tuple[int, int]  # a resource, and the most of it


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


def _kinds(steps: int, size: int) -> dict[str, list[Limit]]:
    """The limits: the size of a file, open files, and memory, from nothing to enough."""
    shares = [step / steps for step in range(1, steps + 1)]
    return {
        "size of a file": [(resource.RLIMIT_FSIZE, int(size * s * s / 4)) for s in shares],
        "open files": [(resource.RLIMIT_NOFILE, 8 + int(56 * s)) for s in shares],
        "memory": [(resource.RLIMIT_AS, int((500 + 3_000 * s) * MB)) for s in shares],
    }


def _run(
    name: str,
    command: Command,
    kind: str,
    limits: list[Limit],
    expected: dict[str, str],
    scratch: Path,
    progress: Progress,
) -> Row:
    out = scratch / "limited"
    through = odd = 0
    for limit in limits:
        ended, text = _limited(command, out, *limit)
        through += ended == 0
        if ended != 0 and (ended != EXIT_FAILED or "Traceback" in text or "error:" not in text):
            odd += 1
            say(f"{name}, {kind} {limit[1]:,}: {ended}: {text.strip()[-300:]}")
        finish(command, "--out", out)
        if digest(out) != expected:
            odd += 1
            say(f"{name}, {kind} {limit}: other files afterwards")
        shutil.rmtree(out, ignore_errors=True)
        progress.update()
    return {
        "command": name,
        "limit": kind,
        "runs": len(limits),
        "went through": through,
        "failed with an error": len(limits) - through,
        "odd": odd,
    }


def _limited(command: Command, out: Path, what: int, most: int) -> tuple[int | None, str]:
    """Run a command under a limit; returns its exit status (None: no end), and its words."""
    code = (
        f"import resource, runpy; resource.setrlimit({what}, ({most}, {most})); "
        f"runpy.run_module({command.module!r}, run_name='__main__', alter_sys=True)"
    )
    arguments = [sys.executable, "-c", code, *command.arguments, "--out", str(out)]
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=TIME, check=False)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr.decode(errors="replace")


if __name__ == "__main__":
    main("limits", campaign)
