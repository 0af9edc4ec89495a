"""What a tar holds: the members whose bytes can be read in place, and whether it is whole.

A tar ends with two zero blocks of 512 bytes. GNU tar, Python, Java and star fill the last record of
10,240 bytes with zeros, and GNU tar with -b N one of N blocks. Go, Rust, libarchive and npm add
nothing (the tools' own sources; POSIX, pax, "ustar Interchange Format"). Any other zeros stand for
bytes that are missing: of a header that was lost, or of a download that has not finished.
"""

from __future__ import annotations

import bisect
import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from asam_datasets.headers import tar_entries

MAX_NAME = 1024  # characters of a member's path or target; each of its rejects holds it
TAR_BLOCK = tarfile.BLOCKSIZE
_END = 2 * TAR_BLOCK
_USUAL_RECORDS = (1, tarfile.RECORDSIZE // TAR_BLOCK)  # in blocks
_NO_ZERO = (".jpg", ".jpeg", ".json", ".png")
# GNU tar's -b in use: powers of two, cpio's 10, and those of old tape drives. Not any number, since
# a tar with a hole at its end could always be made of records of some size.
_OTHER_RECORDS = (2, 4, 8, 10, 16, 32, 64, 126, 127, 128, 256, 512, 1024, 2048)


class TarPlace(NamedTuple):
    """A file of a tar: `size` bytes from `offset` on."""

    name: str
    offset: int
    size: int


class TarReject(NamedTuple):
    """A member that is no file of the tar, and why."""

    name: str
    reason: str
    expected: str
    found: str


@dataclass(slots=True)
class TarListing:
    """What a tar holds.

    `places` are its files in its own order. A link to one of them is a file, too. `starts` says
    where each archive begins, if several stand one behind the other. `damage` says what is wrong
    with the end of what was read, and is empty if the tar is whole.
    """

    places: list[TarPlace] = field(default_factory=list)
    unusable: list[TarReject] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    damage: str = ""


class _Damage(Exception):
    """Raised and caught within this module: the tar ends where it should not."""


def list_tar(file: BinaryIO, size: int, most: int) -> TarListing:
    """List a tar, and the archives that were joined to it (`cat a.tar b.tar`).

    Parameters
    ----------
    file
        The tar. It must be seekable.
    size
        Its length in bytes.
    most
        The listing ends after this many members and one more, so that the caller can refuse it.
    """
    found = _Members(size)
    listing = found.listing
    start: int | None = 0
    try:
        while start is not None:
            listing.starts.append(start)
            end = _read_archive(file, start, found, most)
            if found.count > most:
                break
            start = _next_archive(file, start, end, found.last)
    except (tarfile.ReadError, _Damage) as error:
        listing.damage = str(error)
    return found.settle()


class _Members:
    """Collects the members of a tar, and settles its links when all of them are known."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.listing = TarListing()
        self.count = 0
        self.last: TarPlace | None = None  # the last file that stands in the tar
        self.order: list[TarPlace | tarfile.TarInfo] = []  # files, and links to settle
        self._known: dict[str, TarPlace] = {}
        self._names: list[str] = []  # of files, links and folders

    def take(self, entry: tarfile.TarInfo) -> None:
        """Add one member."""
        self.count += 1
        name = posixpath.normpath(entry.name)
        if len(entry.name) > MAX_NAME or len(entry.linkname) > MAX_NAME:
            found = f"{max(len(entry.name), len(entry.linkname))}"
            self._refuse(entry, "name_too_long", f"at most {MAX_NAME} characters", found)
        elif entry.isdir():
            self._names.append(name)
        elif entry.name.startswith("/") or ".." in entry.name.split("/"):
            self._refuse(entry, "unsafe_member_name", "a relative path without ..", entry.name)
        elif entry.islnk() and (before := self._known.get(_target(entry))):
            # A hard link means the file that stood before it, whatever follows by that name.
            self._known[name] = before._replace(name=name)
            self.order.append(self._known[name])
            self._names.append(name)
        elif entry.islnk() or entry.issym():
            self.order.append(entry)
            self._names.append(name)
        elif not entry.isreg() or entry.issparse():
            kind = f"tar type {entry.type!r}"
            self._refuse(entry, "not_a_regular_file", "a regular file", kind)
        elif entry.offset_data + entry.size > self.size:
            found = f"{self.size - entry.offset_data} bytes before the tar ends"
            self._refuse(entry, "truncated_member", f"{entry.size} bytes", found)
        else:
            self.last = self._known[name] = TarPlace(name, entry.offset_data, entry.size)
            self.order.append(self.last)
            self._names.append(name)

    def settle(self) -> TarListing:
        """Give each link to a file the place of that file; other links are unusable."""
        links = {
            posixpath.normpath(e.name): e for e in self.order if isinstance(e, tarfile.TarInfo)
        }
        settled: dict[str, TarPlace | str] = {**self._known}
        self._names.sort()
        for entry in self.order:
            if isinstance(entry, TarPlace):
                self.listing.places.append(entry)
                continue
            name = target = posixpath.normpath(entry.name)
            passed: list[str] = []
            while target in links and target not in settled:
                passed.append(target)
                settled[target] = "link_in_a_circle"
                target = _target(links[target])
            place = settled.get(target) or self._elsewhere(target)
            settled |= dict.fromkeys(passed, place)
            place = settled[name]
            if isinstance(place, TarPlace):
                self.listing.places.append(place._replace(name=name))
            elif place != "folder":  # its files have names of their own
                self._refuse(entry, place, "a link to a file of the tar", entry.linkname)
        return self.listing

    def _elsewhere(self, target: str) -> str:
        first = bisect.bisect_left(self._names, target)
        inside = bisect.bisect_left(self._names, f"{target}/")
        if (
            target == "."
            or target in self._names[first : first + 1]
            or any(name.startswith(f"{target}/") for name in self._names[inside : inside + 1])
        ):
            return "folder"
        outside = target.startswith(("/", "../")) or target == ".."
        return "link_outside" if outside else "link_to_nothing"

    def _refuse(self, entry: tarfile.TarInfo, reason: str, expected: str, found: str) -> None:
        name, found = entry.name[:MAX_NAME], found[:MAX_NAME]
        self.listing.unusable.append(TarReject(name, reason, expected, found))


def _target(link: tarfile.TarInfo) -> str:
    """The path that a link names: a hard link from the tar's root, a symbolic from its folder."""
    folder = "" if link.islnk() else posixpath.dirname(link.name)
    return posixpath.normpath(posixpath.join(folder, link.linkname))


def _read_archive(file: BinaryIO, start: int, found: _Members, most: int) -> int:
    """Read the members of the archive at `start`; returns the offset at which they end."""
    end = file.seek(start)
    for entry, following in tar_entries(file):
        end = following
        found.take(entry)
        if found.count > most:
            break
    return end


def _next_archive(file: BinaryIO, start: int, end: int, last: TarPlace | None) -> int | None:
    """Check what stands behind the members; returns where a joined archive begins, if one does.

    Raises _Damage if it is not the end of a tar.
    """
    file.seek(end)
    most = _END + TAR_BLOCK * max(_OTHER_RECORDS)
    tail = file.read(most)
    zeros = len(tail) - len(tail.lstrip(b"\0"))
    expected = f"expected a header or the end-of-archive marker at byte {end}"
    if not tail:
        raise _Damage(f"{expected}, found the file's end")
    if zeros < min(TAR_BLOCK, len(tail)):
        raise _Damage(f"{expected}, found something that is not a tar header")
    to_the_end = zeros == len(tail) < most
    gap = zeros if to_the_end else zeros // TAR_BLOCK * TAR_BLOCK
    joined = not to_the_end and _is_header(tail[gap : gap + TAR_BLOCK])
    records = _USUAL_RECORDS if joined else _USUAL_RECORDS + _OTHER_RECORDS
    whole = _fills(records, end + gap - start, gap)
    if gap > _END and whole:  # a hole rarely begins where a member ends
        whole = not _ends_in_zero(file, last)
    if whole and (joined or to_the_end):
        return end + gap if joined else None
    more = "" if zeros < len(tail) or to_the_end else "at least "
    behind = "the file's end" if to_the_end else "more zeros" if more else "other data"
    if joined:
        behind = "another header"
    raise _Damage(
        f"{expected}: {_END} zero bytes, and as many as fill a record of "
        f"{tarfile.RECORDSIZE} bytes; found {more}{zeros} zero bytes, then {behind}: a header was "
        "lost, or a download has not finished"
    )


def _fills(records: Iterable[int], length: int, gap: int) -> bool:
    """Whether an archive of `length` bytes ends in `gap` zeros to fill one of these records.

    The zeros are the end marker and less than a record. Records are given in blocks.
    """
    sizes = (blocks * TAR_BLOCK for blocks in records)
    return gap >= _END and any(gap - _END < size and length % size == 0 for size in sizes)


def _ends_in_zero(file: BinaryIO, last: TarPlace | None) -> bool:
    """Whether a file that ends in no zero when it is whole ends in one."""
    if last is None or last.size == 0 or not last.name.lower().endswith(_NO_ZERO):
        return False
    file.seek(last.offset + last.size - 1)
    return file.read(1) == b"\0"


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
