"""Walks the headers of a plain tar that may come from anyone.

`tarfile` trusts what a header states. A negative size sends it back to where it was, a size of
terabytes makes it allocate them, and a chain of extended headers recurses. Here each member costs a
bounded number of bytes, and the next header lies behind the one before.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

# Of the headers of one member. A path and the target of a link have 4,096 bytes each at the most.
MAX_HEADER_BYTES = 64 << 10


class _Headers:
    """A file that gives no more than MAX_HEADER_BYTES until `begin` is called again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES

    def begin(self) -> None:
        self._left = MAX_HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(
                f"a header at byte {self._file.tell()} states {size} bytes of its own: expected 0 "
                f"to {self._left}"
            )
        self._left -= size
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def is_tar(path: str) -> bool:
    """Whether a file is a tar, also one that is compressed; reads no more than its start."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return tarfile.is_tarfile(_Headers(file))  # type: ignore[arg-type]
    except (OSError, ValueError, OverflowError, RecursionError, LookupError, EOFError):
        return False


def tar_entries(file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield each header of a plain tar, and the byte at which the next one is expected.

    The walk ends at the first block that is no header. The caller checks what stands there.

    Parameters
    ----------
    file
        A file to read from anywhere in it, which stands where the tar begins.

    Raises
    ------
    tarfile.ReadError
        The file is no tar, a header can't be read, or it leads backwards.
    """
    end = file.tell()
    headers = _Headers(file)
    try:
        with tarfile.open(fileobj=headers, mode="r:") as tar:  # type: ignore[call-overload]
            while (entry := tar.next()) is not None:
                if entry.size < 0 or tar.offset <= end:
                    raise tarfile.ReadError(
                        f"the header at byte {end} states a size of {entry.size} bytes"
                    )
                end = tar.offset
                tar.members = []  # they would fill the memory
                yield entry, end
                headers.begin()
    # A field that is no number, an offset that no file has, an extended header without its end.
    except (ValueError, OverflowError, IndexError, RecursionError) as error:
        raise tarfile.ReadError(
            f"the header at byte {end} can't be read: {error or type(error).__name__}"
        ) from error
