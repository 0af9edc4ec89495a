"""`python -m campaigns`: all campaigns, and the tables of RELIABILITY.md."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.core.console import EXIT_FAILED, EXIT_OK, emit_json, say
from builder.core.files import write_bytes
from builder.core.options import positive
from campaigns.common import Row, found, measure, table

NAMES = ("fuzz", "flips", "kills", "network", "limits", "together", "soak")
DOCUMENT = Path(__file__).parents[1] / "RELIABILITY.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaigns, print their figures, and write them if asked; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="repeat for more")
    parser.add_argument("--seed", type=int, default=1, help="decides every input (default: 1)")
    parser.add_argument(
        "--percent",
        type=positive,
        default=1,
        metavar="N",
        help="how much of each campaign to run (default: 1)",
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables of {DOCUMENT.name}")
    args = parser.parse_args(argv)
    results: dict[str, list[Row]] = {}
    for name in args.only or NAMES:
        campaign = importlib.import_module(f"campaigns.{name}").campaign
        results[name] = measure(name, campaign, args.seed, args.percent / 100)
        say(*table(results[name]))
        if args.write:
            write_table(name, results[name], args.seed, args.percent)
    emit_json(results)
    return EXIT_FAILED if any(map(found, results.values())) else EXIT_OK


def write_table(name: str, rows: list[Row], seed: int, percent: int) -> None:
    """Put a campaign's table between its marks in RELIABILITY.md."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    share = "" if percent == 100 else f" --percent {percent}"
    command = f"`python -m campaigns.{name} --seed {seed}{share}`"
    lines = "\n".join([begin, command, "", *table(rows), end])
    text, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: lines,
        DOCUMENT.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{DOCUMENT.name}: expected the marks of {name} once, found {count}")
    write_bytes(DOCUMENT, text.encode())


if __name__ == "__main__":
    sys.exit(main())
