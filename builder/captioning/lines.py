"""A JSON Lines file for durable appends."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NoReturn

from asam_datasets.contract import parse_json
from builder.core.errors import CaptionError, CaptionsFileError, ContractError
from builder.core.records import Json


class Lines:
    """A JSON Lines file open for durable appends, by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = not path.exists()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            not_written(path, error)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._file), path.stat()):
                raise BlockingIOError  # another run made the file, and removed it before the lock
        except OSError as error:
            self.close()
            raise CaptionsFileError(
                f"{path} is in use by another run: wait until that run has ended"
            ) from error
        self._mend()

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size

    def append(self, entries: list[Json]) -> None:
        """Write entries and sync. On failure, restore the file and raise CaptionError."""
        if not entries:
            return
        data = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        before = self.size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)
            not_written(self.path, error)

    def clear(self) -> None:
        os.ftruncate(self._file, 0)
        os.fsync(self._file)

    def discard(self) -> None:
        if self._file >= 0 and self._made and not self.size:
            self.path.unlink(missing_ok=True)  # while it is locked
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)  # this also releases the lock
            self._file = -1

    def _mend(self) -> None:
        """Cut off an incomplete last line, or add its newline if only that is missing."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole == len(data):
            return
        try:
            parse_json(data[whole:], str(self.path))
        except ContractError:
            os.ftruncate(self._file, whole)
        else:
            os.write(self._file, b"\n")
        os.fsync(self._file)


def not_written(path: Path, error: OSError) -> NoReturn:
    """Raise CaptionError for a file that could not be written."""
    raise CaptionError(
        f"{path} could not be written ({error.strerror}): make room or choose another --out, then "
        "run the same command again to go on"
    ) from error
