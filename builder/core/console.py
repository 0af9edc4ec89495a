"""What commands say: data to stdout, everything else to stderr, and one way to end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

from asam_datasets import AsamDatasetsError
from asam_datasets.redaction import redacted, remember
from builder.core.errors import UsageError
from builder.core.text import printable

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
