"""Finds the layout of a release in a folder, and explains when there is none."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from builder.core.errors import SourceError
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.photos import scan_images
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.table import Protocol, Row

SHOWN = 8  # names listed in a message
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def settle(
    root: Path, row: Row, protocol: Protocol, splits: Iterable[str] | None
) -> tuple[list[Options], list[str]]:
    """The parts of a protocol that the folder holds, each in the layout that was found.

    Under `native`, splits may be absent if at least one is there. The other protocols need all
    their parts.

    Parameters
    ----------
    root
        The source folder.
    row, protocol
        The table's entries.
    splits
        Only these splits; None for all.

    Returns
    -------
    tuple
        The parts, and a note for each split that is absent.

    Raises
    ------
    SourceError
        There is no such folder or split, or a part is absent. The message says what was expected,
        what is there, and where to look.
    """
    if not root.is_dir():
        raise SourceError(_no_folder(root, row))
    wanted = [part for part in protocol.parts if splits is None or part[0].split in splits]
    if not wanted:
        known = dict.fromkeys(part[0].split for part in protocol.parts)
        raise SourceError(f"{row.config(protocol.name)} has the splits {', '.join(known)} only")
    found, absent = [], []
    for alternatives in wanted:
        layout = next((part for part in alternatives if _holds(root, part)), None)
        if layout is None:
            absent.append(alternatives)
        else:
            found.append(layout)
    if not found or (absent and protocol.name != "native"):
        layouts = [layout for alternatives in absent for layout in alternatives]
        raise SourceError(_nothing(root, row, protocol, layouts))
    return found, [f"split {part[0].split} is not in {root}: left out" for part in absent]


def _holds(root: Path, part: Options) -> bool:
    """Whether the folder holds at least one image with its ground truth."""
    truth = Pattern(part.truth)
    if not truth.found(root):
        return False
    return any(
        Pattern(truth.fill(values)).found(root) for _, values in scan_images(root, part.images)
    )


def _any_image(root: Path, part: Options) -> bool:
    return next(scan_images(root, part.images), None) is not None


def _no_folder(root: Path, row: Row) -> str:
    if not root.exists():
        return f"{root} does not exist; give the folder that holds {row.unpacked}"
    archive = zipfile.is_zipfile(root) or tarfile.is_tarfile(root) or root.suffix in _ARCHIVES
    what = "an archive: unpack it and give the folder it is in" if archive else "a file"
    return f"{root} is {what}; expected a folder that holds {row.unpacked}"


def _nothing(root: Path, row: Row, protocol: Protocol, absent: list[Options]) -> str:
    splits = dict.fromkeys(part.split for part in absent)
    lines = [f"{root} does not hold {row.config(protocol.name)}, split {' or '.join(splits)}"]
    for part in absent[:SHOWN]:
        images, truth = _any_image(root, part), Pattern(part.truth).found(root)
        state = {
            (False, False): "",
            (True, False): " (images are there, ground truth is not)",
            (False, True): " (ground truth is there, images are not)",
            (True, True): " (both are there, but no image has its ground truth)",
        }[images, truth]
        lines.append(f"expected {Pattern(part.images)} with {Pattern(part.truth)}{state}")
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    lines.append(f"found there: {', '.join(names[:SHOWN]) or 'nothing'}{more}")
    archives = [name for name in names if name.lower().endswith(_ARCHIVES)]
    if archives:
        lines.append(f"{archives[0]} is an archive: unpack it there")
    elsewhere = next((folder for folder in _around(root) if _has_any(folder, absent)), None)
    if elsewhere is not None:
        lines.append(f"it is in {elsewhere}: give that folder as the source")
    else:
        lines.append(f"unpack {' and '.join(row.download)} into one folder and give that one")
    return "\n  ".join(lines)


def _has_any(folder: Path, parts: list[Options]) -> bool:
    with suppress(PermissionError):
        return any(Pattern(part.truth).found(folder) for part in parts)
    return False


def _around(root: Path) -> Iterator[Path]:
    """The folders one and two levels up, and those one level down."""
    yield from root.absolute().parents[:2]
    yield from sorted(path for path in root.iterdir() if path.is_dir())
