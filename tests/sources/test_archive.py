"""Listing and reading tars and folders, whole and broken."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from builder.core.errors import SourceError, TruncatedSourceError
from builder.sources.archive import Archive
from builder.sources.sa1b import open_sources, read_image_ids
from tests.factory import members, write_folder, write_tar


def test_a_tar_and_a_folder_list_the_same_members(tmp_path: Path) -> None:
    files = members([2, 10])
    tar = Archive(str(write_tar(tmp_path / "sa_000000.tar", files)))
    folder = Archive(str(write_folder(tmp_path / "sa_000001", files)))
    for archive in (tar, folder):
        found = archive.contents().members
        assert {m.name: archive.read(m) for m in found} == files
    assert [m.name for m in tar.contents().members] == list(files)
    assert [m.name for m in folder.contents().members][:2] == ["sa_2.jpg", "sa_10.jpg"]


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_truncated_tar_is_refused_with_what_is_whole_in_it(tmp_path: Path, kept: float) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members(range(1, 9)))
    whole = len(Archive(str(path)).contents().members)
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(TruncatedSourceError, match=r"cut off.*whole members.*Fetch it again"):
        Archive(str(path)).contents()
    contents = Archive(str(path), allow_truncated=True).contents()
    assert 0 < len(contents.members) < whole
    assert "cut off" in contents.notes[0]


def test_a_tar_cut_at_a_member_boundary_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    last = Archive(str(path)).contents().members[-1]
    path.write_bytes(path.read_bytes()[: last.offset + -(-last.size // 512) * 512])
    with pytest.raises(TruncatedSourceError, match="end-of-archive marker"):
        Archive(str(path)).contents()


def test_a_damaged_header_in_the_middle_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    third = Archive(str(path)).contents().members[2]
    data = bytearray(path.read_bytes())
    data[third.offset - 512 : third.offset] = b"x" * 512
    path.write_bytes(data)
    with pytest.raises(TruncatedSourceError, match="not a tar header"):
        Archive(str(path)).contents()


def test_unsafe_members_are_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sa_000000.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in [
            ("../sa_1.jpg", tarfile.REGTYPE),
            ("/sa_2.jpg", tarfile.REGTYPE),
            ("sa_3.jpg", tarfile.SYMTYPE),
            ("sa_4.jpg", tarfile.LNKTYPE),
            ("sa_5.jpg", tarfile.CHRTYPE),
            ("./good/sa_6.jpg", tarfile.REGTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    contents = Archive(str(path)).contents()
    assert [m.name for m in contents.members] == ["good/sa_6.jpg"]
    assert [(r.member, r.reason) for r in contents.rejects] == [
        ("../sa_1.jpg", "unsafe_member_name"),
        ("/sa_2.jpg", "unsafe_member_name"),
        ("sa_5.jpg", "not_a_regular_file"),
        ("sa_3.jpg", "link_outside"),
        ("sa_4.jpg", "link_outside"),
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [("sa_0.tar", b""), ("sa_0.tar", b"no tar" * 200), ("sa_0.tar.gz", b"\x1f\x8b")],
)
def test_what_is_no_tar_is_a_clear_error(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=name):
        Archive(str(tmp_path / name)).contents()


def test_a_compressed_file_called_tar_is_told_from_a_cut_one(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([1]))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(SourceError, match=r"expected a plain tar, found a gzip.*decompress it"):
        Archive(str(path)).contents()
    path.write_bytes(b"<html>this link has expired</html>" * 100)
    with pytest.raises(SourceError, match=r"found a page of a site .* of 3400 bytes"):
        Archive(str(path), allow_truncated=True).contents()


def test_an_absent_source_says_what_can_be_given(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a glob of either"):
        Archive(str(tmp_path / "sa_000000.tar")).contents()


def test_a_tar_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([1]))
    archive = Archive(str(path))
    last = archive.contents().members[-1]
    path.write_bytes(path.read_bytes()[: last.offset + 5])
    with pytest.raises(SourceError, match=r"sa_1.json: expected \d+ bytes"):
        archive.read(last)


@pytest.mark.parametrize("ids", [range(101, 109), range(1, 9)], ids=["other", "the same"])
def test_a_tar_written_anew_while_it_is_read_is_an_error(tmp_path: Path, ids: range) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members(range(1, 9)))
    archive = Archive(str(path))
    first, *_, last = archive.contents().members
    archive.read(first)
    write_tar(tmp_path / "new.tar", members(ids)).replace(path)
    with pytest.raises(SourceError, match=r"sa_8.json: .* was written again while it was read"):
        archive.read(last)


def test_a_path_with_characters_of_globs_in_it_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "copy [1] of all?*" / "sa_000000.tar", members([1]))
    (source,) = open_sources([str(path)])
    assert (source.name, source.config) == ("sa_000000.tar", "sa_000000")
    assert len(source.listing().items) == 1


def test_globs_and_urls_become_sources(tmp_path: Path) -> None:
    for i in (1, 0):
        write_tar(tmp_path / f"sa_00000{i}.tar", members([i + 1]))
    write_folder(tmp_path / "sa_000002", members([3]))
    found = open_sources([str(tmp_path / "sa_*")])
    assert [s.config for s in found] == ["sa_000000", "sa_000001", "sa_000002"]
    url = (tmp_path / "sa_000000.tar").as_uri()
    (source,) = open_sources([url])
    assert source.config == "sa_000000"
    assert len(source.listing().items) == 1
    memory_url = "memory://tars/sa_000005.tar"
    import fsspec

    with fsspec.open(memory_url, "wb") as file:
        file.write((tmp_path / "sa_000000.tar").read_bytes())
    (source,) = open_sources([memory_url])
    assert len(source.listing().items) == 1
    with pytest.raises(SourceError, match="matches no"):
        open_sources([str(tmp_path / "nothing_*")])


def test_image_ids_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sa_images_ids.txt"
    path.write_text("226692\n\n1\nsa_7.jpg\n")
    assert read_image_ids(str(path)) == {226692, 1, 7}
    path.write_bytes(b"\xef\xbb\xbf226692\r\n\r\n1\r\n")  # as Windows saves it
    assert read_image_ids(str(path)) == {226692, 1}
    path.write_text("9" * 5000)
    with pytest.raises(SourceError, match="line 1"):
        read_image_ids(str(path))
    path.write_text("1\nsa_\n12a\n")
    with pytest.raises(SourceError, match="line 3"):
        read_image_ids(str(path))
    with pytest.raises(SourceError, match="can't be read"):
        read_image_ids(str(tmp_path / "absent.txt"))


def test_an_empty_tar_is_a_source_without_pairs(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    (tmp_path / "sa_000000.tar").write_bytes(buffer.getvalue())
    (source,) = open_sources([str(tmp_path / "sa_000000.tar")])
    with pytest.raises(SourceError, match="expected pairs"):
        source.listing()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_list_of_ids_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("1\r\n22\r\nsa_3.jpg\r\n".encode(encoding))
    assert read_image_ids(str(path)) == {1, 22, 3}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("foo://x", "Protocol not known"),
        ("{tmp}", "directory"),
        ("{tmp}/none", "No such file"),
        ("{tmp}/latin", "can't decode byte 0xe9"),
        ("http://127.0.0.1:9/x?signature=secret", "can't be read"),
    ],
)
def test_a_list_of_ids_that_cannot_be_read_is_named(tmp_path: Path, path: str, found: str) -> None:
    (tmp_path / "latin").write_bytes(b"1\n\xe9\n")
    with pytest.raises(SourceError, match=found) as caught:
        read_image_ids(path.format(tmp=tmp_path))
    assert "give a list of ids" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("glob", ["foo://x/*.tar", "github://*", "hf://datasets/*"])
def test_a_glob_that_no_store_answers_is_named(glob: str) -> None:
    with pytest.raises(SourceError, match="can't be listed"):
        open_sources([glob])
