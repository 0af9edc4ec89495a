"""Answers of a server that refuses, fails, ignores ranges or sends without end."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from asam_datasets import Files, UnreachableError
from asam_datasets.patience import Patience
from asam_datasets.ranges import Ranges
from builder.core.errors import SourceError
from builder.sources.archive import Archive

QUICK = Patience(retries=1, timeout=20)
pytestmark = pytest.mark.network


class Server(BaseHTTPRequestHandler):
    """Answers each path in its own way, and counts the bytes that it could send."""

    asked: ClassVar[list[str]] = []
    accepted: ClassVar[list[str]] = []
    sent = 0

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        type(self).accepted.append(self.headers.get("Accept-Encoding", ""))
        if "absent" in self.path or "busy" in self.path:
            self.send_error(404 if "absent" in self.path else 503)
            return
        self.send_response(200)
        if "bomb" in self.path and "gzip" in self.headers.get("Accept-Encoding", ""):
            packed = gzip.compress(bytes(1 << 24))
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(packed)
            return
        self.end_headers()
        try:
            for _ in range(1 << 12):  # 256 MiB
                self.wfile.write(bytes(range(256)) * 256)
                type(self).sent += 1 << 16
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    Server.asked, Server.accepted, Server.sent = [], [], 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_server_that_fails_is_asked_again_and_told_from_an_absent_file(
    url: str, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        Files(f"{url}/absent", QUICK).read("index.json")
    once = len(Server.asked)
    for root in (f"{url}/busy", nobody):
        Server.asked.clear()
        with pytest.raises(UnreachableError, match="can't be read"):
            Files(root, QUICK).read("index.json")
        with pytest.raises(UnreachableError):
            Files(root, QUICK).configs()
        for name in ("sa_000000", "sa_000000.tar"):
            with pytest.raises(SourceError, match="can't be read"):
                Archive(f"{root}/{name}", patience=QUICK).contents()
        assert root == nobody or len(Server.asked) >= 2 * once


@pytest.mark.parametrize("path", ["endless", "bomb"])
def test_no_more_is_taken_than_was_asked_for(url: str, path: str) -> None:
    found = Ranges(QUICK).read(f"{url}/{path}", {}, 1000, 3000)
    assert found == (bytes(range(256)) * 12)[1000:3000]
    assert set(Server.accepted) == {"identity"}
    assert Server.sent < 1 << 26  # what the system buffers, of 256 MiB
