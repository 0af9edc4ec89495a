"""`python -m campaigns.kills`: SIGKILL at random moments, then the same command once more.

Afterwards there are the files of an undisturbed run, byte for byte, and no other. No process of the
killed command lives on. At every moment in between, a reader finds the whole config or none.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from builder.core.console import Progress, say
from campaigns.commands import CONFIG, REPO, Command, digest, write_inputs
from campaigns.common import Options, Row, main
from tests.loopback import LoopbackHub

KILLS = 200  # of each command
ORPHANS = 10.0  # seconds in which a killed command's workers must have ended


def campaign(options: Options) -> list[Row]:
    """Kill each command."""
    with LoopbackHub() as hub:
        os.environ.update(hub.env(options.scratch / "hf", hub.WRITE))
        return _kill_all(hub, options)


def _kill_all(hub: LoopbackHub, options: Options) -> list[Row]:
    commands = write_inputs(options.scratch)
    dist = options.scratch / "dist"
    finish(commands["build, 1 worker"], "--out", dist)
    commands["export"] = Command(
        "builder.export", (CONFIG, "--from", str(dist), "--workers", "1", "--quiet")
    )
    kills = options.times(KILLS)
    rows = []
    with Progress(kills * (len(commands) + 1), "kill", "kills") as progress:
        for name, command in commands.items():
            rows.append(_kill_many(name, command, options, kills, progress))
        rows.append(_kill_push(hub, dist, options, kills, progress))
    return rows


def _kill_many(
    name: str, command: Command, options: Options, kills: int, progress: Progress
) -> Row:
    whole = options.scratch / "undisturbed"
    duration = finish(command, "--out", whole)
    expected = digest(whole)
    chance = random.Random(f"{options.seed} {name}")
    killed = odd = 0
    for number in range(kills):
        out = options.scratch / "killed"
        running, orphans = _kill(command, chance.uniform(0, duration), "--out", out)
        killed += running
        odd += orphans
        finish(command, "--out", out)
        if (found := digest(out)) != expected:
            odd += 1
            say(f"{name}, kill {number}: {_difference(expected, found)}")
        shutil.rmtree(out)
        progress.update()
    shutil.rmtree(whole)
    return {"command": name, "kills": kills, "before its end": killed, "odd": odd}


def _kill_push(
    hub: LoopbackHub, dist: Path, options: Options, kills: int, progress: Progress
) -> Row:
    consent = ("--i-may-redistribute", CONFIG)
    command = Command("builder.push", (str(dist), *consent, "--workers", "1", "--quiet"))
    chance = random.Random(f"{options.seed} push")
    killed = odd = 0
    hub.latency = 0.01
    duration = finish(command, "--repo", REPO)
    expected = published(hub, REPO)
    for number in range(kills):
        repo = f"xhk/killed-{number}"
        running, orphans = _kill(command, chance.uniform(0, duration), "--repo", repo)
        killed += running
        odd += orphans
        between = published(hub, repo)
        finish(command, "--repo", repo)
        if (between and between != expected) or published(hub, repo) != expected:
            odd += 1
            say(f"push, kill {number}: {_difference(expected, between)}")
        progress.update()
    return {"command": "push", "kills": kills, "before its end": killed, "odd": odd}


def published(hub: LoopbackHub, repo: str) -> dict[str, str]:
    """The files of a repo that a reader uses; none if there is no repo."""
    try:
        files = hub.files(repo)
    except KeyError:
        return {}
    return {path: entry.sha256 for path, entry in files.items() if path.startswith("data/")}


def finish(command: Command, *more: object) -> float:
    """Run a command to its end; returns the seconds."""
    started = time.monotonic()
    process = command.run(*more)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{command} {more}: exit status {process.exitcode}")
    return time.monotonic() - started


def _kill(command: Command, seconds: float, *more: object) -> tuple[bool, bool]:
    """Start a command and kill it so many seconds later.

    Returns whether it was still running, and whether its workers lived on for too long.
    """
    process = command.run(*more)
    process.join(seconds)
    running = process.exitcode is None
    process.kill()
    process.join()
    deadline = time.monotonic() + ORPHANS
    while (lives := _lives(process.pid or 0)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if lives:
        os.killpg(process.pid or 0, signal.SIGKILL)
        say(f"{command.module}: workers live {ORPHANS} s after a SIGKILL")
    return running, lives


def _lives(leader: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _difference(expected: dict[str, str], found: dict[str, str]) -> str:
    names = sorted(k for k in {**expected, **found} if expected.get(k) != found.get(k))
    return f"differs in {', '.join(names[:5])}"


if __name__ == "__main__":
    main("kills", campaign)
