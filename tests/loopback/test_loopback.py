"""The loopback Hub behaves as the real clients expect; everything else here stands on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pyarrow as pa
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.loopback import LoopbackHub

REPO = "xhk/ASAM-Datasets"
CARD = """---
configs:
- config_name: sa_000000
  data_files:
  - split: train
    path: data/sa_000000/train-*.arrow
---
# A card
"""


def folder_with_shards(folder: Path, rows: int = 6) -> Path:
    """A folder that load_dataset reads: two shards, a card."""
    (folder / "data/sa_000000").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for part in range(2):
        path = folder / f"data/sa_000000/train-{part:05d}-of-00002.arrow"
        table = pa.table({"n": range(part * rows, (part + 1) * rows)})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return folder


def python(hub: LoopbackHub, home: Path, code: str, token: str | None = None) -> str:
    """Run code that takes the loopback Hub for the Hub; its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=hub.env(home, token),
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_datasets_loads_and_streams_a_seeded_folder(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.seed(REPO, folder_with_shards(tmp_path / "dist"))
    code = f"""
from datasets import load_dataset
for streaming in (False, True):
    rows = load_dataset("{REPO}", "sa_000000", split="train", streaming=streaming)
    print(sum(row["n"] for row in rows))
"""
    assert python(hub, tmp_path / "hf", code).split() == ["66", "66"]
    assert all(r.origin == "cdn" for r in hub.matching("/cdn/*"))
    assert {r.status for r in hub.matching("/cdn/*.arrow", "GET")} <= {200, 206}


def test_upload_of_lfs_and_regular_files_then_download(hub: LoopbackHub, tmp_path: Path) -> None:
    big = bytes(range(256)) * 1000
    code = f"""
from huggingface_hub import HfApi, hf_hub_download
api = HfApi()
print(api.whoami()["name"])
api.create_repo("{REPO}", repo_type="dataset", private=True)
for name, data in (("a.arrow", {big[:10]!r}), ("data/b.arrow", bytes(range(256)) * 1000),
                   ("README.md", b"# hello")):
    api.upload_file(path_or_fileobj=data, path_in_repo=name, repo_id="{REPO}", repo_type="dataset")
print(len(open(hf_hub_download("{REPO}", "data/b.arrow", repo_type="dataset"), "rb").read()))
"""
    hub.part_size = 100_000  # the larger file goes up in three parts
    assert python(hub, tmp_path / "hf", code, hub.WRITE).split() == ["xhk", "256000"]
    assert hub.read(REPO, "data/b.arrow") == big
    assert len(hub.matching("/cdn/*/part/*", "PUT")) == 3
    assert not any(r.authorized for r in hub.matching("/cdn/*"))
    assert hub.repo(REPO).private


def test_the_cdn_refuses_a_leaked_token_and_a_forged_url(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.commit(REPO, {"a.arrow": b"content"})
    with get_session().stream(
        "GET", f"{hub.endpoint}/datasets/{REPO}/resolve/main/a.arrow", follow_redirects=False
    ) as answer:
        location = answer.headers["Location"]
    assert get_session().get(location).content == b"content"
    leaked = get_session().get(location, headers={"Authorization": f"Bearer {hub.WRITE}"})
    assert leaked.status_code == 400
    assert get_session().get(location[:-3] + "xyz").status_code == 403


def test_ranges_and_conditional_requests(hub: LoopbackHub) -> None:
    hub.commit(REPO, {"a.txt": b"0123456789"})
    url = f"{hub.endpoint}/datasets/{REPO}/resolve/main/a.txt"

    def get(**headers: str) -> tuple[int, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = get_session().get(url, headers=sent)
        return answer.status_code, answer.content

    etag = get_session().head(url).headers["ETag"]
    assert get(Range="bytes=2-4") == (206, b"234")
    assert get(Range="bytes=7-") == (206, b"789")
    assert get(Range="bytes=-3") == (206, b"789")
    assert get(Range="bytes=10-")[0] == 416
    assert get(If_None_Match=etag) == (304, b"")
    assert get(Range="bytes=2-4", If_Range='"another"') == (200, b"0123456789")
    assert [r.sent for r in hub.matching(method="GET")][:3] == [3, 3, 3]


def test_revisions_branches_tags_and_pull_requests(hub: LoopbackHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.WRITE)
    first = hub.commit(REPO, {"a.txt": b"one"})
    api.create_branch(REPO, branch="next", repo_type="dataset")
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    addition = CommitOperationAdd("a.txt", b"two")
    pr = api.create_commit(
        REPO, [addition], commit_message="change", repo_type="dataset", create_pr=True
    )
    assert pr.pr_revision == "refs/pr/1"
    assert hub.read(REPO, "a.txt", "refs/pr/1") == b"two"
    assert hub.read(REPO, "a.txt") == hub.read(REPO, "a.txt", first) == b"one"
    refs = api.list_repo_refs(REPO, repo_type="dataset", include_pull_requests=True)
    assert [branch.name for branch in refs.branches] == ["main", "next"]
    assert [pull.ref for pull in refs.pull_requests or []] == ["refs/pr/1"]
    titles = [c.title for c in api.list_repo_commits(REPO, repo_type="dataset", revision="v1")]
    assert titles == ["a commit", "initial commit"]
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(REPO, revision="absent")


def test_a_commit_on_an_old_parent_is_refused_with_412(hub: LoopbackHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.WRITE)
    old = hub.commit(REPO, {"a.txt": b"one"})
    hub.commit(REPO, {"a.txt": b"two"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        api.create_commit(
            REPO,
            [CommitOperationDelete("a.txt")],
            commit_message="x",
            repo_type="dataset",
            parent_commit=old,
        )
    assert caught.value.response.status_code == 412


def test_the_tree_is_paged_and_paths_are_described(hub: LoopbackHub) -> None:
    api = HfApi(endpoint=hub.endpoint)
    hub.page_size = 4
    hub.commit(REPO, {f"data/c/train-{i}.arrow": b"x" * (i + 1) for i in range(9)})
    rows = list(api.list_repo_tree(REPO, repo_type="dataset", recursive=True))
    assert len(rows) == 1 + 2 + 9
    info = api.get_paths_info(REPO, ["data/c/train-3.arrow", "absent"], repo_type="dataset")
    assert [(i.path, i.size, i.lfs.size) for i in info] == [("data/c/train-3.arrow", 4, 4)]  # type: ignore[union-attr]
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "absent", repo_type="dataset"))


def test_who_may_do_what(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.commit(REPO, {"a.txt": b"one"})

    def status(token: str | bool, call: str) -> int:
        api = HfApi(endpoint=hub.endpoint, token=token)
        try:
            if call == "write":
                api.create_commit(
                    REPO, [CommitOperationAdd("b", b"1")], commit_message="x", repo_type="dataset"
                )
            elif call == "info":
                api.dataset_info(REPO)
            else:
                api.hf_hub_download(REPO, "a.txt", repo_type="dataset", cache_dir=tmp_path)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    assert status(False, "info") == status(hub.OTHER, "info") == status(hub.WRITE, "write") == 200
    assert status("hf_wrong", "info") == status(False, "write") == 401
    assert status(hub.READ, "write") == status(hub.OTHER, "write") == 403
    hub.repo(REPO).private = True
    assert (status(False, "info"), status(hub.OTHER, "info"), status(hub.READ, "info")) == (
        401,
        404,
        200,
    )
    hub.repo(REPO).private, hub.repo(REPO).gated = False, "manual"
    with pytest.raises(GatedRepoError):
        HfApi(endpoint=hub.endpoint, token=hub.OTHER).hf_hub_download(
            REPO, "a.txt", repo_type="dataset", cache_dir=tmp_path / "gated"
        )
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.endpoint, token=hub.OTHER).dataset_info("xhk/absent")


def test_faults_hit_what_they_name_as_often_as_they_say(hub: LoopbackHub) -> None:
    hub.commit(REPO, {"a.arrow": bytes(100_000), "b.txt": b"b"})
    url = f"{hub.endpoint}/datasets/{REPO}/resolve/main"
    get = get_session().get

    hub.fault("status", path="*/a.arrow", status=429, retry_after=7, skip=1)
    hub.fault("flip", path="/cdn/*", after=5)
    assert get(f"{url}/b.txt").status_code == 200
    assert get(f"{url}/a.arrow", headers={"Range": "bytes=10-20"}).status_code == 429  # the CDN's
    assert get(f"{url}/a.arrow", headers={"Range": "bytes=10-20"}).content == bytes(11)
    assert get(f"{url}/a.arrow").content[:7] == b"\0\0\0\0\0\1\0"
    for reset in (False, True):
        fault = hub.fault("cut", path="/cdn/*", after=1000, reset=reset)
        with pytest.raises(httpx2.TransportError):
            get(f"{url}/a.arrow")
        assert fault.hits == 1
    hub.fault("stall", path="/cdn/*", after=10, seconds=30)
    with pytest.raises(httpx2.ReadTimeout):
        get(f"{url}/a.arrow", timeout=0.2)
    hub.fault("lose", path="*/b.txt")
    with pytest.raises(httpx2.RemoteProtocolError):
        get(f"{url}/b.txt")
    assert [r.status for r in hub.matching("*/b.txt")] == [200, 0]


def test_it_runs_from_a_shell(tmp_path: Path) -> None:
    folder = folder_with_shards(tmp_path / "dist")
    command = [sys.executable, "-m", "tests.loopback", "--root", str(tmp_path / "root")]
    with subprocess.Popen(
        [*command, "--seed", REPO, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        endpoint = process.stdout.readline().strip().removeprefix("export HF_ENDPOINT=")
        files = HfApi(endpoint=endpoint, token=False).list_repo_files(REPO, repo_type="dataset")
        process.terminate()
    assert "data/sa_000000/train-00001-of-00002.arrow" in files
