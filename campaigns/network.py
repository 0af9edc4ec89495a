"""`python -m campaigns.network`: a fault at every request in turn, for each that uses the Hub.

A fault hits one request. The command then ends with its right result, or with an error and exit
status 1. Run again without the fault, it gives the right result.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import EXIT_FAILED, Progress, say
from campaigns.commands import CONFIG, REPO, Command, digest, write_inputs
from campaigns.common import Options, Row, main
from campaigns.kills import finish, published
from tests.loopback import LoopbackHub

FAULTS: dict[str, dict[str, int | float | bool]] = {
    "status": {"status": 503},
    "cut": {"after": 100},
    "lose": {"reset": True},
    "stall": {"seconds": 3.0, "after": 50},
    "slow": {"rate": 2e5},
    "whole": {},
}
LIMIT = 120.0  # seconds after which a command with one fault counts as one that never ends


@dataclass(frozen=True, slots=True)
class Operation:
    """What uses the Hub.

    Parameters
    ----------
    command
        The command, whose last argument is where its result goes.
    result
        What it made, comparable; it takes the folder or repo that the command was given.
    clear
        Removes that.
    """

    command: Command
    target: str
    result: Callable[[], object]
    clear: Callable[[], object]


def campaign(options: Options) -> list[Row]:
    """Hit each request of each operation with each fault."""
    with LoopbackHub() as hub:
        home = options.scratch / "hf"
        os.environ.update(hub.env(home, hub.WRITE))
        operations = _operations(hub, options.scratch)
        rows: list[Row] = []
        for name, operation in operations.items():
            requests, expected = _undisturbed(hub, home, operation)
            chosen = range(0, requests, max(1, round(1 / options.scale)))
            with Progress(len(chosen) * len(FAULTS), "fault", name) as progress:
                rows += [
                    _attack(hub, home, name, operation, fault, chosen, expected, progress)
                    for fault in FAULTS
                ]
        return rows


def _operations(hub: LoopbackHub, scratch: Path) -> dict[str, Operation]:
    commands, dist = write_inputs(scratch), scratch / "dist"
    finish(commands["build, 1 worker"], "--out", dist)
    hub.seed(REPO, dist)
    tars = scratch / "tars"
    tars.mkdir()
    (tars / f"{CONFIG}.tar").symlink_to(scratch / f"{CONFIG}.tar")
    hub.seed("xhk/tars", tars)
    url = f"{hub.endpoint}/datasets/xhk/tars/resolve/main/{CONFIG}.tar"
    _, *options = commands["build, 1 worker"].arguments
    patient = ("--timeout", "2", "--workers", "1", "--quiet")
    built, mapped = scratch / "built", scratch / "mapped"
    rows, tree, repo = scratch / "rows", scratch / "tree", "xhk/pushed"
    export = (CONFIG, "--from", REPO, "--quiet", "--workers", "1", "--out")
    push = (str(dist), "--i-may-redistribute", CONFIG, "--workers", "1", "--timeout", "2")
    return {
        "stream": Operation(
            Command("campaigns.reader", (REPO,)), str(rows), rows.read_text, rows.unlink
        ),
        "load": Operation(
            Command("campaigns.reader", ("--mapped", REPO)),
            str(mapped),
            mapped.read_text,
            mapped.unlink,
        ),
        "verify": Operation(
            Command("builder.verify", (REPO, "--deep", *patient, "--configs")),
            CONFIG,
            lambda: None,
            lambda: None,
        ),
        "build": Operation(
            Command("builder.build", (url, *options, "--timeout", "2", "--out")),
            str(built),
            lambda: digest(built),
            lambda: shutil.rmtree(built),
        ),
        "export": Operation(
            Command("builder.export", export),
            str(tree),
            lambda: digest(tree),
            lambda: shutil.rmtree(tree),
        ),
        "push": Operation(
            Command("builder.push", (*push, "--quiet", "--repo")),
            repo,
            lambda: published(hub, repo),
            lambda: hub.store.repos.pop(repo),
        ),
    }


def _undisturbed(hub: LoopbackHub, home: Path, operation: Operation) -> tuple[int, object]:
    before = len(hub.requests)
    finish(operation.command, operation.target)
    requests, expected = len(hub.requests) - before, operation.result()
    _clear(home, operation)
    return requests, expected


def _attack(
    hub: LoopbackHub,
    home: Path,
    name: str,
    operation: Operation,
    fault: str,
    chosen: range,
    expected: object,
    progress: Progress,
) -> Row:
    through = failed = odd = 0
    for number in chosen:
        hub.faults.clear()
        hub.fault(fault, skip=number, **FAULTS[fault])
        process = operation.command.run(operation.target)
        process.join(LIMIT)
        ended = process.exitcode
        process.kill()
        process.join()
        hub.faults.clear()
        right = ended == 0 and operation.result() == expected
        through += right
        failed += ended == EXIT_FAILED
        if ended == EXIT_FAILED:
            finish(operation.command, operation.target)
            right = operation.result() == expected
        if not right:
            odd += 1
            say(f"{name}, {fault} at request {number}: exit status {ended}")
        _clear(home, operation)
        progress.update()
    return {
        "operation": name,
        "fault": fault,
        "requests": len(chosen),
        "went on": through,
        "failed with an error": failed,
        "odd": odd,
    }


def _clear(home: Path, operation: Operation) -> None:
    """Forget what the operation made, and the Hub's cache."""
    with suppress(FileNotFoundError, KeyError):
        operation.clear()
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main("network", campaign)
