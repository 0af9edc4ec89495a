"""`python -m campaigns.soak`: build, push and stream for 20 minutes in one process.

Memory and open handles after the warm-up and at the end tell whether something is kept.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import time
from pathlib import Path

from builder.core.console import Progress, say
from campaigns.commands import CONFIG
from campaigns.common import Options, Row, main
from tests.loopback import LoopbackHub

SECONDS = 1200.0
WARM_UP = 0.25  # the share of the time after which the first figures are taken
GROWTH = 1.10  # what memory may grow by, as a ratio
CODE = "from campaigns.soak import rounds; import sys; rounds(*sys.argv[1:])"


def campaign(options: Options) -> list[Row]:
    """Run rounds against a Hub on loopback, in a process of their own."""
    seconds = max(5.0, SECONDS * options.scale)
    with LoopbackHub() as hub:
        env = hub.env(options.scratch / "hf", hub.WRITE)
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(options.scratch / "work"), str(seconds)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    number, *figures = map(int, done.stdout.split()[-5:])
    before, after, handles_before, handles_after = figures
    odd = int(after > GROWTH * before) + int(handles_after > handles_before)
    if odd:
        say(f"soak: {before} to {after} kB, {handles_before} to {handles_after} handles")
    return [
        {
            "rounds": number,
            "minutes": round(seconds / 60),
            "MB after warm-up": before // 1000,
            "MB at the end": after // 1000,
            "handles after warm-up": handles_before,
            "handles at the end": handles_after,
            "odd": odd,
        }
    ]


def rounds(folder: str, seconds: str) -> None:
    """Build, push and stream until the time is over; prints the figures."""
    from huggingface_hub import HfApi  # reads HF_ENDPOINT when it is imported

    from asam_datasets import load
    from builder.hub.client import connect
    from builder.hub.plan import Planner, Target
    from builder.hub.upload import Publisher
    from tests.hub.dists import QUICK, indexes_of, make_dist

    work, end, started = Path(folder), float(seconds), time.monotonic()
    connect(QUICK)
    number, figures = 0, (0, 0)
    with Progress(None, "round", "soak") as progress:
        while (passed := time.monotonic() - started) < end:
            if not figures[0] and passed > WARM_UP * end:
                figures = _memory(), _handles()
            work.mkdir()
            dist = make_dist(work / "dist", range(number + 1, number + 9))
            repo = f"xhk/soak-{number % 4}"
            plans = Planner(HfApi(), dist, indexes_of(dist), Target(repo), QUICK)
            Publisher(plans, quiet=True).publish()
            if sum(1 for _ in load(CONFIG, repo_or_path=repo, streaming=True)) != 8:
                raise RuntimeError(f"round {number}: rows are missing")
            shutil.rmtree(work)
            number += 1
            progress.update()
    print(number, figures[0], _memory(), figures[1], _handles())


def _memory() -> int:
    """The process's resident memory in kB."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def _handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    main("soak", campaign)
