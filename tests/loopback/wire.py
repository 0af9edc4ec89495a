"""HTTP as both origins speak it: requests in, responses out, the log, and the faults between."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback.faults import Fault
from tests.loopback.store import Refused

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackHub

CHUNK = 1 << 16


@dataclass(slots=True)
class FileRange:
    """Bytes [start, start + length) of a file, as a response's body."""

    path: Path
    start: int
    length: int


@dataclass(slots=True)
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileRange = b""

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, FileRange) else len(self.body)


def json_response(value: Any, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status, {"Content-Type": "application/json", **named}, json.dumps(value).encode()
    )


def error_response(refused: Refused) -> Response:
    headers = {"Content-Type": "application/json", "X-Error-Message": refused.message}
    if refused.code:
        headers["X-Error-Code"] = refused.code
    return Response(refused.status, headers, json.dumps({"error": refused.message}).encode())


@dataclass(slots=True)
class Logged:
    """One request, as the server saw it. `sent` and `received` count body bytes."""

    origin: str  # "hub" or "cdn"
    method: str
    path: str  # unquoted, without the query
    range: str | None
    authorized: bool  # it carried an Authorization header
    status: int = 0  # 0 where the connection was cut before an answer
    sent: int = 0
    received: int = 0
    fault: str | None = None


class Body:
    """A request's body, by Content-Length or chunks."""

    def __init__(self, file: BufferedIOBase, length: int, chunked: bool) -> None:
        self._file, self._left, self._chunked = file, length, chunked
        self.received = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left by default; b"" at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if self._chunked and self._left == 0:
            self._left = int(self._file.readline().split(b";")[0] or b"0", 16)
            if self._left == 0:
                self._file.readline()
                self._chunked = False
                return b""
        data = self._file.read(min(size, self._left))
        if not data and self._left:
            raise ConnectionResetError("the client closed the connection in its request")
        self._left -= len(data)
        self.received += len(data)
        if self._chunked and self._left == 0:
            self._file.readline()
        return data


@dataclass(slots=True)
class Request:
    """A request to route. `parts` are the path's segments, unquoted one by one."""

    method: str
    path: str
    parts: list[str]
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: Body

    def json(self) -> Any:
        return json.loads(self.body.read() or b"{}")

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.read().decode())

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")


def file_response(
    request: Request, path: Path, etag: str, headers: dict[str, str], *, whole: bool = False
) -> Response:
    """A file, whole or by range, unless the client has it already."""
    size = path.stat().st_size
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **headers}
    if request.headers.get("if-none-match", "").strip('"') == etag:
        return Response(304, headers)
    spec = request.headers.get("range", "")
    if_range = request.headers.get("if-range")
    stale = if_range is not None and if_range.strip('"') != etag
    if not spec.startswith("bytes=") or "," in spec or whole or stale:
        return Response(200, headers, FileRange(path, 0, size))
    first, _, last = spec.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or stop <= start:
        return Response(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(206, headers, FileRange(path, start, stop - start))


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, asks the origin for responses, applies faults, logs."""

    protocol_version = "HTTP/1.1"
    wbufsize = CHUNK
    disable_nagle_algorithm = True
    server: Origin

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        split = urlsplit(self.path)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        headers = {name.lower(): value for name, value in self.headers.items()}
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        body = Body(self.rfile, int(headers.get("content-length", 0)), chunked)
        request = Request(
            *(self.command, unquote(split.path), parts, parse_qs(split.query), headers, body)
        )
        log = Logged(
            *(self.server.name, self.command, request.path, headers.get("range")),
            "authorization" in headers,
        )
        hub.log(log)
        fault = hub.faults.take(self.command, request.path)
        log.fault = fault.action if fault else None
        try:
            self._respond(request, log, fault)
        finally:
            log.received = body.received
            with contextlib.suppress(OSError):
                self.wfile.flush()

    def _respond(self, request: Request, log: Logged, fault: Fault | None) -> None:
        action = fault.action if fault else None
        if fault and action == "status":
            extra = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            response = error_response(Refused(fault.status, "a fault was asked for"))
            response.headers.update(extra)
        elif fault and action == "cut_upload":
            while request.body.received < fault.after:
                if not request.body.read(min(CHUNK, fault.after - request.body.received)):
                    break
            self._cut(fault)
            return
        else:
            try:
                response = self.server.route(request, whole=action == "whole")
            except Refused as refused:
                response = error_response(refused)
        while request.body.read(CHUNK):
            pass
        if fault and action == "lose":
            self._cut(fault)
            return
        if self.server.hub.latency:
            time.sleep(self.server.hub.latency)
        self._send(request, response, log, fault)

    def _send(self, request: Request, response: Response, log: Logged, fault: Fault | None) -> None:
        log.status = response.status
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command == "HEAD" or response.status == 304:
            return
        stop = fault.after if fault and fault.action in ("cut", "stall") else None
        rate = fault.rate if fault and fault.action == "slow" else self.server.hub.bandwidth
        for chunk in self._chunks(request, response, log):
            if fault and stop is not None and log.sent + len(chunk) >= stop:
                self.wfile.write(chunk[: stop - log.sent])
                self.wfile.flush()
                log.sent = stop
                if fault.action == "stall":
                    self.server.hub.closing.wait(fault.seconds)
                self._cut(fault)
                return
            size = max(1, int(rate / 10)) if rate else len(chunk)  # ten times a second
            for start in range(0, len(chunk), size or 1):
                piece = chunk[start : start + size]
                self.wfile.write(piece)
                log.sent += len(piece)
                if rate:
                    self.wfile.flush()
                    if self.server.hub.closing.wait(len(piece) / rate):
                        return

    def _chunks(self, request: Request, response: Response, log: Logged) -> Iterator[bytes]:
        """The body in pieces, at least one, with a byte flipped where a fault says so."""
        if isinstance(response.body, bytes):
            yield response.body
            return
        part = response.body
        covers = (part.start, part.start + part.length)
        flip = self.server.hub.faults.take(self.command, request.path, covers=covers)
        log.fault = "flip" if flip else log.fault
        position, left = part.start, part.length
        with part.path.open("rb") as file:
            file.seek(position)
            while True:
                chunk = file.read(min(CHUNK, left))
                if flip and position <= flip.after < position + len(chunk):
                    damaged = bytearray(chunk)
                    damaged[flip.after - position] ^= 1
                    chunk = bytes(damaged)
                yield chunk
                position, left = position + len(chunk), left - len(chunk)
                if left <= 0:
                    return

    def _cut(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class Origin(ThreadingHTTPServer):
    """One origin on 127.0.0.1; `route` is what hub and CDN differ in."""

    daemon_threads = True
    name = ""
    host = "127.0.0.1"  # what its URL says

    def __init__(self, hub: LoopbackHub, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.hub = hub
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.server_address[1]}"

    def route(self, request: Request, *, whole: bool) -> Response:
        raise NotImplementedError

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go; anything else is a fault of this server and fails its owner."""
        self.hub.note_error()

    def close(self) -> None:
        """Stop, and end the connections that are still open."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)
