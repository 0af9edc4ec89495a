"""The hub origin: the endpoints that huggingface_hub and datasets use (see their hf_api.py)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Any
from urllib.parse import quote

import yaml  # type: ignore[import-untyped, unused-ignore]

from tests.loopback.store import Commit, Entry, Refused, Repo, git_oid, is_lfs, lfs_pointer
from tests.loopback.wire import Origin, Request, Response, file_response, json_response

PREFIX = 2  # path segments before <namespace>/<name> in /api/datasets/<namespace>/<name>


class HubOrigin(Origin):
    """Everything but the contents of LFS files."""

    name = "hub"

    def route(self, request: Request, *, whole: bool) -> Response:
        parts = request.parts
        user = self.hub.user(request)
        if parts[0] == "api":
            if parts[1] == "datasets" and len(parts) >= PREFIX + 2:
                return self._dataset(request, user)
            handler = _GLOBAL.get(("/".join(parts[1:]), request.method))
            if handler:
                return handler(self, request, user)
        if parts[0] == "datasets" and len(parts) > 4 and parts[3] == "resolve":
            return self._resolve(request, user, whole)
        if parts[0] == "datasets" and len(parts) > 4 and parts[2].endswith(".git"):
            return self._lfs(request, user)
        raise Refused(404, f"no such endpoint: {request.method} {request.path}")

    # Access

    def _readable(self, repo_id: str, user: str | None) -> Repo:
        repo = self.hub.store.repos.get(repo_id)
        if repo is None or (repo.private and not self.hub.owns(user, repo.namespace)):
            text = f"Repository {repo_id} not found"
            raise Refused(404 if user else 401, text, "RepoNotFound")
        return repo

    def _writable(self, repo_id: str, request: Request, *, pr: bool = False) -> Repo:
        user = self.hub.user(request)
        repo = self._readable(repo_id, user)
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if not self.hub.may_write(request):
            raise Refused(403, "You don't have the rights: this token is read-only")
        if not pr and not self.hub.owns(user, repo.namespace):
            raise Refused(403, f"You don't have the rights to write to {repo_id}")
        return repo

    def _check_gate(self, repo: Repo, user: str | None) -> None:
        if repo.gated and user not in repo.allowed and not self.hub.owns(user, repo.namespace):
            text = f"Access to dataset {repo.id} is restricted. You must be authenticated to access"
            raise Refused(403 if user else 401, text, "GatedRepo")

    # /api/...

    def whoami(self, request: Request, user: str | None) -> Response:
        if user is None:
            raise Refused(401, "Invalid username or password.")
        token = {"displayName": "loopback", "role": self.hub.account(request).role}
        auth = {"type": "access_token", "accessToken": token}
        return json_response({"type": "user", "name": user, "orgs": [], "auth": auth})

    def validate_yaml(self, request: Request, user: str | None) -> Response:
        content = request.json()["content"]
        try:
            front_matter(content)
        except yaml.YAMLError as error:
            return json_response({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return json_response({"errors": [], "warnings": []})

    def create_repo(self, request: Request, user: str | None) -> Response:
        wanted = request.json()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        namespace = wanted.get("organization") or user
        if not self.hub.may_write(request) or not self.hub.owns(user, namespace):
            text = f"You don't have the rights to create a dataset under the namespace {namespace}"
            raise Refused(403, text)
        repo_id = f"{namespace}/{wanted['name']}"
        answer = {"url": f"{self.url}/datasets/{repo_id}", "name": repo_id}
        if repo_id in self.hub.store.repos:
            error = "You already created this dataset repo"
            return json_response({"error": error, **answer}, 409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.store.create(repo_id, private=private, author=user)
        return json_response(answer)

    def delete_repo(self, request: Request, user: str | None) -> Response:
        wanted = request.json()
        repo_id = f"{wanted.get('organization') or user}/{wanted['name']}"
        self._writable(repo_id, request)
        del self.hub.store.repos[repo_id]
        return json_response({})

    # /api/datasets/<namespace>/<name>/...

    def _dataset(self, request: Request, user: str | None) -> Response:
        repo_id = "/".join(request.parts[PREFIX : PREFIX + 2])
        verb, *rest = [*request.parts[PREFIX + 2 :], ""]
        method = request.method
        revision, path = (rest[0] or "main") if rest else "main", "/".join(rest[1:]).strip("/")
        if method == "POST" and verb == "commit":
            return self._commit(request, repo_id, revision)
        if method == "POST" and verb == "preupload":
            repo = self._writable(repo_id, request, pr=request.flag("create_pr"))
            return json_response(preupload(repo.commit(revision), request.json()["files"]))
        if method == "POST" and verb in ("branch", "tag"):
            return self._new_ref(request, repo_id, verb, revision)
        if method == "GET" and verb == "auth-check":
            repo = self._readable(repo_id, user)
            self._check_gate(repo, user)
            if revision == "write":
                self._writable(repo_id, request)
            return json_response({})
        repo = self._readable(repo_id, user)
        if verb in ("", "revision"):
            return json_response(self._info(repo, repo.commit(revision), request.flag("blobs")))
        if verb == "tree":
            return self._tree(request, repo.commit(revision), path)
        if verb == "paths-info":
            form, files = request.form(), repo.commit(revision).files
            entries = tree(files, "", recursive=True)
            wanted = {name.strip("/") for name in form.get("paths", [])}
            expand = form.get("expand", [""])[0].lower() == "true"
            found = [entry for entry in entries if entry["path"] in wanted]
            return json_response(
                [expanded(e, repo.commit(revision)) if expand else e for e in found]
            )
        if verb == "refs":
            return json_response(refs(repo, pull_requests=request.flag("include_prs")))
        if verb == "commits":
            return self._page(request, [commit_json(c) for c in repo.history(revision)], 50)
        raise Refused(404, f"no such endpoint: {method} {request.path}")

    def _commit(self, request: Request, repo_id: str, revision: str) -> Response:
        create_pr = request.flag("create_pr")
        repo = self._writable(repo_id, request, pr=create_pr)
        user = self.hub.user(request) or ""
        lines = [json.loads(line) for line in request.body.read().splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        store = self.hub.store
        with store.lock:
            head = repo.commit(revision)
            changes = commit_changes(lines, head.files, store.keep)
            number = 1 + sum(name.startswith("refs/pr/") for name in repo.refs)
            ref = f"refs/pr/{number}" if create_pr else repo.ref(revision)
            if ref is None:
                raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            if create_pr:
                repo.refs[ref] = head.oid
            commit = store.commit(
                *(repo, ref, changes),
                title=header["summary"],
                message=header.get("description", ""),
                author=user,
                parent=header.get("parentCommit"),
            )
        url = f"{self.url}/datasets/{repo_id}"
        answer = {"success": True, "commitOid": commit.oid, "hookOutput": ""}
        answer["commitUrl"] = f"{url}/commit/{commit.oid}"
        if create_pr:
            answer["pullRequestUrl"] = f"{url}/discussions/{number}"
        return json_response(answer)

    def _new_ref(self, request: Request, repo_id: str, verb: str, name: str) -> Response:
        repo = self._writable(repo_id, request)
        wanted = request.json()
        if verb == "tag":
            start, ref = name, f"refs/tags/{wanted['tag']}"
        else:
            start, ref = wanted.get("startingPoint", "main"), f"refs/heads/{name}"
        if ref in repo.refs:
            raise Refused(409, f"Reference {ref} already exists")
        repo.refs[ref] = repo.commit(start).oid
        return json_response({})

    def _info(self, repo: Repo, commit: Commit, blobs: bool) -> dict[str, Any]:
        siblings = []
        for path, entry in sorted(commit.files.items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if blobs:
                sibling |= {"size": entry.size, "blobId": entry.oid}
                if entry.lfs:
                    size = {"size": entry.size, "pointerSize": 130}
                    sibling["lfs"] = {"sha256": entry.sha256, **size}
            siblings.append(sibling)
        dates = {"createdAt": repo.history(commit.oid)[-1].date, "lastModified": commit.date}
        info: dict[str, Any] = {
            "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
            "id": repo.id,
            **dates,
        }
        info |= {"author": repo.namespace, "sha": commit.oid, "private": repo.private}
        info |= {"gated": repo.gated, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        card = commit.files.get("README.md")
        if card:
            with self.hub.store.open(card) as file:
                info["cardData"] = front_matter(file.read().decode())
        return {**info, "siblings": siblings}

    def _tree(self, request: Request, commit: Commit, path: str) -> Response:
        entries = tree(commit.files, path, recursive=request.flag("recursive"))
        if path and not entries:
            raise Refused(404, f"{path} does not exist on {commit.oid}", "EntryNotFound")
        expand = request.flag("expand")
        rows = [expanded(entry, commit) for entry in entries] if expand else entries
        return self._page(request, rows, 50 if expand else self.hub.page_size)

    def _page(self, request: Request, rows: list[Any], default: int) -> Response:
        limit = min(default, int(request.query.get("limit", [str(default)])[0]))
        start = int(request.query.get("cursor", ["0"])[0])
        response = json_response(rows[start : start + limit])
        if start + limit < len(rows):
            kept = {k: v[0] for k, v in request.query.items() if k != "cursor"}
            query = "&".join(f"{k}={quote(v)}" for k, v in kept.items())
            path = "/".join(quote(part, safe="") for part in request.parts)
            url = f"{self.url}/{path}?{query}&cursor={start + limit}"
            response.headers["Link"] = f'<{url}>; rel="next"'
        return response

    # /datasets/<namespace>/<name>/resolve/<revision>/<path>

    def _resolve(self, request: Request, user: str | None, whole: bool) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "resolve takes GET and HEAD")
        repo = self._readable("/".join(request.parts[1:3]), user)
        self._check_gate(repo, user)
        commit, path = repo.commit(request.parts[4]), "/".join(request.parts[5:])
        entry = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.oid}
        if entry is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return Response(404, headers)
        if not entry.lfs:
            blob = self.hub.store.blob(entry.sha256)
            return file_response(request, blob, entry.etag, headers, whole=whole)
        headers |= {"X-Linked-Etag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size)}
        headers |= {
            "ETag": f'"{entry.etag}"',
            "Location": self.hub.signed("GET", repo, entry, path),
        }
        return Response(302, headers)

    # /datasets/<namespace>/<name>.git/info/lfs/...

    def _lfs(self, request: Request, user: str | None) -> Response:
        repo_id = f"{request.parts[1]}/{request.parts[2].removesuffix('.git')}"
        verb = "/".join(request.parts[5:])
        if verb == "complete":  # signed, like the parts that it completes
            return self.hub.cdn.complete(request, self.hub.store.repos[repo_id])
        repo = self._writable(repo_id, request, pr=True)
        wanted = request.json()
        if verb == "objects/batch":
            objects = [self._lfs_object(repo, o["oid"], o["size"]) for o in wanted["objects"]]
            kind = "multipart" if any("chunk_size" in str(o) for o in objects) else "basic"
            return json_response({"transfer": kind, "objects": objects})
        if verb == "verify":
            if repo.objects.get(wanted["oid"]) != wanted["size"]:
                raise Refused(404, f"LFS object {wanted['oid']} not found")
            return json_response({})
        raise Refused(404, f"no such endpoint: {request.path}")

    def _lfs_object(self, repo: Repo, oid: str, size: int) -> dict[str, Any]:
        known = {"oid": oid, "size": size, "authenticated": True}
        if oid in repo.objects:
            return known
        entry = Entry(oid, size, True, "")
        git = f"{self.url}/datasets/{repo.id}.git/info/lfs"
        upload: dict[str, Any] = {"href": self.hub.signed("PUT", repo, entry, "upload")}
        if size > self.hub.part_size:
            count = ceil(size / self.hub.part_size)
            parts = {
                f"{i:05d}": self.hub.signed("PUT", repo, entry, f"part/{i}")
                for i in range(1, count + 1)
            }
            secret = self.hub.signature("POST", repo.id, oid)
            upload["href"] = f"{git}/complete?oid={oid}&signature={secret}"
            upload["header"] = {"chunk_size": str(self.hub.part_size), **parts}
        return {**known, "actions": {"upload": upload, "verify": {"href": f"{git}/verify"}}}


_GLOBAL: dict[tuple[str, str], Callable[[HubOrigin, Request, str | None], Response]] = {
    ("whoami-v2", "GET"): HubOrigin.whoami,
    ("validate-yaml", "POST"): HubOrigin.validate_yaml,
    ("repos/create", "POST"): HubOrigin.create_repo,
    ("repos/delete", "DELETE"): HubOrigin.delete_repo,
}


def front_matter(card: str) -> Any:
    """The YAML of a card."""
    if not card.startswith("---"):
        return {}
    return yaml.safe_load(card.split("\n---", 1)[0].removeprefix("---")) or {}


def preupload(head: Commit, files: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How each file is to be uploaded, and what stands at its path now."""
    rows = []
    for file in files:
        there = head.files.get(file["path"])
        mode = "lfs" if is_lfs(file["path"], file["size"]) else "regular"
        row = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        rows.append(row | ({"oid": there.etag} if there else {}))
    return {"files": rows}


def commit_changes(
    lines: Iterable[dict[str, Any]],
    there: Mapping[str, Entry],
    keep: Callable[[str, bytes], Entry],
) -> dict[str, Entry | None]:
    """The ndjson operations of a commit as path to new entry, None to delete."""
    changes: dict[str, Entry | None] = {}
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "file":
            changes[value["path"]] = keep(value["path"], base64.b64decode(value["content"]))
        elif key == "lfsFile":
            oid, size = value["oid"], value["size"]
            changes[value["path"]] = Entry(oid, size, True, git_oid(lfs_pointer(oid, size)))
        elif key == "deletedFile":
            changes[value["path"]] = None
        elif key == "deletedFolder":
            folder = value["path"].rstrip("/") + "/"
            changes |= {path: None for path in there if path.startswith(folder)}
        elif key != "header":
            raise Refused(400, f"unknown operation {key}")
    return changes


def tree(files: Mapping[str, Entry], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """What stands in a folder of a commit: files and folders, by path."""
    prefix = f"{folder}/" if folder else ""
    rows: dict[str, dict[str, Any]] = {}
    for path, entry in files.items():
        if not path.startswith(prefix):
            continue
        steps = path.removeprefix(prefix).split("/")
        for depth in range(1, len(steps) if recursive else min(2, len(steps))):
            name = prefix + "/".join(steps[:depth])
            oid = hashlib.sha1(name.encode()).hexdigest()
            rows[name] = {"type": "directory", "oid": oid, "size": 0, "path": name}
        if recursive or len(steps) == 1:
            row = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
            if entry.lfs:
                row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
            rows[path] = row
    return [rows[path] for path in sorted(rows)]


def expanded(row: dict[str, Any], commit: Commit) -> dict[str, Any]:
    last = {"id": commit.oid, "title": commit.title, "date": commit.date}
    return {**row, "lastCommit": last}


def commit_json(commit: Commit) -> dict[str, Any]:
    author = {"user": commit.author}
    row = {"id": commit.oid, "title": commit.title, "message": commit.message}
    return {**row, "authors": [author], "date": commit.date}


def refs(repo: Repo, *, pull_requests: bool) -> dict[str, Any]:
    def named(start: str, cut: str) -> list[dict[str, str]]:
        found = sorted(item for item in repo.refs.items() if item[0].startswith(start))
        return [
            {"name": ref.removeprefix(cut), "ref": ref, "targetCommit": oid} for ref, oid in found
        ]

    rows = {"branches": named("refs/heads/", "refs/heads/"), "converts": []}
    rows["tags"] = named("refs/tags/", "refs/tags/")
    return rows | ({"pullRequests": named("refs/pr/", "refs/")} if pull_requests else {})
