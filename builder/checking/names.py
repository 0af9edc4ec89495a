"""The file names of rows: users and the export make paths of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from builder.checking.rows import read_batches
from builder.core.records import Json
from builder.core.text import brief

_SA1B = re.compile(r"sa_([0-9]{1,18})\.jpg")
_LONGEST_PART, _LONGEST = 255, 1024  # bytes of a file's name, of a path


def wrong_name(row: Json, *, train: bool) -> str | None:
    """What is wrong with a row's `file_name`, or None.

    Parameters
    ----------
    row
        The row.
    train
        Whether it is one of SA-1B, whose name is `sa_<image_id>.jpg`. Those of evaluation sets are
        relative paths.
    """
    name = row["file_name"]
    if train:
        match = _SA1B.fullmatch(name)
        if match and int(match[1]) == row["image_id"]:
            return None
        return f"file_name: expected sa_{row['image_id']}.jpg, found {brief(name)}"
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and str(path) == name
    if not plain or path.is_absolute() or not path.name or ".." in path.parts:
        return f"file_name: expected a relative path without '..', found {brief(name)}"
    longest = max(len(part.encode()) for part in path.parts)
    if longest > _LONGEST_PART or len(name.encode()) > _LONGEST:
        expected = f"at most {_LONGEST} bytes, {_LONGEST_PART} in a part"
        return f"file_name: expected {expected}, found {brief(name)}"
    return None


def read_names(path: Path, fmt: str) -> list[str]:
    """The file names of a local shard, in order."""
    return [name for batch in read_batches(path, fmt) for name in batch["file_name"].to_pylist()]


def repeated_names(names: Iterable[str]) -> Iterator[str]:
    """A sentence for each name that several rows of a split have: one would replace the other."""
    for name, count in Counter(names).items():
        if count > 1:
            yield f"file_name: {count} rows are called {brief(name)}"
