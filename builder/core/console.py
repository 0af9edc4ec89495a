"""What commands say: data to stdout, everything else to stderr, and one way to end."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

import builder
from asam_datasets import AsamDatasetsError
from asam_datasets.names import did_you_mean
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.redaction import redacted, remember
from builder.core.errors import UsageError
from builder.core.text import printable

SCRIPT = "asam-datasets"  # the console script that pip installs

_LONGEST = 86_400.0  # seconds of a timeout

EXIT_OK = 0
EXIT_FAILED = 1  # the command ran, and what it found or did is not good
EXIT_USAGE = 2  # the command line itself is wrong, whatever there is on disk or elsewhere
EXIT_INTERRUPTED = 130


def default_workers() -> int:
    """One process per core that this one may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def say(*lines: str) -> None:
    """Print lines to stderr, above any progress bar, safe for a terminal and without passwords."""
    for line in lines:
        tqdm.write(printable(redacted(line)), file=sys.stderr)


def emit(*lines: str) -> None:
    """Print lines to stdout, safe for a terminal and without passwords."""
    for line in lines:
        sys.stdout.write(printable(redacted(line)) + "\n")
    sys.stdout.flush()


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun; `plural` defaults to the noun and an "s".

    >>> counted(1, "shard"), counted(2000, "category", "categories")
    ('1 shard', '2,000 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def sized(size: float) -> str:
    """A number of bytes in the unit that fits it, with three digits.

    >>> sized(999), sized(43_210), sized(190e6)
    ('999 B', '43.2 kB', '190 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def emit_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


class _PlainLines:
    """A stream for tqdm that prints each state of the bar as a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a state of the bar, which tqdm would draw over the one before."""
        if line := text.strip("\r\n "):
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


class Progress:
    """A progress bar with a rate. Where stderr is no terminal, plain lines appear now and then.

    Parameters
    ----------
    total
        How many units there are, or None when not known.
    unit
        What is counted, such as "image".
    quiet
        Show nothing.
    """

    PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal

    def __init__(
        self,
        total: int | None,
        unit: str,
        desc: str,
        *,
        quiet: bool = False,
        file: TextIO | None = None,
        unit_scale: bool = False,
    ) -> None:
        stream = sys.stderr if file is None else file
        terminal = stream.isatty()
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=desc,
            file=stream if terminal else _PlainLines(stream),
            disable=quiet,
            unit_scale=unit_scale,
            dynamic_ncols=terminal,
            ascii=not terminal,
            leave=True,
            smoothing=0.1,
            mininterval=0.2 if terminal else self.PLAIN_INTERVAL,
            maxinterval=10.0 if terminal else 2 * self.PLAIN_INTERVAL,
            bar_format=None
            if terminal
            else "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
        )

    def update(self, n: int = 1, **extra: str) -> None:
        """Count n more units; `extra` stands behind the rate."""
        if extra:
            self._bar.set_postfix(extra, refresh=False)
        self._bar.update(n)

    def extend(self, n: int) -> None:
        """Expect n more units."""
        self._bar.total = (self._bar.total or 0) + n

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return float(self._bar.format_dict["elapsed"])

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()


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


def run_command(
    main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None
) -> int:
    """Call a command's main, and print an error as one line in place of a traceback.

    Parameters
    ----------
    main
        Takes the arguments and returns the exit status.
    argv
        The arguments; None for those of the process.

    Returns
    -------
    int
        The exit status of main, EXIT_USAGE after a UsageError, EXIT_FAILED after another error,
        or EXIT_INTERRUPTED after Ctrl-C.
    """
    for text in sys.argv[1:] if argv is None else argv:
        remember(text)
    try:
        return main(argv)
    except UsageError as error:
        say(f"error: {_reason(error)}")
        return EXIT_USAGE
    except AsamDatasetsError as error:
        say(f"error: {_reason(error)}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("interrupted: run the same command again to go on")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_FAILED
    except OSError as error:  # a full disk, a folder that may not be written
        say(f"error: {_reason(error)}")
        return EXIT_FAILED
    except MemoryError:
        say("error: the memory is full: run the same command again, with fewer --workers or images")
        return EXIT_FAILED


def leave(status: int) -> NoReturn:
    """End the process with an exit status.

    A request that was given up may have threads that never end, and for which Python would wait.
    """
    deadlines = sys.modules.get("asam_datasets.deadlines")
    if deadlines is not None and deadlines.goes_on():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _reason(error: Exception) -> str:
    """What an error says, in one line.

    torch's DataLoader raises a worker's error again with the worker's traceback as its message. The
    last line of that is "module.Class: message".
    """
    text = str(error).strip()
    if "in DataLoader worker process" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split()) or type(error).__name__
