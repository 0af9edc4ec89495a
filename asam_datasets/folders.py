"""Walks a folder through symbolic links, as the Hub's cache and DVC make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk_folder(top: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, in the order of names, and with links followed.

    A link to a folder that it stands in is not entered, so a circle of links ends. A link to
    nothing is listed as a file.

    Raises
    ------
    OSError
        A folder can't be listed.
    """
    within = {Path(top): {_identity(Path(top))}}  # the folders that each stands in, and itself
    for parent, folders, names in os.walk(top, followlinks=True, onerror=_raise):
        above = within.pop(Path(parent))
        found = {name: _identity(Path(parent, name)) for name in sorted(folders)}
        folders[:] = [name for name, identity in found.items() if identity not in above]
        within |= {Path(parent, name): above | {found[name]} for name in folders}
        yield parent, folders, sorted(names)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _raise(error: OSError) -> None:
    raise error
