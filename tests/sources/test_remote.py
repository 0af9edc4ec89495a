"""A tar behind a URL: what is moved to list it, and what is said when it is not what it was."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from asam_datasets.patience import Patience
from builder.core.errors import SourceError
from builder.sources.archive import Archive
from builder.sources.remote import _checked
from builder.sources.sa1b import open_sources
from builder.sources.tables import tables_folder
from tests.factory import members, write_tar
from tests.loopback import LoopbackHub

pytestmark = pytest.mark.network

REPO = "xhk/tars"
FILE = "*sa_000000.tar"
NOW = Patience(timeout=20, retries=0)


def large(count: int, seed: int = 0) -> dict[str, bytes]:
    """Members of SA-1B's sizes: pictures of 700 kB, records of 240 kB."""
    return {
        f"sa_{i}.{end}": bytes([seed + i]) * size
        for i in range(count)
        for end, size in (("jpg", 700_000), ("json", 240_000))
    }


@pytest.fixture
def put(hub: LoopbackHub, tmp_path: Path) -> Callable[..., str]:
    """Puts a tar of these members behind a signed URL, in place of the one before."""

    def put(files: dict[str, bytes]) -> str:
        tar = write_tar(tmp_path / "tars" / "sa_000000.tar", files)
        hub.commit(REPO, {"sa_000000.tar": tar.read_bytes()})
        return f"{hub.endpoint}/datasets/{REPO}/resolve/main/sa_000000.tar?token=secret"

    return put


def moved(hub: LoopbackHub) -> int:
    """The bytes of the tar that the server sent since the last call."""
    sent = sum(request.sent for request in hub.matching(FILE) if request.status in (200, 206))
    hub.requests.clear()
    return sent


def tables() -> list[Path]:
    return list(tables_folder().iterdir())


def forget() -> None:
    for path in tables():
        path.unlink()


def test_a_tar_is_listed_once_by_small_reads(hub: LoopbackHub, put: Callable[..., str]) -> None:
    files = large(16)
    url = put(files)
    contents = Archive(url).contents()
    assert moved(hub) < 0.15 * contents.size
    again = Archive(url.replace("secret", "other")).contents()
    assert moved(hub) == 1
    assert again.members == contents.members
    assert "secret" not in pickle.dumps(contents.members).decode("latin-1")
    first = contents.members[0]
    assert Archive(url).read(first) == files[first.name]
    assert moved(hub) == first.size


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_table_is_made_anew(
    hub: LoopbackHub, put: Callable[..., str], damage: str
) -> None:
    forget()
    archive = Archive(put(members([1, 2])))
    contents = archive.contents()
    (table,) = tables()
    data = table.read_bytes()
    table.write_bytes(
        {
            "cut": data[:-10],
            "flipped": data[:60] + bytes([data[60] ^ 1]) + data[61:],
            "empty": b"",
            "other": b"x" * len(data),
        }[damage]
    )
    assert archive.contents() == contents
    assert [path.read_bytes() for path in tables()] == [data]


def test_a_table_of_another_tar_is_not_taken(put: Callable[..., str]) -> None:
    archive = Archive(put(members([1, 2])))
    archive.contents()
    put(members([1, 3]))
    assert archive.contents().members[1].name == "sa_3.jpg"


def test_a_server_without_ranges_is_named(hub: LoopbackHub, put: Callable[..., str]) -> None:
    archive = Archive(put(members([1])), patience=NOW)
    first = archive.contents().members[0]
    hub.fault("whole", path=FILE, count=-1)
    cached = Archive(f"simplecache::{archive.url}", patience=NOW)  # what the message proposes
    assert cached.read(cached.contents().members[0]) == members([1])["sa_1.jpg"]
    for ask in (archive.contents, lambda: archive.read(first)):
        with pytest.raises(SourceError, match=r"knows no ranges.*download it first") as caught:
            ask()
        assert "secret" not in str(caught.value)


def test_a_tar_that_is_replaced_while_it_is_read_is_named(put: Callable[..., str]) -> None:
    archive = Archive(put(members([1, 2])), patience=NOW)
    *_, last = archive.contents().members
    put(members([1, 3]))
    with pytest.raises(SourceError, match=r"was replaced while it was read: its ETag and size"):
        archive.read(last)


def test_an_expired_link_is_asked_for_again(
    hub: LoopbackHub, put: Callable[..., str], tmp_path: Path
) -> None:
    files = members([1, 2])
    url = put(files)
    links = tmp_path / "links.txt"
    links.write_text(f"file_name\tcdn_link\nsa_000007.tar\t{url}\n")
    (source,) = open_sources([str(links)], patience=NOW)
    assert (source.name, source.config) == ("sa_000007.tar", "sa_000007")
    first = source.archive.contents().members[0]
    hub.fault("status", status=403, path=FILE)
    with pytest.raises(SourceError, match=r"probably expired; get a fresh links file") as caught:
        source.archive.read(first)
    assert "secret" not in str(caught.value)
    links.write_text(f"sa_000007.tar\t{url.replace('secret', 'fresh')}\n")
    hub.fault("status", status=403, path=FILE)
    assert source.archive.read(first) == files["sa_1.jpg"]


def test_a_page_in_place_of_a_tar_is_named(hub: LoopbackHub) -> None:
    hub.commit(REPO, {"sa_000000.tar": b"<!DOCTYPE html><title>URL signature expired</title>"})
    url = f"{hub.endpoint}/datasets/{REPO}/resolve/main/sa_000000.tar"
    with pytest.raises(SourceError, match="a page"):
        Archive(url, patience=NOW).contents()
    hub.fault("whole", path=FILE, count=-1)
    with pytest.raises(SourceError, match="a page"):
        Archive(url, patience=NOW).contents()


@pytest.mark.parametrize("status", [404, 410, 400, 503])
def test_other_answers_are_errors_too(
    hub: LoopbackHub, put: Callable[..., str], status: int
) -> None:
    url = put(members([1]))
    hub.fault("status", status=status, path=FILE, count=-1)
    with pytest.raises(SourceError, match="nothing there" if status in (404, 410) else str(status)):
        Archive(url, patience=NOW).contents()


def test_a_request_that_was_cut_is_made_again(hub: LoopbackHub, put: Callable[..., str]) -> None:
    files = members([1])
    archive = Archive(put(files))
    first = archive.contents().members[0]
    hub.fault("cut", path=FILE, after=100)
    assert archive.read(first) == files["sa_1.jpg"]


def test_any_store_is_listed_in_small_reads_and_read_exactly(tmp_path: Path) -> None:
    files = members([1, 2])
    tar = write_tar(tmp_path / "sa_000000.tar", files)
    memory = fsspec.filesystem("memory")
    memory.pipe("/test_remote/sa_000000.tar", tar.read_bytes())
    for url in ("memory://test_remote/sa_000000.tar", f"simplecache::{tar.as_uri()}"):
        archive = Archive(url)
        found = archive.contents().members
        assert {member.name: archive.read(member) for member in found} == files
    archive = Archive("memory://test_remote/sa_000000.tar")
    found = archive.contents().members
    memory.pipe("/test_remote/sa_000000.tar", tar.read_bytes() + bytes(10240))
    _checked.clear()  # a store is asked once a minute
    with pytest.raises(SourceError, match="was replaced while it was read"):
        archive.read(found[0])
