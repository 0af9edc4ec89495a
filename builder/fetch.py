"""`python -m builder.fetch`: the tars of SA-1B's links file."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from asam_datasets import AsamDatasetsError
from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    Progress,
    counted,
    emit,
    emit_json,
    leave,
    run_command,
    say,
    sized,
)
from builder.core.errors import SettingsError
from builder.core.options import add_patience, out_folder, parser, patience_of, positive

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.core.records import Json
    from builder.sources.download import Downloads

_EXAMPLES = (
    "python -m builder.fetch links.txt --out tars",
    "python -m builder.fetch links.txt --out tars --only sa_000000",
    "python -m builder.fetch links.txt --out tars --only 'sa_0001*' --limit 10 --json",
)
_ASKED_AT_ONCE = 8  # servers' answers about sizes


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, download each tar, report; returns the exit status."""
    args = _parser().parse_args(argv)
    from builder.sources.download import Downloads
    from builder.sources.links import read_links

    if args.list:
        names = [name.removesuffix(".tar") for name in _chosen(list(read_links(args.links)), args)]
        if args.json:
            emit_json(names)
        else:
            emit(*names)
        return EXIT_OK
    with Downloads(args.links, args.out, patience_of(args)) as downloads:
        names = _chosen(downloads.names, args)
        results = _Run(downloads, args).fetch(names)
    if args.json:
        emit_json(results)
    failed = [result["tar"] for result in results if result["error"]]
    moved = sum(result["moved"] for result in results)
    there = len(results) - len(failed)
    say(f"{counted(there, 'tar')} in {args.out}, {sized(moved)} received in this run")
    if failed:
        others = "; the others are there" if there else ""
        say(f"{len(failed)} of {counted(len(names), 'tar')} failed: {', '.join(failed)}{others}")
    elif results:
        say(f"next: python -m builder.build {args.out}/{results[0]['tar']} --out dist")
    return EXIT_FAILED if failed else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    result = parser(
        "fetch",
        "Download the tars of SA-1B's links file. A tar has a hidden temporary name until it is "
        "whole. After an interruption, run the same command again: it continues where it was "
        "stopped. Any number of processes and machines may share the folder.",
        _EXAMPLES,
    )
    result.add_argument(
        "links",
        type=Path,
        metavar="LINKS",
        help="the links file that Meta sends: lines of file_name<TAB>cdn_link. It is read again "
        "when a link has expired",
    )
    result.add_argument(
        "--out",
        type=out_folder,
        default=Path("tars"),
        help="the folder of the tars (default: %(default)s)",
    )
    result.add_argument(
        "--only",
        action="append",
        metavar="GLOB",
        help="only the tars whose name, with or without .tar, matches; may be given several times",
    )
    result.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N tars that are chosen"
    )
    result.add_argument(
        "--list",
        action="store_true",
        help="print the names of the chosen tars, one a line without .tar, and download nothing",
    )
    result.add_argument("--json", action="store_true", help="print the result as JSON")
    result.add_argument("--quiet", action="store_true", help="no progress bar")
    add_patience(result)
    return result


def _chosen(names: Sequence[str], args: argparse.Namespace) -> list[str]:
    globs = args.only or ["*"]
    found = [
        name
        for name in names
        if any(fnmatchcase(x, glob) for glob in globs for x in (name, name.removesuffix(".tar")))
    ]
    if not found:
        raise SettingsError(
            f"{args.links}: none of its {counted(len(names), 'tar')} matches {' or '.join(globs)}; "
            f"the first one is {names[0]}"
        )
    return found[: args.limit]


class _Run:
    """One run over the tars. A tar that fails stops no other one."""

    def __init__(self, downloads: Downloads, args: argparse.Namespace) -> None:
        self._downloads, self._args = downloads, args
        self._results: dict[str, Json] = {}

    def fetch(self, names: Sequence[str]) -> list[Json]:
        """Download the tars; returns what `--json` prints."""
        from builder.sources.download import HeldError

        wanted = [name for name in names if not self._is_there(name)]
        left = self._ask(wanted)
        held = []
        with Progress(left, "B", "fetch", quiet=self._args.quiet, unit_scale=True) as progress:
            for name in wanted:
                try:
                    self._one(name, progress, wait=False)
                except HeldError:
                    held.append(name)
            for name in held:
                say(f"{name}: another process downloads it: waiting for that")
                self._one(name, progress, wait=True)
        return [self._results[name] for name in names]

    def _is_there(self, name: str) -> bool:
        """Whether nothing is to be done about a tar: it is there, or can't be replaced."""
        try:
            there = self._downloads.is_there(name)
        except (AsamDatasetsError, OSError) as error:
            self._fails(name, error)
            return True
        if there:
            size = (self._args.out / name).stat().st_size
            self._results[name] = self._result(name, "there", size)
        return there

    def _ask(self, names: Sequence[str]) -> int:
        """Ask for the sizes, and tell what will come and what is free; returns bytes."""
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            sizes = list(pool.map(self._downloads.left, names))
        known = sum(size for size in sizes if size is not None)
        free = shutil.disk_usage(self._args.out).free
        unknown = sizes.count(None)
        if names:
            more = f" and {counted(unknown, 'tar')} of unknown size" if unknown else ""
            say(
                f"{counted(len(names), 'tar')} to download: {sized(known)}{more}; "
                f"{sized(free)} free in {self._args.out}"
            )
        if known > free:
            say("warning: they don't all fit: each tar that does not fit when its turn comes fails")
        return known

    def _one(self, name: str, progress: Progress, *, wait: bool) -> None:
        try:
            fetched = self._downloads.fetch(
                name, lambda size: progress.update(size, tar=name), wait=wait
            )
        except (AsamDatasetsError, OSError) as error:
            self._fails(name, error)
            return
        status = "fetched" if fetched.moved else "there"
        self._results[name] = self._result(name, status, fetched.size, fetched.moved)

    def _fails(self, name: str, error: Exception) -> None:
        say(f"error: {error}")
        self._results[name] = self._result(name, "failed", error=str(error))

    def _result(
        self, name: str, status: str, size: int = 0, moved: int = 0, error: str | None = None
    ) -> Json:
        file = str(self._args.out / name) if error is None else None
        return {
            "tar": name,
            "file": file,
            "status": status,
            "size": size,
            "moved": moved,
            "error": error,
        }


if __name__ == "__main__":
    leave(run_command(main))
