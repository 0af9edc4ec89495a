"""`asam-datasets COMMAND` and `python -m builder COMMAND`: all commands under one name.

A command is the module of the same name in this folder. It is imported only when it is called, so
that the list of commands appears fast.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from builder.core.console import EXIT_USAGE, leave, run_command
from builder.core.options import SCRIPT, Parser, add_version, one_of

COMMANDS = {
    "build": "turn SA-1B tars and evaluation releases into a dist of shards",
    "fetch": "download the tars of SA-1B's links file",
    "caption": "caption images with BLIP-2, as ASAM did",
    "verify": "check that a dist or a published repo is what its indexes say",
    "preview": "draw a config as a page and a contact sheet",
    "export": "write a config as the folder tree that ASAM's own code reads",
    "push": "publish a dist on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Call the command that the first argument names.

    Parameters
    ----------
    argv
        The command's name and its arguments; by default those of the process.

    Returns
    -------
    int
        The command's exit status. Without arguments, the commands are listed and the status is 2.
    """
    given = sys.argv[1:] if argv is None else argv
    if not given:
        _parser().print_help(sys.stderr)
        return EXIT_USAGE
    args = _parser().parse_args(given)
    command = importlib.import_module(f"builder.{args.command}")
    return run_command(command.main, args.arguments)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    result = Parser(
        prog=SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m builder",
        description="Build, check, look at and publish ASAM-Datasets.",
        epilog="\n".join(["commands:", *lines, "", "COMMAND --help explains a command."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(result)
    result.add_argument(
        "command", metavar="COMMAND", type=one_of(COMMANDS, "command"), help="one of these below"
    )
    result.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="the command's arguments"
    )
    return result


def script() -> NoReturn:
    """What the console script calls."""
    leave(main())


if __name__ == "__main__":
    script()
