"""Headers of a tar may state anything: the listing ends, in little memory, with an own error."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asam_datasets import ImageRoot, ImageRootError
from asam_datasets.headers import MAX_HEADER_BYTES, tar_entries
from asam_datasets.tars import MAX_NAME
from builder.core.errors import SourceError
from builder.sources.archive import Archive
from tests.factory import members, write_tar

BLOCK = 512
MANY = 1000  # more members than any tar here has


def header(**fields: bytes) -> bytes:
    """A tar header whose checksum fits what it states."""
    data = bytearray(tarfile.TarInfo("sa_1.jpg").tobuf(tarfile.USTAR_FORMAT))
    places = {"name": 0, "size": 124, "kind": 156}
    for name, value in fields.items():
        data[places[name] : places[name] + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def pax(text: str, size: int | None = None) -> bytes:
    """A pax header, and its text."""
    record = next(
        record
        for length in range(len(text), len(text) + 9)
        if len(record := f"{length} {text}\n".encode()) == length
    )
    stated = b"%011o\0" % (len(record) if size is None else size)
    return header(kind=b"x", size=stated) + record.ljust(-(-len(record) // BLOCK) * BLOCK, b"\0")


def binary(number: int) -> bytes:
    """A size in GNU's binary form, which holds any number of 12 bytes."""
    return (number % 256**12 | (0x80 << 88 if number >= 0 else 0)).to_bytes(12, "big")


GOOD = header(size=b"%011o\0" % 5) + b"bytes".ljust(BLOCK, b"\0")
HOSTILE = {
    "a negative octal size": header(size=b"-0000002000\0"),
    "a negative binary size": header(size=binary(-2 * BLOCK)),
    "a size that leads to the same header": header(size=binary(-BLOCK)),
    "a negative size in pax": pax("size=-1536") + header(),
    "a size of 2**90": header(size=binary(2**90)),
    "a size that is no number": header(size=b"12 q45"),
    "a long name of -1 bytes": header(kind=b"L", size=binary(-1)) + header(),
    "a long name of terabytes": header(kind=b"L", size=binary(2**43)) + header(),
    "a chain of long names": header(kind=b"L", size=b"%011o\0" % 0) * 3000,
    "pax of terabytes": pax("path=x", size=2**32) + header(),
    "pax with a number that is none": pax("GNU.sparse.size=many") + header(),
    "a sparse map without end": header(kind=b"S")[:482] + b"\1" * 30,
    "a sparse map of many parts": pax("GNU.sparse.major=1")
    + pax("GNU.sparse.minor=0")
    + header()
    + b"99999999\n" * 20_000,
}


@pytest.mark.parametrize("start", [b"", GOOD], ids=["first", "second"])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_walk_over_a_hostile_header_ends(tmp_path: Path, name: str, start: bytes) -> None:
    data = start + HOSTILE[name] + GOOD + bytes(2 * BLOCK)
    found = []
    with contextlib.suppress(tarfile.ReadError):
        for entry, end in itertools.islice(tar_entries(io.BytesIO(data)), MANY):
            assert entry.size >= 0
            found.append(end)
    assert found == sorted(set(found))
    assert len(found) < MANY
    path = tmp_path / "sa_000000.tar"
    path.write_bytes(data)
    for read in (Archive(str(path)).contents, lambda: ImageRoot(path)):
        with contextlib.suppress(SourceError, ImageRootError):
            read()


def test_a_negative_size_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "sa_000000.tar"
    path.write_bytes(GOOD + HOSTILE["a negative octal size"] + GOOD + bytes(2 * BLOCK))
    with pytest.raises(SourceError, match=r"byte 1024 states a size of -1024 bytes"):
        Archive(str(path)).contents()
    with pytest.raises(ImageRootError, match=r"byte 1024 states a size of -1024 bytes"):
        ImageRoot(path)


def test_extended_headers_up_to_the_bound_are_read() -> None:
    name = "d/" * 2000 + "sa_1.jpg"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
        tar.addfile(tarfile.TarInfo("sa_2.jpg"))
    data.seek(0)
    assert [entry.name for entry, _ in tar_entries(data)] == [name, "sa_2.jpg"]
    assert len(name) < MAX_HEADER_BYTES


def test_a_path_that_is_too_long_is_a_reject_of_bounded_size(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", {"d/" * 2000 + "sa_1.jpg": b"", "sa_2.jpg": b""})
    contents = Archive(str(path)).contents()
    (reject,) = contents.rejects
    assert (reject.reason, len(reject.member)) == ("name_too_long", MAX_NAME)
    assert [member.name for member in contents.members] == ["sa_2.jpg"]


@pytest.mark.parametrize("size", [2**40, 2**60, 2**70])
def test_no_image_is_read_beyond_the_end_of_its_tar(tmp_path: Path, size: int) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(GOOD + header(name=b"sa_2.jpg", size=binary(size)) + bytes(2 * BLOCK))
    with pytest.raises(ImageRootError, match=r"can't be read as a plain tar"):
        ImageRoot(path)


def flip(rng: random.Random, data: bytearray, at: int) -> None:
    data[at + rng.randrange(BLOCK)] = rng.randrange(256)


def number(rng: random.Random, data: bytearray, at: int) -> None:
    data[at + 124 : at + 136] = binary(rng.choice((-1, 1)) * rng.randrange(2 ** rng.randrange(90)))


def kind(rng: random.Random, data: bytearray, at: int) -> None:
    data[at + 156] = rng.choice(b"\x000123456789xgLKSNX")


CHANGES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (flip, number, kind)


def test_mutated_tars_are_listed_or_refused(tmp_path: Path) -> None:
    """Every change keeps the header's checksum right, so that tarfile takes what it states."""
    path = write_tar(tmp_path / "sa_000000.tar", members([1, 2, 3], width=16, height=16))
    whole = path.read_bytes()
    starts = [m.offset - BLOCK for m in Archive(str(path)).contents().members]
    rng = random.Random(5)
    outcomes = set()
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.choice(starts)
            rng.choice(CHANGES)(rng, data, at)
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
        path.write_bytes(data)
        try:
            found = Archive(str(path), allow_truncated=rng.random() < 0.5).contents().members
            assert all(m.offset + m.size <= len(data) for m in found)
            outcomes.add("listed")
        except SourceError:
            outcomes.add("refused")
        try:
            ImageRoot(path)
        except ImageRootError:
            outcomes.add("no images")
    assert outcomes == {"listed", "refused", "no images"}
