"""A server that sends a byte a second, or nothing, or asks to wait for a day, holds nobody."""

from __future__ import annotations

import contextlib
import io
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asam_datasets.deadlines import PatientFile, SlowError, persistently, within
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.ranges import Ranges
from builder.core.errors import SourceError
from builder.sources.archive import Archive
from builder.sources.tables import tables_folder
from tests.factory import members, write_tar
from tests.hub.dists import make_dist
from tests.loading.client import Client
from tests.loopback import LoopbackHub

DAY = 86_400
INDEX, SHARD = "*index.json", "/cdn/*.arrow"
# What the server does for so long that no test would wait for it.
SLOW = {
    "nothing": {"action": "stall", "seconds": 300},
    "half": {"action": "stall", "after": 100, "seconds": 300},
    "a byte a second": {"action": "slow", "rate": 1},
    "a day": {"action": "status", "status": 429, "retry_after": DAY},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        yield running


@pytest.fixture(scope="module")
def client(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("client")
    with Client(hub.env(home / "hf"), home) as running:
        yield running


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("slow") / "dist", [1, 2])


@pytest.mark.network
@pytest.mark.parametrize("fault", SLOW)
@pytest.mark.parametrize(
    ("path", "options"),
    [(INDEX, "streaming=True"), (SHARD, "streaming=True"), (SHARD, "streaming=False")],
    ids=["index", "stream", "file"],
)
def test_a_slow_hub_is_an_error_that_says_what_to_do(
    hub: LoopbackHub, client: Client, dist: Path, path: str, options: str, fault: str
) -> None:
    repo = f"xhk/{fault.replace(' ', '-')}-{options[-4:]}-{path[-5:].strip('.')}"
    hub.seed(repo, dist)
    hub.fault(path=path.replace("/cdn/", f"/cdn/{repo}/"), method="GET", count=-1, **SLOW[fault])
    code = f"""
def read(**options):
    try:
        found = load("sa_000000", repo_or_path={repo!r}, {options}, **options)
        print(len(list(found.decode(False) if {options[-4:] == "True"} else found)))
    except UnreachableError as error:
        print(error)
"""
    said = client.run(f"{code}\nread(retries=0, timeout=1.0, rate=1e7)")
    hub.faults.clear()
    assert "try again" in said, said
    assert "Traceback" not in said
    assert "signature" not in said
    assert client.run(f"{code}\nread()") == "2\n"


@pytest.mark.network
@pytest.mark.parametrize("fault", SLOW)
def test_a_slow_source_is_an_error_that_says_what_to_do(
    hub: LoopbackHub, tmp_path: Path, fault: str
) -> None:
    tar = write_tar(tmp_path / "tars" / "sa_000000.tar", members([1]))
    repo = f"xhk/tar-{fault.replace(' ', '-')}"
    hub.seed(repo, tar.parent)
    url = f"{hub.endpoint}/datasets/{repo}/resolve/main/sa_000000.tar?token=secret"
    archive = Archive(url, patience=Patience(timeout=1.0, rate=1e7, retries=0))
    whole = Archive(url).contents()
    shutil.rmtree(tables_folder())
    hub.fault(path="*sa_000000.tar", method="GET", count=-1, **SLOW[fault])
    with pytest.raises(SourceError) as listing:
        archive.contents()
    with pytest.raises(SourceError, match="again") as reading:
        archive.read(whole.members[0])
    for error in (listing, reading):
        assert "secret" not in str(error.value)
    hub.faults.clear()
    assert Archive(url).read(whole.members[0]) == members([1])["sa_1.jpg"]


def test_a_deadline_follows_from_the_bytes() -> None:
    assert Patience(timeout=10, rate=1000).deadline() == 10
    assert Patience(timeout=10, rate=1000).deadline(5000) == 15
    assert (PATIENT.timeout, PATIENT.rate, PATIENT.retries) == (60, 20_000, 5)


def test_a_call_that_does_not_end_is_given_up() -> None:
    never = threading.Event()
    with pytest.raises(SlowError, match=r"a file: no whole answer within 0 s"):
        within(0.01, "a file", never.wait)
    never.set()
    assert within(60, "a file", never.wait) is True


def test_the_errors_of_a_call_are_its_own() -> None:
    with pytest.raises(KeyError):
        within(60, "a file", {}.__getitem__, "x")


class Refusal(Exception):
    """An answer that asks to wait."""

    def __init__(self, wait: str) -> None:
        super().__init__("https://host/a?sig=secret")
        self.response = type("Response", (), {"headers": {"Retry-After": wait}})()


def test_what_may_pass_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    answers = iter([Refusal(""), Refusal("7"), Refusal("²"), "bytes"])

    def call() -> str:
        answer = next(answers)
        if isinstance(answer, Refusal):
            raise answer
        return str(answer)

    found = persistently(call, "a file", Patience(retries=3), may_pass=lambda _: True)
    assert found == "bytes"
    assert waits == [1, 7, 4]
    assert [record.getMessage() for record in caplog.records] == [
        f"a file: Refusal; attempt {i} of 4 in {wait:.0f} s" for i, wait in enumerate(waits, 2)
    ]


@pytest.mark.parametrize(("wait", "retries"), [("86400", 5), ("1", 0)])
def test_the_last_error_hides_what_grants_access(wait: str, retries: int) -> None:
    def call() -> None:
        raise Refusal(wait)

    with pytest.raises(Exception, match=r"asks to wait for 86400 s|a\?\.\.\.") as caught:
        persistently(call, "a file", Patience(retries=retries), may_pass=lambda _: True)
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_each_read_of_a_file_has_a_deadline() -> None:
    never = threading.Event()

    class Stalling(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 4:
                never.wait()
            return super().read(size)

    with PatientFile(Stalling(b"12345678"), "a file", Patience(timeout=0.1)) as file:
        assert file.read(4) == b"1234"
        with pytest.raises(SlowError):
            file.read(4)
    never.set()


class Endless(BaseHTTPRequestHandler):
    """Answers without end, whatever was asked for."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(range(256)) * 256)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("status", "expected"), [(200, b"\x0a\x0b\x0c"), (206, b"\x00\x01\x02")])
def test_no_more_is_read_than_was_asked_for(status: int, expected: bytes) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{status}"
        assert Ranges(Patience(timeout=60, retries=0)).read(url, {}, 10, 13) == expected
        server.shutdown()
