"""Symbolic and hard links, in folders and in tars: followed, or named."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from asam_datasets import Files, ImageRoot, ImageRootError
from builder.core.records import Listing
from builder.sources.archive import Archive
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.sa1b import open_sources
from tests.evaluation.reading import read
from tests.factory import members, write_folder, write_tar


def listing(path: Path) -> Listing:
    (source,) = open_sources([str(path)])
    return source.listing()


def linked_tar(path: Path, entries: list[tuple[str, bytes | str, bytes]]) -> Path:
    """A tar of (name, content or target, type)."""
    with tarfile.open(path, "w") as tar:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


HARD, SYMBOLIC, FILE = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.REGTYPE


@pytest.mark.parametrize("which", ["all", "some"])
def test_a_folder_of_links_gives_what_the_files_give(tmp_path: Path, which: str) -> None:
    """As the Hub's cache has them: names that lead to blobs elsewhere."""
    files = members([1, 2, 3])
    plain = write_folder(tmp_path / "plain" / "sa_000000", files)
    blobs = write_folder(tmp_path / "blobs", files)
    folder = tmp_path / "linked" / "sa_000000"
    folder.mkdir(parents=True)
    for name, data in files.items():
        if which == "all" or "_2." in name:
            (folder / name).symlink_to(os.path.relpath(blobs / name, folder))
        else:
            (folder / name).write_bytes(data)
    expected, found = listing(plain), listing(folder)
    assert found.fingerprint == expected.fingerprint
    assert [item.key for item in found.items] == [item.key for item in expected.items]
    archive = Archive(str(folder))
    assert {m.name: archive.read(m) for m in archive.contents().members} == files
    root = ImageRoot(folder)
    assert all(name in root._found for name in files)


def test_a_link_that_is_changed_to_another_file_is_noticed(tmp_path: Path) -> None:
    files = members([1])
    blobs = write_folder(tmp_path / "blobs", files)
    folder = tmp_path / "sa_000000"
    folder.mkdir()
    for name in files:
        (folder / name).symlink_to(blobs / name)
    before = listing(folder).items[0].version
    os.utime(blobs / "sa_1.jpg", (1, 1))
    assert listing(folder).items[0].version != before


def test_links_to_nothing_are_rejected_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "sa_000000", members([1, 2]))
    (folder / "sa_2.jpg").unlink()
    (folder / "sa_2.jpg").symlink_to("/nowhere/sa_2.jpg")
    (folder / "sa_3.jpg").symlink_to("sa_3.jpg")
    os.mkfifo(folder / "sa_4.jpg")
    (folder / "more").mkdir()
    found = listing(folder)
    assert [(r.member, r.reason) for r in found.rejects] == [
        ("sa_2.jpg", "link_to_nothing"),
        ("sa_3.jpg", "link_to_nothing"),
        ("sa_4.jpg", "not_a_regular_file"),
        ("sa_2.json", "json_without_jpg"),
    ]
    assert found.notes == ["1 folder in sa_000000 not read: more"]
    assert [item.key for item in found.items] == ["sa_1"]


def test_a_tar_behind_a_link_is_read(tmp_path: Path) -> None:
    blob = write_tar(tmp_path / "blobs" / "0123abcd", members([1]))
    (tmp_path / "sa_000000.tar").symlink_to(blob)
    found = listing(tmp_path / "sa_000000.tar")
    assert [item.key for item in found.items] == ["sa_1"]
    assert found.fingerprint["name"] == "sa_000000.tar"


def test_hard_links_of_gnu_tar_are_read(tmp_path: Path) -> None:
    files = members([1, 2])
    folder = write_folder(tmp_path / "files", files)
    for name in files:
        os.link(folder / name, folder / f"aa_{name}")  # comes first, so sa_* are links in the tar
    path = tmp_path / "sa_000000.tar"
    subprocess.run(["tar", "--sort=name", "-cf", path, "-C", folder, "."], check=True)
    found = listing(path)
    assert [item.key for item in found.items] == ["sa_1", "sa_2"]
    assert found.rejects == []
    archive = Archive(str(path))
    read_back = {m.name: archive.read(m) for m in archive.contents().members}
    assert read_back == files | {f"aa_{name}": data for name, data in files.items()}
    assert ImageRoot(path)._found.keys() == read_back.keys()


def test_a_hard_link_is_the_file_before_it_and_a_symbolic_link_the_last(tmp_path: Path) -> None:
    path = linked_tar(
        tmp_path / "sa_000000.tar",
        [
            ("x", b"first", FILE),
            ("sa_1.jpg", "x", HARD),
            ("sa_2.jpg", "sa_1.jpg", HARD),
            ("sa_3.jpg", "x", SYMBOLIC),
            ("x", b"second", FILE),
            ("sa_4.jpg", "x", HARD),
        ],
    )
    archive = Archive(str(path))
    found = {m.name: archive.read(m) for m in archive.contents().members if m.name != "x"}
    assert found == {
        "sa_1.jpg": b"first",
        "sa_2.jpg": b"first",
        "sa_3.jpg": b"second",
        "sa_4.jpg": b"second",
    }
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", path, "-C", tmp_path / "out"], check=True)  # as others read it
    for name, data in found.items():
        assert (tmp_path / "out" / name).read_bytes() == data


def test_symbolic_links_in_a_tar_lead_to_its_members(tmp_path: Path) -> None:
    """A tar of the Hub's cache: the names come before the blobs that they lead to."""
    entries: list[tuple[str, bytes | str, bytes]] = [
        ("cache/snapshots/1/sa_1.jpg", "../../blobs/a", SYMBOLIC),
        ("cache/snapshots/1/sa_1.json", "./again", SYMBOLIC),
        ("cache/snapshots/1/again", "../../blobs/b", SYMBOLIC),
        ("cache/current", "snapshots/1", SYMBOLIC),
        ("cache/blobs/a", b"jpg", FILE),
        ("cache/blobs/b", b"json", FILE),
    ]
    archive = Archive(str(linked_tar(tmp_path / "sa_000000.tar", entries)))
    contents = archive.contents()
    assert contents.rejects == []
    assert [(m.name, archive.read(m)) for m in contents.members] == [
        ("cache/snapshots/1/sa_1.jpg", b"jpg"),
        ("cache/snapshots/1/sa_1.json", b"json"),
        ("cache/snapshots/1/again", b"json"),
        ("cache/blobs/a", b"jpg"),
        ("cache/blobs/b", b"json"),
    ]


@pytest.mark.parametrize(
    ("target", "kind", "reason"),
    [
        ("/etc/passwd", SYMBOLIC, "link_outside"),
        ("/etc/passwd", HARD, "link_outside"),
        ("../sa_1.jpg", SYMBOLIC, "link_outside"),
        ("folder/../../sa_1.jpg", SYMBOLIC, "link_outside"),
        ("../folder/sa_1.jpg", HARD, "link_outside"),
        ("..", SYMBOLIC, "link_outside"),
        ("sa_9.jpg", SYMBOLIC, "link_to_nothing"),
        ("sa_9.jpg", HARD, "link_to_nothing"),
        ("sa_2.jpg", SYMBOLIC, "link_in_a_circle"),
        ("sa_3.jpg", SYMBOLIC, "link_in_a_circle"),
    ],
)
def test_a_link_that_leads_to_no_member_is_rejected(
    tmp_path: Path, target: str, kind: bytes, reason: str
) -> None:
    entries: list[tuple[str, bytes | str, bytes]] = [
        ("sa_1.jpg", b"jpg", FILE),
        ("sa_2.jpg", target, kind),
        ("sa_3.jpg", "sa_2.jpg", SYMBOLIC),
    ]
    contents = Archive(str(linked_tar(tmp_path / "sa_000000.tar", entries))).contents()
    assert [m.name for m in contents.members] == ["sa_1.jpg"]
    assert [(r.member, r.reason) for r in contents.rejects] == [
        ("sa_2.jpg", reason),
        ("sa_3.jpg", reason),
    ]
    assert contents.rejects[0].found == target


def test_a_long_chain_of_links_is_settled(tmp_path: Path) -> None:
    """Each link once, so that a hostile tar takes no quadratic time."""
    chain: list[tuple[str, bytes | str, bytes]] = [
        (f"l{i}", f"l{i + 1}", SYMBOLIC) for i in range(3000)
    ]
    entries = [*chain, ("l3000", b"end", FILE), ("x", "y", SYMBOLIC), ("y", "x", HARD)]
    archive = Archive(str(linked_tar(tmp_path / "sa_000000.tar", entries)))
    contents = archive.contents()
    assert len(contents.members) == 3001
    assert archive.read(contents.members[0]) == b"end"
    assert [r.reason for r in contents.rejects] == ["link_in_a_circle"] * 2


def test_image_root_follows_links_to_folders_and_tars(tmp_path: Path) -> None:
    files = members([1, 2, 3])
    photos = write_folder(tmp_path / "photos", {k: v for k, v in files.items() if "_1." in k})
    rest = {k: v for k, v in files.items() if "_1." not in k}
    tar = write_tar(tmp_path / "tars" / "sa_000000.tar", rest)
    root = tmp_path / "linked"
    root.mkdir()
    (root / "photos").symlink_to(photos)
    (root / "b.tar").symlink_to(tar)
    (photos / "up").symlink_to(root)  # a circle
    found = ImageRoot(root)
    assert {name: len(places) for name, places in found._found.items()} == dict.fromkeys(files, 1)
    (root / "b.tar").unlink()
    (root / "b.tar").write_bytes(tar.read_bytes()[:1500])
    with pytest.raises(ImageRootError, match=r"b\.tar can't be read as a plain tar"):
        ImageRoot(root)


def test_a_pipe_beside_the_images_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "sa_1.jpg").write_bytes(b"image")
    os.mkfifo(tmp_path / "sa_2.jpg")
    os.mkfifo(tmp_path / "more.tar")
    images = ImageRoot(tmp_path)
    with pytest.raises(ImageRootError, match=r"no sa_2\.jpg there"):
        images.read("sa_2.jpg", "0" * 64)


def test_linked_configs_are_listed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "sa_000001").mkdir(parents=True)
    data = tmp_path / "dist" / "data"
    (data / "sa_000000").mkdir(parents=True)
    (data / "sa_000001").symlink_to(tmp_path / "elsewhere" / "sa_000001")
    (data / "sa_000002").symlink_to("nowhere")
    (data / "notes.txt").write_text("")
    assert Files(str(tmp_path / "dist")).configs() == ["sa_000000", "sa_000001"]


def relink(folder: Path, blobs: Path) -> None:
    """Replace each file by a link to it, as the Hub's cache has them."""
    blobs.mkdir()
    for i, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        path.rename(blobs / str(i))
        path.symlink_to(blobs / str(i))


@pytest.mark.parametrize("name", ["camo", "coco2017", "woodscape", "voc2012", "ade20k"])
def test_an_evaluation_folder_of_links_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    folder = write_fixture(name, tmp_path)
    before = read(open_source(name, "native", folder))
    relink(folder, tmp_path / "blobs")
    after = read(open_source(name, "native", folder))
    assert after.rows == before.rows
    assert after.rejects == []


def test_an_evaluation_folder_with_a_circle_and_links_to_nothing_is_read(tmp_path: Path) -> None:
    folder = write_fixture("coco2017", tmp_path)
    before = read(open_source("coco2017", "native", folder))
    (folder / "val2017" / "circle").symlink_to(folder)
    (folder / "val2017" / "lost.jpg").symlink_to("/nowhere/lost.jpg")
    (folder / "val2017" / "self.jpg").symlink_to("self.jpg")
    after = read(open_source("coco2017", "native", folder))
    assert after.rows == before.rows
    assert [(r.member, r.reason, r.found) for r in after.rejects] == [
        ("val2017/lost.jpg", "link_to_nothing", "a link to lost.jpg, which is not there"),
        ("val2017/self.jpg", "link_to_nothing", "a link to self.jpg, which is not there"),
    ]


def test_a_truth_that_leads_nowhere_is_named_even_where_strays_are_not(tmp_path: Path) -> None:
    folder = write_fixture("camo", tmp_path)
    before = read(open_source("camo", "native", folder))
    below = folder / "CAMO-COCO-V.1.0-CVIU2019/Camouflage"
    (below / "GT/lost.png").symlink_to("/nowhere")
    (below / "Images/Test/other.jpg").symlink_to("/nowhere")
    after = read(open_source("camo", "native", folder))
    assert after.rows == before.rows
    assert {(Path(r.member).name, r.reason) for r in after.rejects} == {
        ("lost.png", "link_to_nothing"),
        ("other.jpg", "link_to_nothing"),
    }


def test_a_deep_pattern_ends_in_a_circle_of_folders(tmp_path: Path) -> None:
    folder = write_fixture("ade20k", tmp_path)
    before = read(open_source("ade20k", "native", folder))
    (group,) = list(folder.rglob("validation"))[:1]
    (group / "again").symlink_to(group)
    assert read(open_source("ade20k", "native", folder)).rows == before.rows


def test_a_glob_leads_through_linked_folders(tmp_path: Path) -> None:
    write_tar(tmp_path / "real" / "sa_000000.tar", members([1]))
    write_folder(tmp_path / "real" / "sa_000001", members([2]))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a").symlink_to(tmp_path / "real")
    (tmp_path / "links" / "sa_000002").symlink_to(tmp_path / "real" / "sa_000001")
    (tmp_path / "links" / "sa_000003.tar").symlink_to(tmp_path / "real" / "sa_000000.tar")
    found = open_sources([str(tmp_path / "links" / "*" / "sa_*"), str(tmp_path / "links" / "sa_*")])
    assert [s.config for s in found] == [f"sa_00000{i}" for i in range(4)]
    assert all(source.listing().items for source in found)
