"""A Hub on loopback: two origins, accounts, repos, faults and a log, in this process."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tests.loopback.api import HubOrigin
from tests.loopback.faults import Fault, Faults
from tests.loopback.store import MAIN, Entry, Refused, Repo, Store
from tests.loopback.wire import Logged, Origin, Request, Response, file_response, json_response

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is, and what it may do: "read" or "write"."""

    user: str
    role: str


class CdnOrigin(Origin):
    """Signed URLs for the contents of LFS files; the Hub's token must never come here."""

    name = "cdn"
    host = "localhost"  # huggingface_hub 1.x takes another port of the same host for the Hub itself

    def route(self, request: Request, *, whole: bool) -> Response:
        if "authorization" in request.headers:
            raise Refused(400, "Only one auth mechanism allowed: a Hub token leaked to the CDN")
        _, namespace, name, oid, *rest = request.parts
        repo = self.hub.store.repos.get(f"{namespace}/{name}")
        if repo is None:
            raise Refused(404, "no such object")
        purpose = "/".join(rest)
        self._check(request, "PUT" if request.method == "PUT" else "GET", repo, oid, purpose)
        if request.method == "PUT":
            return self._put(request, repo, oid, purpose)
        return file_response(request, self.hub.store.blob(oid), oid, {}, whole=whole)

    def _check(self, request: Request, method: str, repo: Repo, oid: str, purpose: str) -> None:
        expires = request.query.get("expires", ["0"])[0]
        found = request.query.get("signature", [""])[0]
        right = self.hub.signature(method, repo.id, oid, purpose, expires)
        if not hmac.compare_digest(found, right) or time.time() > float(expires):
            raise Refused(403, "Request has expired or its signature is wrong")

    def _put(self, request: Request, repo: Repo, oid: str, purpose: str) -> Response:
        store = self.hub.store
        if purpose == "upload":
            repo.objects[oid] = store.receive(request.body.read, oid).size
            return Response(200, {"ETag": f'"{oid}"'})
        part = store.receive(request.body.read)
        number = purpose.removeprefix("part/")
        self.hub.parts[repo.id, oid, int(number)] = part.sha256
        return Response(200, {"ETag": f'"{part.sha256}"'})

    def complete(self, request: Request, repo: Repo) -> Response:
        """Join the parts of a multipart upload (called on the hub origin)."""
        wanted = request.json()
        oid = wanted["oid"]
        found = request.query.get("signature", [""])[0]
        if not hmac.compare_digest(found, self.hub.signature("POST", repo.id, oid)):
            raise Refused(403, "wrong signature")
        names = []
        for part in sorted(wanted["parts"], key=lambda part: int(part["partNumber"])):
            sha256 = self.hub.parts.get((repo.id, oid, part["partNumber"]))
            if sha256 is None or part["etag"].strip('"') != sha256:
                raise Refused(400, f"part {part['partNumber']} was not uploaded")
            names.append(self.hub.store.blob(sha256))
        repo.objects[oid] = self.hub.store.join_parts(names, oid).size
        return json_response({"success": True})


class LoopbackHub:
    """A Hub on 127.0.0.1. Use it as a context manager; see the package's docstring.

    Parameters
    ----------
    root
        Where contents are kept; a temporary folder by default.
    port
        Of the hub origin; any free one by default.
    latency
        Seconds before each response.
    bandwidth
        Bytes per second and connection, unlimited by default.
    """

    USER = "xhk"
    WRITE, READ, OTHER = "hf_loopback_write", "hf_loopback_read", "hf_loopback_other"

    def __init__(
        self,
        root: Path | None = None,
        *,
        port: int = 0,
        latency: float = 0.0,
        bandwidth: float | None = None,
    ) -> None:
        self._temporary = None if root else tempfile.TemporaryDirectory(prefix="loopback-hub-")
        self.store = Store(root or Path(self._temporary.name if self._temporary else ""))
        self.latency, self.bandwidth = latency, bandwidth
        self.part_size = 64 << 20  # bytes; LFS files above it go up in parts
        self.page_size = 1000  # entries of a tree's page
        self.url_ttl = 3600.0  # seconds that a signed URL lives
        self.tokens = {
            self.WRITE: Account(self.USER, "write"),
            self.READ: Account(self.USER, "read"),
            self.OTHER: Account("someone", "write"),
        }
        self.faults = Faults()
        self.requests: list[Logged] = []
        self.parts: dict[tuple[str, str, int], str] = {}
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._secret = secrets.token_bytes(16)
        self.hub = HubOrigin(self, port)
        self.cdn = CdnOrigin(self)
        self._threads = [
            threading.Thread(target=origin.serve_forever, args=(0.02,), daemon=True)
            for origin in (self.hub, self.cdn)
        ]
        for thread in self._threads:
            thread.start()

    # Life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both origins; raises the first error that was this server's own."""
        self.closing.set()
        for origin in (self.hub, self.cdn):
            origin.close()
        for thread in self._threads:
            thread.join()
        if self._temporary:
            self._temporary.cleanup()
        if self.errors:
            raise self.errors[0]

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT must be."""
        return self.hub.url

    def env(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a subprocess that takes this for the Hub.

        `home` becomes HF_HOME and should be fresh: a cache from an earlier load hides failures.
        The checkout is on PYTHONPATH.
        """
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        settings = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        settings |= {"HF_UPDATE_DOWNLOAD_COUNTS": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        settings |= {"NO_PROXY": "127.0.0.1,localhost", "PYTHONPATH": str(CHECKOUT)}
        settings |= {"HF_TOKEN": token} if token else {}
        return {**env, **settings, "HF_HOME": str(home), "HF_ENDPOINT": self.endpoint}

    # Repos

    def repo(self, repo_id: str) -> Repo:
        """A repo, to look at or to change: `hub.repo(id).gated = "manual"`."""
        return self.store.repos[repo_id]

    def seed(self, repo_id: str, folder: Path, *, private: bool = False) -> str:
        """Make the repo's main hold what a folder holds (nothing that starts with a dot)."""
        found = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        contents: dict[str, bytes | Path | None] = {
            name: path for name, path in found.items() if not f"/{name}".count("/.")
        }
        repo = self.store.repos.get(repo_id) or self.store.create(repo_id, private=private)
        gone = set(repo.commit("main").files) - set(contents) - {".gitattributes"}
        return self.commit(repo_id, contents | dict.fromkeys(gone), title="seed")

    def commit(
        self,
        repo_id: str,
        contents: Mapping[str, bytes | Path | None],
        *,
        ref: str = MAIN,
        title: str = "a commit",
    ) -> str:
        """One commit made behind the client's back; None deletes a file. Returns its hash."""
        repo = self.store.repos.get(repo_id) or self.store.create(repo_id)
        changes = {
            path: None if content is None else self.store.keep(path, content)
            for path, content in contents.items()
        }
        repo.objects.update({e.sha256: e.size for e in changes.values() if e and e.lfs})
        return self.store.commit(repo, ref, changes, title=title).oid

    def files(self, repo_id: str, revision: str = "main") -> dict[str, Entry]:
        """Path to entry (sha256, size, lfs) at a revision."""
        return dict(self.repo(repo_id).commit(revision).files)

    def read(self, repo_id: str, path: str, revision: str = "main") -> bytes:
        """A file's content at a revision."""
        with self.store.open(self.files(repo_id, revision)[path]) as file:
            return file.read()

    # Faults and the log

    def fault(self, action: Any, **options: Any) -> Fault:
        """Ask for a fault: `hub.fault("status", path="*/commit/*", status=503, count=2)`."""
        return self.faults.add(Fault(action, **options))

    def log(self, request: Logged) -> None:
        self.requests.append(request)

    def matching(self, path: str = "*", method: str = "*", origin: str = "*") -> list[Logged]:
        """The logged requests that match these shell patterns."""
        return [
            r
            for r in list(self.requests)
            if fnmatchcase(r.path, path)
            and fnmatchcase(r.method, method)
            and fnmatchcase(r.origin, origin)
        ]

    def note_error(self) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.errors.append(error)

    # Accounts and signatures

    def account(self, request: Request) -> Account:
        """Whose token a request carries; an unknown one is refused as the Hub does."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.tokens[token]

    def user(self, request: Request) -> str | None:
        return self.account(request).user if "authorization" in request.headers else None

    def may_write(self, request: Request) -> bool:
        return self.account(request).role == "write"

    def owns(self, user: str | None, namespace: str) -> bool:
        return user is not None and user == namespace

    def expire(self) -> None:
        """From now on no signed URL works that was given before."""
        self._secret = secrets.token_bytes(16)

    def signature(self, *what: str) -> str:
        return hmac.new(self._secret, "\n".join(what).encode(), hashlib.sha256).hexdigest()

    def signed(self, method: str, repo: Repo, entry: Entry, purpose: str) -> str:
        """A URL on the CDN that works for one method, one object and a while."""
        expires = f"{time.time() + self.url_ttl:.3f}"
        secret = self.signature(method, repo.id, entry.sha256, purpose, expires)
        path = quote(f"/cdn/{repo.id}/{entry.sha256}/{purpose}")
        return f"{self.cdn.url}{path}?expires={expires}&signature={secret}"
