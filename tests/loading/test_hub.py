"""load() from a Hub on loopback: bytes and requests, faults, damage, repos that can't be read.

The client is a process of its own, since HF_ENDPOINT is read on import. One serves all the tests
here; a repo of its own for each keeps the caches apart.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from asam_datasets import TRAIN_FEATURES
from builder.shards.index import read_index
from tests.loading.client import Client
from tests.loading.conftest import Row, write_config
from tests.loopback import LoopbackHub
from tests.loopback import store as loopback_store
from tests.loopback.wire import Request, Response

SHARDS = "/cdn/*.arrow"
REDIRECTS = "*/resolve/*.arrow"
pytestmark = pytest.mark.network


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
def large(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    """Two shards of record batches of 400 kB, so that a gap is worth a request."""
    folder = tmp_path_factory.mktemp("large")
    shards = [rows[:60], rows[60:]]
    return write_config(folder, "sa_000000", {"train": shards}, batch_bytes=400_000)


@pytest.fixture
def repo(hub: LoopbackHub, large: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The config of `large`, in a repo of this test's own."""
    name = "xhk/" + "".join(c if c.isalnum() else "-" for c in request.node.name).strip("-")
    hub.seed(name, large)
    hub.requests.clear()
    yield name
    hub.faults.clear()


def ask(client: Client, repo: str, code: str) -> str:
    """What the client prints; load(...) is load("sa_000000", repo_or_path=repo, ...) there."""
    partial = f"functools.partial(load, 'sa_000000', repo_or_path={repo!r})"
    return client.run(f"import functools\nrepo = {repo!r}\nload = {partial}\n{code}")


def columns_of(dist: Path) -> list[list[tuple[int, int]]]:
    """Where each column of each record batch starts, and its bytes."""
    index = read_index(dist, "sa_000000")
    return [place.batch.columns(index.layout) for place in index.places(index.shards)]


@pytest.mark.parametrize(
    ("columns", "requests"),
    [
        (["image", "text", "conditioning_image"], 1),
        (["image", "annotations"], 2),
        (["annotations"], 1),
        (["text"], 1),
        (["text", "width", "annotations", "num_rejected"], 2),
    ],
)
def test_a_stream_moves_only_the_columns_bytes(
    hub: LoopbackHub, client: Client, repo: str, large: Path, columns: list[str], requests: int
) -> None:
    code = f"print(len(list(load(streaming=True, columns={columns}).decode(False))))"
    assert ask(client, repo, code) == "120\n"
    batches = columns_of(large)
    wanted = sum(batch[list(TRAIN_FEATURES).index(c)][1] for batch in batches for c in columns)
    sent = hub.matching(SHARDS)
    assert wanted <= sum(request.sent for request in sent) <= wanted + len(batches) * 16_384
    assert len(sent) <= requests * len(batches)
    assert len(hub.matching(REDIRECTS)) == 2  # one a shard
    assert len(hub.matching("*/index.json")) == 1  # and no process to download it


def test_a_dataset_of_some_columns_moves_only_theirs(
    hub: LoopbackHub, client: Client, repo: str
) -> None:
    code = """
loaded = load(columns=["text", "image_id"])
print(loaded[119], len(loaded))
assert load(columns=["text", "image_id"])[:] == loaded[:]
"""
    assert ask(client, repo, code) == "{'text': 'caption é 119', 'image_id': 119} 120\n"
    assert sum(request.sent for request in hub.matching(SHARDS)) < 300_000


def test_a_dataset_is_downloaded_once_and_mapped(
    hub: LoopbackHub, client: Client, repo: str
) -> None:
    code = """
for _ in range(2):
    loaded = load()
    print(loaded.num_rows, {"/hub/" in f["filename"] for f in loaded.cache_files})
"""
    assert ask(client, repo, code) == "120 {True}\n" * 2
    assert len(hub.matching(SHARDS, "GET")) == 2


def test_a_stream_survives_a_bad_network(hub: LoopbackHub, client: Client, repo: str) -> None:
    faults = [
        hub.fault("status", path=REDIRECTS, status=500),
        hub.fault("status", path=SHARDS, status=503),
        hub.fault("status", path=SHARDS, status=429, retry_after=1),
        hub.fault("cut", path=SHARDS, after=1000),
        hub.fault("cut", path=SHARDS, after=1000, reset=True),
        hub.fault("whole", path=SHARDS),
        hub.fault("flip", path=SHARDS, after=100_000),
    ]
    code = "print([r['image_id'] for r in load(streaming=True).decode(False)])"
    assert ask(client, repo, code) == f"{list(range(120))}\n"
    assert [fault.hits for fault in faults] == [1] * len(faults)


def test_signed_urls_that_expire_are_fetched_anew(
    hub: LoopbackHub, client: Client, repo: str
) -> None:
    code = """
import builtins
import pickle
stream = load(streaming=True, columns=["text"])
next(iter(stream))
builtins.kept = pickle.loads(pickle.dumps(stream))
print(len(list(kept)))
"""
    assert ask(client, repo, code) == "120\n"
    assert not any(request.status == 403 for request in hub.matching(SHARDS))
    hub.expire()
    assert ask(client, repo, "print(len(list(kept)))") == "120\n"
    assert any(request.status == 403 for request in hub.matching(SHARDS))


def test_a_network_that_is_gone_says_where_to_resume(
    hub: LoopbackHub, client: Client, repo: str
) -> None:
    gone = hub.fault("status", path="*.arrow", status=503, skip=6, count=2)
    code = """
found, state = [], None
for attempt in range(4):
    stream = load(streaming=True, retries=0).decode(False)
    if state:
        stream.load_state_dict(state)
    try:
        for row in stream:
            found.append(row["image_id"])
        break
    except UnreachableError as error:
        print(error)
        state = stream.state_dict()
print(found == list(range(120)))
"""
    out = ask(client, repo, code)
    assert gone.hits == 2
    assert "rows before it were given: keep this stream's state_dict()" in out
    assert out.endswith("True\n")


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damage_on_the_hub_is_noticed(
    hub: LoopbackHub, client: Client, repo: str, large: Path, damage: str
) -> None:
    name = "data/sa_000000/train-00001-of-00002.arrow"
    content = bytearray((large / name).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 16
    left = {"flip": bytes(content), "cut": bytes(content[:-200_000]), "gone": None}[damage]
    hub.commit(repo, {name: left})
    code = """
rows = []
try:
    rows.extend(load(streaming=True).decode(False))
except CorruptDataError as error:
    print(len(rows), error)
try:
    load(verify=True)
except CorruptDataError as error:
    print(error)
"""
    streamed, mapped = ask(client, repo, code).splitlines()
    assert 60 <= int(streamed.split()[0]) < 120
    problem = {"flip": "crc32", "cut": "the file is cut", "gone": "the file is not there"}[damage]
    assert name in streamed
    assert problem in streamed
    assert ("is not there" if damage == "gone" else "expected") in mapped


def test_repos_that_cannot_be_read(
    hub: LoopbackHub, client: Client, repo: str, large: Path
) -> None:
    hub.seed("someone/private", large, private=True)
    hub.seed("someone/gated", large)
    hub.repo("someone/gated").gated = "manual"
    code = f"""
def fails(split=None, **options):
    try:
        load(split=split, streaming=True, columns=["text"], **options)
    except AsamDatasetsError as error:
        print(type(error).__name__, str(error).splitlines()[0])
fails(repo_or_path="xhk/absent")
fails(repo_or_path="someone/private")
fails(repo_or_path="someone/gated")
fails(token="hf_wrong")
fails(revision="v9")
fails(split="validation")
load = load.func
fails(config="sa_000001", repo_or_path=repo)
print(next(iter(load("sa_000000", streaming=True, columns=["text"], token="{hub.OTHER}",
                     repo_or_path="someone/private"))))
"""
    out = ask(client, repo, code).splitlines()
    kinds = ["UnreachableError"] * 5 + ["UnknownNameError"] * 2
    assert [line.split()[0] for line in out[:7]] == kinds
    assert "hf auth login" in out[0]
    assert "There are: train" in out[5]
    assert "There are: sa_000000" in out[6]
    assert out[7] == "{'text': 'caption é 0'}"


def test_revisions(hub: LoopbackHub, client: Client, repo: str, dist: Path) -> None:
    """`large` at the commit of its own, `dist` at main."""
    first = hub.repo(repo).commit("main").oid
    hub.seed(repo, dist)
    code = f"""
print([
    load(streaming=True, columns=["text"], **options).num_shards
    for options in ({{"revision": "{first}"}},
                    {{"repo_or_path": "hf://datasets/{repo}@{first}"}}, {{}})
])
"""
    assert ask(client, repo, code) == "[8, 8, 32]\n"


def test_a_stream_stays_at_the_commit_that_it_began_with(
    hub: LoopbackHub, client: Client, repo: str
) -> None:
    code = f"""
stream = load(streaming=True, columns=["image_id"])
from huggingface_hub import HfApi, CommitOperationDelete
HfApi(token="{hub.WRITE}").create_commit(
    repo, [CommitOperationDelete("data/", is_folder=True)], repo_type="dataset", commit_message="x"
)
print(len(list(stream)))
"""
    assert ask(client, repo, code) == "120\n"


FIRST = "next(iter(load(streaming=True, columns={columns}).decode(False)))"


@pytest.mark.parametrize(
    ("columns", "ranges", "redirect"),
    [
        (["image", "text", "conditioning_image"], 1, True),
        (["image", "annotations"], 2, True),
        (["image", "text", "conditioning_image"], 1, False),
    ],
)
def test_a_first_row_takes_three_requests_one_after_another_or_two(
    hub: LoopbackHub,
    client: Client,
    large: Path,
    columns: list[str],
    ranges: int,
    redirect: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The index, where the shard is, its bytes; two ranges are answered when both were asked for.

    The index is as large as that of a whole tar. The other record batches wait for the first.
    """
    if not redirect:
        monkeypatch.setattr(loopback_store, "is_lfs", lambda path, size: False)
    repo = f"xhk/first-{ranges}-{redirect}"
    hub.seed(repo, with_large_index(large, 2_000_000))
    hub.requests.clear()
    origin = hub.cdn if redirect else hub.hub
    route, barrier = origin.route, threading.Barrier(ranges)
    left = [ranges]

    def together(request: Request, *, whole: bool) -> Response:
        response = route(request, whole=whole)
        if "range" in request.headers and response.status == 206 and left[0] > 0:
            left[0] -= 1
            barrier.wait(60)
        return response

    monkeypatch.setattr(origin, "route", together)
    assert ask(client, repo, FIRST.format(columns=columns)) == ""
    found = [(r.origin, r.path.rpartition("/")[2]) for r in hub.requests]
    shard = "train-00000-of-00002.arrow"
    bytes_of = ("cdn" if redirect else "hub", shard)
    expected = [("hub", "index.json"), *[("hub", shard)] * redirect, *[bytes_of] * ranges]
    assert found[: len(expected)] == expected


def with_large_index(dist: Path, size: int) -> Path:
    """The same config with an index of so many bytes more."""
    folder = dist.parent / f"{dist.name}-{size}"
    if not folder.exists():
        shutil.copytree(dist, folder)
        index = read_index(folder, "sa_000000")
        larger = replace(index, settings={**index.settings, "note": "x" * size})
        path = folder / "data/sa_000000/index.json"
        path.write_text(json.dumps(larger.to_json()))
    return folder
