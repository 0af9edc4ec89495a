"""`python -m campaigns.fuzz`: damaged inputs for every reader.

Each target runs in a process of its own, so that a crash, a hang and too much memory are findings,
too. An input is made of the seed, the target and its number alone.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from asam_datasets import AsamDatasetsError
from builder.core.console import Progress, default_workers, say
from campaigns.common import Options, Row, main
from campaigns.targets import TARGETS, Target

HANG = 60.0  # seconds without an end of one input
MEMORY = 6 << 30  # bytes of addresses that a target's process may have
SHOWN = 5  # findings that are printed of each target


def campaign(options: Options) -> list[Row]:
    """Fuzz all targets, as many at once as there are cores."""
    total = sum(options.times(inputs) for inputs, _ in TARGETS.values())
    with (
        Progress(total, "input", "fuzz") as progress,
        ThreadPoolExecutor(default_workers()) as pool,
    ):
        rows = [pool.submit(_fuzz, name, options, progress) for name in TARGETS]
        return [row.result() for row in rows]


def make_input(target: Target, name: str, seed: int, number: int) -> bytes:
    """The input of that number."""
    chance = random.Random(f"{seed} {name} {number}")
    return target.mutate(chance.choice(target.seeds), chance)


def _fuzz(name: str, options: Options, progress: Progress) -> Row:
    """Run a target's inputs; after a crash or a hang, the rest in a new process."""
    context = multiprocessing.get_context("spawn")
    stop = options.times(TARGETS[name][0])
    counts: Counter[str] = Counter()
    odd: list[str] = []
    start = 0
    while start < stop:
        scratch = options.scratch / f"{name} {start}"
        scratch.mkdir()
        at: Synchronized[int] = context.Value("q", start)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_child, args=(name, options.seed, start, stop, scratch, at, sender)
        )
        process.start()
        sender.close()
        last, since = start, time.monotonic()
        while process.is_alive():
            process.join(0.5)
            if at.value != last:
                progress.update(at.value - last)
                last, since = at.value, time.monotonic()
            elif time.monotonic() - since > HANG:
                process.kill()
                process.join()
                odd.append(f"input {last}: no end after {HANG:.0f} s")
        progress.update(at.value - last)
        if process.exitcode == 0:
            result = receiver.recv()
            counts.update(result["counts"])
            odd += result["odd"]
            break
        if not odd or not odd[-1].startswith(f"input {at.value}: no end"):
            odd.append(f"input {at.value}: the process ended with {process.exitcode}")
        start = at.value + 1
    for line in odd[:SHOWN]:
        say(f"{name}, seed {options.seed}, {line}")
    return {
        "reader": name,
        "inputs": stop,
        "accepted": counts["accepted"],
        "refused": counts["refused"],
        "odd": len(odd),
    }


def _child(
    name: str, seed: int, start: int, stop: int, scratch: Path, at: Any, sender: Any
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    target = TARGETS[name][1](scratch)
    counts: Counter[str] = Counter()
    odd = []
    for number in range(start, stop):
        at.value = number
        try:
            target.read(make_input(target, name, seed, number))
            counts["accepted"] += 1
        except AsamDatasetsError:
            counts["refused"] += 1
        except Exception as error:
            odd.append(f"input {number}: {type(error).__name__}: {str(error)[:300]}")
    at.value = stop
    sender.send({"counts": counts, "odd": odd})
    sender.close()


if __name__ == "__main__":
    main("fuzz", campaign)
