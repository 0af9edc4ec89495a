"""`python -m campaigns.together`: two processes with the same output at once.

At least one of the two ends well. The other ends well, too, or says in an own error that the output
is in use. Afterwards there are the files of an undisturbed run.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from builder.core.console import Progress, say
from campaigns.commands import CONFIG, Command, digest, write_inputs
from campaigns.common import Options, Row, main
from campaigns.kills import finish

TIMES = 40  # of each command


def campaign(options: Options) -> list[Row]:
    """Run two of each command at once."""
    commands = write_inputs(options.scratch)
    dist = options.scratch / "dist"
    finish(commands["build, 1 worker"], "--out", dist)
    export = (CONFIG, "--from", str(dist), "--workers", "1", "--quiet")
    commands["export"] = Command("builder.export", export)
    times = options.times(TIMES)
    with Progress(times * len(commands), "pair", "together") as progress:
        return [_pairs(name, each, times, options, progress) for name, each in commands.items()]


def _pairs(name: str, command: Command, times: int, options: Options, progress: Progress) -> Row:
    whole, out = options.scratch / f"whole {name}", options.scratch / "shared"
    duration = finish(command, "--out", whole)
    expected = digest(whole)
    chance = random.Random(f"{options.seed} {name}")
    both = odd = 0
    for number in range(times):
        logs = [options.scratch / f"log {i}" for i in range(2)]
        first = command.run("--out", out, log=logs[0])
        time.sleep(chance.uniform(0, duration))
        second = command.run("--out", out, log=logs[1])
        for process in (first, second):
            process.join()
        good = [first.exitcode == 0, second.exitcode == 0]
        both += all(good)
        told = all(ok or _told(log) for ok, log in zip(good, logs, strict=True))
        if not any(good) or not told or digest(out) != expected:
            odd += 1
            say(f"{name}, pair {number}: {first.exitcode}, {second.exitcode}")
        shutil.rmtree(out)
        progress.update()
    return {"command": name, "pairs": times, "both ended well": both, "odd": odd}


def _told(log: Path) -> bool:
    text = log.read_text(errors="replace")
    return "error:" in text and "Traceback" not in text


if __name__ == "__main__":
    main("together", campaign)
