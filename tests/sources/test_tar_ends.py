"""The end of a tar: what real tools write is read, and no lost or joined member is passed over."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import fsspec
import pytest

from asam_datasets import ImageRoot, ImageRootError
from builder.core.errors import SourceError, TruncatedSourceError
from builder.sources.archive import Archive, Contents
from tests.factory import members, write_tar

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE


def plain(files: Mapping[str, bytes]) -> bytes:
    """A tar as Go, Rust and libarchive end it: two zero blocks and no padding."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    return buffer.getvalue()[:end] + bytes(2 * BLOCK)


def written(path: Path, parts: Iterable[bytes | bytearray]) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def listed(path: Path, *, allow_truncated: bool = False) -> Contents:
    """What a local and a remote tar of the same bytes hold, which is the same."""
    with fsspec.open(f"memory://ends/{path.name}", "wb") as file:
        file.write(path.read_bytes())
    results: list[Contents | str] = []
    for url in (str(path), f"memory://ends/{path.name}"):
        try:
            results.append(Archive(url, allow_truncated).contents())
        except SourceError as error:
            results.append(str(error).removeprefix(url))
    here, there = results
    if isinstance(here, str):
        assert here == there
        return Archive(str(path), allow_truncated).contents()  # raises
    assert isinstance(there, Contents)
    assert here.fingerprint("x") == there.fingerprint("x")
    assert here.notes == there.notes
    return here


def refused(path: Path) -> str:
    with pytest.raises(TruncatedSourceError) as caught:
        listed(path)
    with pytest.raises(ImageRootError) as missing:
        ImageRoot(path)
    why = str(caught.value).split("damaged: ")[1].split(";")[0]
    assert why in str(missing.value)
    return str(caught.value)


FILES = members([1, 2, 3])
NO_PADDING = plain(FILES)
END = len(NO_PADDING) - 2 * BLOCK


@pytest.mark.parametrize("blocks", [1, 4, 10, 20, 64, 126, 256, 2048])
def test_a_tar_of_any_blocking_factor_is_whole(tmp_path: Path, blocks: int) -> None:
    record = blocks * BLOCK
    padded = NO_PADDING + bytes(-len(NO_PADDING) % record)
    contents = listed(written(tmp_path / "sa_000000.tar", [padded]))
    assert [m.name for m in contents.members] == list(FILES)
    assert contents.notes == []


@pytest.mark.parametrize("options", [[], ["-b", "1"], ["-b", "256"], ["--format=posix"]], ids=str)
def test_what_gnu_tar_writes_is_whole(tmp_path: Path, options: list[str]) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "sa_000000.tar"
    subprocess.run(["tar", *options, "-cf", path, "-C", tmp_path, *FILES], check=True)
    assert [m.name for m in listed(path).members] == list(FILES)
    (tmp_path / "more").write_bytes(b"more")
    subprocess.run(["tar", *options, "-rf", path, "-C", tmp_path, "more"], check=True)
    assert [m.name for m in listed(path).members] == [*FILES, "more"]


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9])
def test_a_preallocated_download_that_has_not_finished_is_refused(
    tmp_path: Path, kept: float
) -> None:
    data = plain(members(range(1, 40)))
    data += bytes(-len(data) % RECORD)
    cut = int(len(data) * kept)
    path = written(tmp_path / "sa_000000.tar", [data[:cut], bytes(len(data) - cut)])
    assert "a download has not finished" in refused(path)
    contents = listed(path, allow_truncated=True)
    assert 0 < len(contents.members) < 78
    assert "cut off" in contents.notes[0]


def test_a_download_whose_middle_is_missing_is_refused(tmp_path: Path) -> None:
    data = bytearray(plain(members(range(1, 40))))
    data[20_000:60_000] = bytes(40_000)
    assert "zero bytes, then other data" in refused(written(tmp_path / "sa_000000.tar", [data]))


def test_a_file_of_zeros_alone_is_no_tar(tmp_path: Path) -> None:
    path = written(tmp_path / "sa_000000.tar", [bytes(3 << 20)])
    with pytest.raises(SourceError, match="begins with zeros"):
        Archive(str(path)).contents()


def test_a_zeroed_header_in_the_middle_is_refused_with_its_offset(tmp_path: Path) -> None:
    data = bytearray(NO_PADDING)
    third = Archive(str(written(tmp_path / "sa_000000.tar", [data]))).contents().members[2]
    header = third.offset - BLOCK
    data[header : header + BLOCK] = bytes(BLOCK)
    text = refused(written(tmp_path / "sa_000000.tar", [data]))
    assert f"at byte {header}: 1024 zero bytes" in text
    assert f"found {BLOCK} zero bytes, then other data" in text
    assert "2 whole members" in text


def test_a_zeroed_member_in_the_middle_is_refused(tmp_path: Path) -> None:
    data = bytearray(NO_PADDING)
    third = Archive(str(written(tmp_path / "sa_000000.tar", [data]))).contents().members[2]
    size = -(-third.size // BLOCK) * BLOCK
    data[third.offset - BLOCK : third.offset + size] = bytes(BLOCK + size)
    assert "then another header" in refused(written(tmp_path / "sa_000000.tar", [data]))


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        (b"", "the file's end"),
        (bytes(100), "100 zero bytes, then the file's end"),
        (bytes(BLOCK), "512 zero bytes, then the file's end"),
        (bytes(2 * BLOCK + 1), "1025 zero bytes, then the file's end"),
        (bytes(2 * BLOCK) + b"garbage", "1024 zero bytes, then other data"),
        (bytes(4 << 20), "at least 1049600 zero bytes, then more zeros"),
    ],
    ids=["none", "less than a block", "one block", "a byte too many", "garbage", "zeros"],
)
def test_any_other_end_is_refused(tmp_path: Path, tail: bytes, found: str) -> None:
    text = refused(written(tmp_path / "sa_000000.tar", [NO_PADDING[:END], tail]))
    assert f"at byte {END}" in text
    assert found in text


def test_padding_of_a_large_record_behind_a_hole_is_refused(tmp_path: Path) -> None:
    """A hole that begins within a member, and whose end looks like tar's padding."""
    data = bytearray(NO_PADDING + bytes(-len(NO_PADDING) % (64 * BLOCK)))
    path = written(tmp_path / "sa_000000.tar", [data])
    assert len(data) - END > RECORD + 2 * BLOCK
    last = Archive(str(path)).contents().members[-1]
    data[last.offset + 10 :] = bytes(len(data) - last.offset - 10)
    assert "a download has not finished" in refused(written(path, [data]))


@pytest.mark.parametrize("padding", [0, 20], ids=["Go's", "GNU's"])
def test_joined_archives_are_read(tmp_path: Path, padding: int) -> None:
    parts = [plain(members([i])) for i in (1, 2, 3)]
    parts = [part + bytes(-len(part) % (padding * BLOCK or 1)) for part in parts]
    path = written(tmp_path / "sa_000000.tar", parts)
    files = members([1]) | members([2]) | members([3])
    contents = listed(path)
    archive = Archive(str(path))
    assert {m.name: archive.read(m) for m in contents.members} == files
    assert contents.notes == [
        "sa_000000.tar holds 3 archives, one behind the other; the second begins at byte "
        f"{len(parts[0])}"
    ]
    root = ImageRoot(path)
    assert root.name == str(path)
    assert {name: len(found) for name, found in root._found.items()} == dict.fromkeys(files, 1)


def test_an_archive_behind_too_much_padding_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "sa_000000.tar", [NO_PADDING, bytes(7 * BLOCK), plain({"x": b"1"})])
    assert "then another header" in refused(path)


def test_a_joined_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    second = plain(members([4]))
    path = written(tmp_path / "sa_000000.tar", [NO_PADDING, second[:-3000]])
    assert "7 whole members (last: sa_4.jpg)" in refused(path)
    contents = listed(path, allow_truncated=True)
    assert [m.name for m in contents.members] == [*FILES, "sa_4.jpg"]


def test_an_empty_tar_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", {})
    assert path.stat().st_size == RECORD
    assert listed(path).members == []


def test_a_server_that_knows_no_ranges_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a server answers a request for a range with the whole file."""
    path = written(tmp_path / "sa_000000.tar", [NO_PADDING])
    archive = Archive(str(path))
    member = archive.contents().members[1]
    fs = fsspec.filesystem("file")
    monkeypatch.setattr(type(fs), "cat_file", lambda self, path, *span: Path(path).read_bytes())
    with pytest.raises(SourceError, match="the server knows no ranges"):
        archive.read(member)


@pytest.mark.parametrize("name", ["sa_9.json", "sa_9.jpg", "notes.bin"])
def test_a_hole_within_the_usual_padding_is_refused_too(tmp_path: Path, name: str) -> None:
    data = plain(FILES | {name: b"x" * 3000 + bytes(2000)})
    path = written(tmp_path / "sa_000000.tar", [data, bytes(-len(data) % RECORD)])
    assert path.stat().st_size > len(data)
    if name == "notes.bin":  # such a file may end in zeros
        assert len(listed(path).members) == len(FILES) + 1
    else:
        assert "a download has not finished" in refused(path)
