"""Atomic writes, and reads of small files that may be anything.

A file is written under a temporary name, synced, and then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asam_datasets.contract import Node, check_size, parse_json
from asam_datasets.contract import sha256_json as sha256_json
from builder.core.errors import ContractError, SettingsError

# What file systems without links answer, such as a mounted bucket.
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def read_file(path: Path) -> bytes | None:
    """The content of a small file, or None if nothing is there.

    Raises
    ------
    ContractError
        It is a folder, may not be read, or is too large to be read whole.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait forever
            raise ContractError(f"{path}: expected a file, found a folder or a device: remove it")
        check_size(path.stat().st_size, str(path))
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ContractError(
            f"{path}: can't be read: {error.strerror}; make it readable, or remove it"
        ) from error


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a small file holds, or None if nothing is there.

    Raises
    ------
    ContractError
        The file can't be read, or holds something else than an object of few levels.
    """
    content = read_file(path)
    if content is None:
        return None
    return Node(str(path), "", parse_json(content, str(path))).mapping()


def refuse_folders(paths: Iterable[Path]) -> None:
    """Raise SettingsError if something that is not a file stands where a file will be written."""
    for path in paths:
        if path.exists() and not path.is_file():
            raise SettingsError(
                f"{path}: expected a file or nothing there, found a folder or a device: move it "
                "away, and run the same command again"
            )


def replace_durably(temporary: Path, final: Path) -> None:
    """Rename a finished file over `final` and sync the folder, so that the rename survives."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(final)
    sync_folder(final.parent)


def sync_folder(path: Path) -> None:
    """Write a folder's names to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unique(name: str) -> str:
    """The name with an ending that no other process has, on this machine or another one.

    Process ids would not do: two machines that share a folder have the same ones.
    """
    return f"{name}.{secrets.token_hex(8)}"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically: a reader sees the old content or the new content."""
    with _written(path, data) as temporary:
        replace_durably(temporary, path)


def create_bytes(path: Path, data: bytes) -> bool:
    """As `write_bytes`, unless there is such a file; returns whether it was written.

    Of several processes that write at the same time, also on several machines, one succeeds. A file
    system without links can't promise that: there the last one does.
    """
    with _written(path, data) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            replace_durably(temporary, path)
        sync_folder(path.parent)
    return True


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file beside `path` with the data, on the disk. It is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{unique(path.name)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        if error.filename is None:  # a failed write names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove the temporary files that killed runs of `write_bytes` left.

    The caller must be the only one that writes files of this name in this folder.
    """
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)


def dump_json(value: Any, *, indent: int | None = None) -> bytes:
    """JSON bytes, the same for the same value. ASCII can hold any name that a tar may have."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, separators=separators, indent=indent)
    return text.encode() + b"\n"


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON atomically."""
    write_bytes(path, dump_json(value, indent=indent))


def create_json(path: Path, value: Any, *, indent: int | None = None) -> bool:
    """Write JSON atomically unless there is such a file; returns whether it was written."""
    return create_bytes(path, dump_json(value, indent=indent))


def sha256_file(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
