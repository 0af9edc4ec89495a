"""What every campaign has: its options, its rows of figures, and how it ends."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asam_datasets
from builder.core.console import EXIT_FAILED, EXIT_OK, emit_json, say
from builder.core.options import positive

Row = dict[str, str | int | float]
"""A line of a campaign's table: the names of the columns and the values. `odd` counts findings."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a campaign was asked for.

    Parameters
    ----------
    seed
        Decides every input and every moment.
    scale
        The share of the campaign's own numbers to run: 1 is what RELIABILITY.md states.
    scratch
        A folder for the campaign alone.
    """

    seed: int
    scale: float
    scratch: Path

    def times(self, number: int) -> int:
        """The campaign's own number at this scale, at least 1."""
        return max(1, round(number * self.scale))


Campaign = Callable[[Options], list[Row]]


def run_campaign(name: str, campaign: Campaign, argv: Sequence[str] | None = None) -> int:
    """Run one campaign as a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m campaigns.{name}", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides every input (default: 1)")
    parser.add_argument(
        "--percent",
        type=positive,
        default=100,
        metavar="N",
        help="how much of the campaign to run (default: 100)",
    )
    args = parser.parse_args(argv)
    rows = measure(name, campaign, args.seed, args.percent / 100)
    emit_json(
        {"campaign": name, "seed": args.seed, "version": asam_datasets.__version__, "rows": rows}
    )
    say(*table(rows))
    return EXIT_FAILED if found(rows) else EXIT_OK


def measure(name: str, campaign: Campaign, seed: int, scale: float) -> list[Row]:
    """Run one campaign in a folder of its own; returns its rows."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-") as scratch:
        rows = campaign(Options(seed, scale, Path(scratch)))
    say(f"{name}: {found(rows)} findings, {time.monotonic() - started:.0f} s")
    return rows


def found(rows: Iterable[Row]) -> int:
    """How many findings the rows count."""
    return sum(int(row["odd"]) for row in rows)


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of a Markdown table; all have the same columns."""
    names = list(rows[0])
    cells = [[f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


def main(name: str, campaign: Campaign) -> None:
    """End the process as the campaign's command."""
    sys.exit(run_campaign(name, campaign))
