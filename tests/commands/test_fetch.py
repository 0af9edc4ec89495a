"""`builder.fetch` against a server that cuts, stalls, refuses, lies and forgets."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import pytest
import tenacity

import builder.fetch
from asam_datasets.patience import Patience
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_command
from builder.sources import download
from builder.sources.download import Downloads, HeldError
from tests.factory import members, write_tar
from tests.loopback import LoopbackHub

pytestmark = pytest.mark.network

REPO = "xhk/tars"
NAMES = ("sa_000000.tar", "sa_000001.tar", "sa_000002.tar")
CDN = "/cdn/*"  # the second answer for a tar, which holds its bytes


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_backoff", tenacity.wait_none())


class Fetching:
    """Three tars behind a links file, and the command."""

    def __init__(self, hub: LoopbackHub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.hub, self.folder, self.out, self._capsys = hub, folder, folder / "tars", capsys
        self.links = folder / "links.txt"
        self.data = {}
        for number, name in enumerate(NAMES):
            files = members([1 + number]) | {"sa_9.jpg": bytes([1 + number]) * 300_000}
            self.data[name] = write_tar(folder / "made" / name, files).read_bytes()
        self.put(self.data)
        self.write_links()

    def put(self, files: Mapping[str, bytes]) -> None:
        self.hub.commit(REPO, dict(files))

    def write_links(self, secret: str = "secret", end: str = "\n") -> None:
        url = f"{self.hub.endpoint}/datasets/{REPO}/resolve/main"
        lines = ["file_name\tcdn_link", *(f"{n}\t{url}/{n}?oh={secret}" for n in NAMES), ""]
        self.links.write_bytes(end.join(lines).encode())

    def __call__(self, *options: str, status: int = EXIT_OK) -> tuple[list[Any], str]:
        """Run the command; what it printed as JSON, and its messages."""
        argv = [str(self.links), "--out", str(self.out), "--json", "--timeout", "20", *options]
        self._capsys.readouterr()
        assert run_command(builder.fetch.main, argv) == status
        said = self._capsys.readouterr()
        assert "secret" not in said.out + said.err
        return json.loads(said.out or "[]"), said.err

    def assert_there(self, *names: str) -> None:
        """These tars are there, whole, and nothing that is none."""
        assert {p.name for p in self.out.iterdir() if p.suffix != ".part"} == set(names)
        assert all((self.out / name).read_bytes() == self.data[name] for name in names)

    def parts(self) -> list[Path]:
        return list(self.out.glob(".*.part"))

    def moved(self) -> int:
        """The bytes of tars that were sent since the last call."""
        sent = sum(r.sent for r in self.hub.matching(CDN) if r.status in (200, 206))
        self.hub.requests.clear()
        return sent


@pytest.fixture
def fetching(hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fetching:
    return Fetching(hub, tmp_path, capsys)


def test_all_tars_come_once(fetching: Fetching) -> None:
    fetching.write_links(end="\r\n")
    results, said = fetching()
    fetching.assert_there(*NAMES)
    assert not fetching.parts()
    assert [result["status"] for result in results] == ["fetched"] * 3
    assert "3 tars to download: 9" in said
    assert " free in " in said
    fetching.moved()
    results, said = fetching()
    assert [result["status"] for result in results] == ["there"] * 3
    assert not fetching.hub.requests


def test_only_and_limit_choose_tars(fetching: Fetching) -> None:
    fetching("--only", "sa_000001", "--only", "*2.tar", "--limit", "1")
    fetching.assert_there(NAMES[1])
    _, said = fetching("--only", "sa_1", status=EXIT_FAILED)
    assert "none of its 3 tars matches sa_1; the first one is sa_000000.tar" in said


def test_a_missing_links_file_is_a_usage_error(fetching: Fetching) -> None:
    fetching.links.unlink()
    _, said = fetching(status=EXIT_USAGE)
    assert "no such file; give the links file" in said


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "cut", "after": 100_000},
        {"action": "cut", "after": 100_000, "reset": True},
        {"action": "cut", "after": 100},
        {"action": "status", "status": 503},
        {"action": "lose"},
    ],
    ids=str,
)
def test_a_failure_that_may_pass_costs_no_byte(fetching: Fetching, fault: dict[str, Any]) -> None:
    fetching.hub.fault(path=CDN, skip=1, **fault)  # the first answer is asked for the size
    _, said = fetching("--only", "sa_000000")
    assert "going on in 0 s" in said
    fetching.assert_there(NAMES[0])
    assert fetching.moved() <= len(fetching.data[NAMES[0]]) + 512 + (1 << 17)


@pytest.mark.parametrize("action", ["stall", "slow"])
def test_a_server_that_sends_too_little_is_left(fetching: Fetching, action: str) -> None:
    fetching.hub.fault(action, path=CDN, skip=1, after=1000, rate=100, seconds=300)
    fetching("--only", "sa_000000", "--timeout", "0.5", "--rate", "1000")
    fetching.assert_there(NAMES[0])


def test_a_download_that_was_stopped_goes_on(fetching: Fetching) -> None:
    fetching.hub.fault("cut", path=CDN, skip=1, after=200_000)
    results, _ = fetching("--only", "sa_000000", "--attempts", "1", status=EXIT_FAILED)
    assert "run the same command again, and it goes on" in results[0]["error"]
    assert [path.stat().st_size for path in fetching.parts()] == [200_000]
    fetching.assert_there()
    fetching.moved()
    fetching("--only", "sa_000000")
    fetching.assert_there(NAMES[0])
    assert fetching.moved() == len(fetching.data[NAMES[0]]) - 200_000 + 1 + 512


def test_a_part_of_another_file_is_not_continued(fetching: Fetching) -> None:
    fetching.hub.fault("cut", path=CDN, skip=1, after=200_000)
    fetching("--only", "sa_000000", "--attempts", "1", status=EXIT_FAILED)
    smaller = write_tar(fetching.folder / "x.tar", members([7])).read_bytes()
    for data in (smaller, fetching.data[NAMES[2]]):
        fetching.data[NAMES[0]] = data
        fetching.put({NAMES[0]: data})
        _, said = fetching("--only", "sa_000000")
        assert "has changed since a part of it came: from the start" in said
        fetching.assert_there(NAMES[0])
        assert not fetching.parts()
        (fetching.out / NAMES[0]).rename(fetching.out / f".{NAMES[0]}.0.part")


def test_a_server_without_ranges_sends_it_again(fetching: Fetching) -> None:
    fetching.hub.fault("cut", path=CDN, skip=1, after=200_000)
    fetching("--only", "sa_000000", "--attempts", "1", status=EXIT_FAILED)
    fetching.hub.fault("whole", path=CDN, count=-1)
    fetching("--only", "sa_000000")
    fetching.assert_there(NAMES[0])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<!DOCTYPE html><title>URL signature expired</title>" * 30, "a page in place of the tar"),
        (b"\n <html>", "a page in place of the tar"),
        (b"\x1f\x8b" + b"x" * 5000, "expected the header of a tar"),
        (b"x", "expected the header of a tar"),
    ],
)
def test_what_is_no_tar_is_named_and_not_kept(
    fetching: Fetching, content: bytes, found: str
) -> None:
    fetching.put({NAMES[1]: content})
    results, said = fetching(status=EXIT_FAILED)
    assert found in results[1]["error"]
    assert f"1 of 3 tars failed: {NAMES[1]}; the others are there" in said
    fetching.assert_there(NAMES[0], NAMES[2])
    assert not [path for path in fetching.parts() if path.stat().st_size]


def test_a_tar_that_is_cut_on_the_server_is_not_kept(fetching: Fetching) -> None:
    fetching.put({NAMES[1]: fetching.data[NAMES[1]][:200_000]})
    results, _ = fetching("--only", "sa_000001", status=EXIT_FAILED)
    assert "is no whole tar" in results[0]["error"]
    fetching.assert_there()
    assert not fetching.parts()


def test_a_file_that_is_no_whole_tar_is_not_replaced(fetching: Fetching) -> None:
    fetching.out.mkdir()
    cut = fetching.out / NAMES[0]
    cut.write_bytes(fetching.data[NAMES[0]][:200_000])
    results, _ = fetching("--limit", "2", status=EXIT_FAILED)
    assert "expected a whole tar, found one that was cut off; remove it" in results[0]["error"]
    assert cut.stat().st_size == 200_000
    assert results[1]["status"] == "fetched"


def test_an_expired_link_is_named_and_a_fresh_one_is_taken(fetching: Fetching) -> None:
    fetching.hub.fault("status", status=403, path=f"{CDN}{NAMES[0]}", count=2)
    results, _ = fetching(status=EXIT_FAILED)
    assert "has expired: the server answered with 403; get a fresh links" in results[0]["error"]
    fetching.assert_there(*NAMES[1:])
    with Downloads(fetching.links, fetching.out, Patience(timeout=20)) as downloads:
        fetching.write_links("fresh-secret")
        fetching.hub.fault("status", status=403, path=CDN)
        downloads.fetch(NAMES[0], lambda _: None, wait=False)
    fetching.assert_there(*NAMES)


def test_a_full_disk_is_told_before_a_byte_comes(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(fetching.folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    results, said = fetching("--limit", "1", status=EXIT_FAILED)
    assert "and 1 kB are free" in results[0]["error"]
    assert "they don't all fit" in said
    assert not fetching.parts()


def test_two_processes_download_no_tar_twice_at_once(fetching: Fetching) -> None:
    begun = threading.Event()

    def first() -> None:
        def moved(_: int) -> None:
            begun.set()
            while not (fetching.out / NAMES[2]).exists():  # the command has gone on to others
                time.sleep(0.01)

        with Downloads(fetching.links, fetching.out, Patience(timeout=60)) as downloads:
            downloads.fetch(NAMES[0], moved, wait=False)

    fetching.out.mkdir()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(first)
        assert begun.wait(60)
        with (
            Downloads(fetching.links, fetching.out, Patience(timeout=20)) as downloads,
            pytest.raises(HeldError),
        ):
            downloads.fetch(NAMES[0], lambda _: None, wait=False)
        results, said = fetching()
        other.result()
    assert "another process downloads it: waiting" in said
    assert [result["status"] for result in results] == ["there", "fetched", "fetched"]
    fetching.assert_there(*NAMES)


def test_without_locks_two_processes_make_the_same_file(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    fetching.out.mkdir()
    barrier = threading.Barrier(2)

    def one(_: int) -> None:
        with Downloads(fetching.links, fetching.out, Patience(timeout=60)) as downloads:
            barrier.wait(60)
            for name in NAMES:
                downloads.fetch(name, lambda _: None, wait=False)

    fetch: Callable[[int], None] = one
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fetch, range(2)))
    fetching.assert_there(*NAMES)
    assert not fetching.parts()


def test_the_names_are_listed_without_a_server(
    fetching: Fetching, capsys: pytest.CaptureFixture[str]
) -> None:
    assert builder.fetch.main([str(fetching.links), "--list", "--limit", "2"]) == EXIT_OK
    said = capsys.readouterr()
    assert (said.out, said.err) == ("sa_000000\nsa_000001\n", "")
    assert not fetching.hub.requests
