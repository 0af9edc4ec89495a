"""The options of commands: their parser, their types, and those that several commands have."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import builder
from asam_datasets.names import did_you_mean
from asam_datasets.patience import PATIENT, Patience
from builder.core.console import EXIT_USAGE, say

SCRIPT = "asam-datasets"  # the console script that pip installs

_LONGEST = 86_400.0  # seconds of a timeout


class Parser(argparse.ArgumentParser):
    """Says in two lines what is wrong with the arguments, and where they are explained.

    What was typed is shown as safely as `say` shows it: it may be a signed URL.
    """

    def error(self, message: str) -> NoReturn:
        """Print the message and end the process with EXIT_USAGE."""
        say(f"error: {message}", f"see {self.prog} --help")
        self.exit(EXIT_USAGE)


def parser(command: str, description: str, examples: Iterable[str]) -> argparse.ArgumentParser:
    """An argument parser with `--version`, whose help ends with examples of use.

    Parameters
    ----------
    command
        The command's name, such as "build".
    description
        What the command does, in sentences.
    examples
        Command lines that begin with `python -m builder.<command>`. The help of the console script
        shows them, and the usage line, in the console script's form.
    """
    module = "python -m builder."
    called = f"{SCRIPT} " if Path(sys.argv[0]).name == SCRIPT else module
    lines = [f"  {line.replace(module, called)}" for line in examples]
    result = Parser(
        prog=f"{called}{command}",
        description=description,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(result)
    return result


def add_version(to: argparse.ArgumentParser) -> None:
    """Give a parser the option `--version`, which prints the project's version and ends."""
    to.add_argument("--version", action="version", version=f"{SCRIPT} {builder.__version__}")


def whole(
    low: int, high: int = sys.maxsize, *, multiple_of: int = 1, word: str | None = None
) -> Callable[[str], Any]:
    """An argparse type for whole numbers, whose message says what is expected.

    Parameters
    ----------
    low, high
        The smallest and the largest number that is accepted.
    multiple_of
        The number must be a multiple of this one.
    word
        This word is accepted too, and gives None. An example is "auto".

    Returns
    -------
    Callable
        It takes the option's text, returns an int or None, and raises argparse.ArgumentTypeError.
    """
    wanted = (
        f"a multiple of {multiple_of}, at least"
        if multiple_of > 1
        else "a whole number of at least"
    )
    wanted += f" {low}"
    if high < sys.maxsize:
        wanted += f" and at most {high}"
    if word:
        wanted += f", or {word}"

    def parse(text: str) -> int | None:
        if text == word:
            return None
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value > sys.maxsize:
            raise argparse.ArgumentTypeError(f"{text!r} is too large")
        if not low <= value <= high or value % multiple_of:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


positive = whole(1)


def number(
    low: float = 0.0, high: float = math.inf, *, open_low: bool = True
) -> Callable[[str], float]:
    """An argparse type for finite numbers, whose message says what is expected.

    Parameters
    ----------
    low, high
        The bounds. `high` itself is accepted.
    open_low
        Whether `low` itself is refused.

    Returns
    -------
    Callable
        It takes the option's text, returns a float, and raises argparse.ArgumentTypeError.
    """
    wanted = f"a number {'above' if open_low else 'of at least'} {low:g}"
    if high < math.inf:
        wanted += f" and at most {high:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        inside = low < value if open_low else low <= value
        if not (math.isfinite(value) and inside and value <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


def one_of(names: Collection[str], what: str) -> Callable[[str], str]:
    """An argparse type for one of many names, whose message proposes the nearest.

    Parameters
    ----------
    names
        The names that are accepted.
    what
        What they are names of, such as "evaluation dataset".

    Returns
    -------
    Callable
        It takes the option's text, returns it, and raises argparse.ArgumentTypeError.
    """

    def parse(text: str) -> str:
        if text not in names:
            hint = did_you_mean(text, names)
            raise argparse.ArgumentTypeError(
                f"no {what} {text!r}.{hint} There are: {', '.join(names)}"
            )
        return text

    return parse


def add_patience(to: argparse.ArgumentParser, patience: Patience = PATIENT) -> None:
    """Give a parser the options that `patience_of` reads, with the defaults of `patience`."""
    group = to.add_argument_group("network")
    group.add_argument(
        "--timeout",
        type=number(high=_LONGEST),
        default=patience.timeout,
        metavar="SECONDS",
        help="seconds that any request may take (default: %(default)g)",
    )
    group.add_argument(
        "--rate",
        type=number(high=1e12),
        default=patience.rate,
        metavar="BYTES",
        help="bytes a second that a server must send or take at least: a request of N bytes may "
        "take N / BYTES seconds more (default: %(default)g)",
    )
    group.add_argument(
        "--attempts",
        type=whole(1, 1000),
        default=patience.retries + 1,
        metavar="N",
        help="tries of each request, if the server or the network fails (default: %(default)s)",
    )


def patience_of(args: argparse.Namespace) -> Patience:
    """What the options of `add_patience` say."""
    return Patience(args.timeout, args.rate, args.attempts - 1)


def utf8(text: str) -> str:
    """An argparse type for text. It refuses bytes that are not UTF-8, which no request can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from error
    return text


def out_folder(text: str) -> Path:
    """An argparse type for a folder to write to. It refuses a path that leads through a file."""
    path = Path(utf8(text))
    with suppress(OSError):  # such as a folder that may not be read; the writing reports it
        for place in (path, *path.parents):
            if place.exists() and not place.is_dir():
                raise argparse.ArgumentTypeError(f"{str(place)!r} is a file: give a folder")
    return path
