"""A night's publishing: killed, cut, refused for a while, overtaken; readers all along."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from huggingface_hub import HfApi

from asam_datasets import Index
from builder.core.errors import HubError
from builder.hub.check import check_repo
from builder.hub.client import connect
from builder.hub.patience import Patience
from builder.hub.plan import Planner, Target
from builder.hub.upload import Publisher
from tests.hub.dists import QUICK, REPO, api_of, indexes_of, make_dist, planner, publish
from tests.loopback import LoopbackHub

# huggingface_hub hands httpx a file in the deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

KILLS = 4  # campaigns.kills does hundreds
OLD, NEW = range(1, 9), range(101, 117)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("old") / "dist", OLD, shards=2)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("new") / "dist", NEW, shards=8)


def publish_elsewhere(endpoint: str, token: str, dist: Path, repo: str, ready: Event) -> None:
    """What a process that will be killed does."""
    connect(QUICK)
    api = HfApi(endpoint=endpoint, token=token)
    target = Publisher(Planner(api, dist, indexes_of(dist), Target(repo), QUICK), quiet=True)
    ready.set()
    target.publish()


def sums(indexes: Sequence[Index]) -> dict[str, str]:
    return {index.path(shard): shard.sha256 for index in indexes for shard in index.shards}


def shards_at(hub: LoopbackHub, repo: str) -> dict[str, str]:
    files = hub.files(repo).items()
    return {path: entry.sha256 for path, entry in files if path.endswith(".arrow")}


def test_killed_at_random_requests_and_run_again(hub: LoopbackHub, old: Path, new: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.hub.dists"])
    before, after = sums(indexes_of(old)), sums(indexes_of(new))
    hub.latency = 0.002  # so that a publication is not over in an instant
    chance = random.Random(7)
    requests = 0  # of a publication that runs through
    found: Counter[str] = Counter()
    for number in range(KILLS + 1):
        repo = f"xhk/killed-{number}"
        hub.seed(repo, old)
        first = len(hub.requests)
        ready = context.Event()
        process = context.Process(
            target=publish_elsewhere, args=(hub.endpoint, hub.WRITE, new, repo, ready)
        )
        process.start()
        ready.wait(60)
        if number:  # a moment in its requests, not in time: a busy machine changes nothing
            moment = chance.randrange(requests)
            while process.is_alive() and len(hub.requests) - first < moment:
                time.sleep(0.0005)
            process.kill()
        process.join()
        if not number:
            assert process.exitcode == 0
            requests = len(hub.requests) - first
        process.close()

        seen = shards_at(hub, repo)
        assert seen in (before, after)
        found["new" if seen == after else "old"] += 1
        sent = {r.path for r in hub.requests[first:] if r.method == "PUT" and r.status == 200}
        middle = len(hub.requests)
        publish(hub, new, repo=repo)
        assert shards_at(hub, repo) == after
        assert len(hub.repo(repo).history("main")) == 3  # made, seeded, published: once
        again = [r for r in hub.requests[middle:] if r.method == "PUT"]
        assert sent.isdisjoint(r.path for r in again)
    assert found["old"] >= KILLS // 4  # most moments are before the commit


READER = """
import sys
from datasets import load_dataset
sys.stdin.readline()
seen = []
while len(seen) < 8 or (len(set(seen)) < 2 and len(seen) < 80):
    try:
        rows = load_dataset(sys.argv[1], "sa_000000", split="train", streaming=True)
    except OSError as error:
        # The card was replaced between the client's HEAD and its GET: it says so and shows no row.
        if "Consistency check failed" not in str(error):
            raise
        continue
    seen.append(str(sorted(row["image_id"] for row in rows.select_columns(["image_id"]))))
    print(seen[-1], flush=True)
"""


def test_a_reader_never_sees_a_mixture(
    hub: LoopbackHub, old: Path, new: Path, tmp_path: Path
) -> None:
    hub.seed(REPO, old)
    api = api_of(hub)
    with subprocess.Popen(
        [sys.executable, "-c", READER, REPO],
        env=hub.env(tmp_path / "hf"),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin
        reader.stdin.write("go\n")
        reader.stdin.flush()
        turn = 0
        while reader.poll() is None:
            turn += 1
            dist = (old, new)[turn % 2]
            target = Planner(api, dist, indexes_of(dist), Target(REPO), QUICK)
            Publisher(target, quiet=True).publish()
        assert reader.stdout
        assert reader.stderr
        lines, errors = reader.stdout.read().splitlines(), reader.stderr.read()
    assert reader.returncode == 0, errors
    assert turn > 2
    assert len(lines) >= 8
    assert set(lines) == {str(list(OLD)), str(list(NEW))}


@pytest.mark.parametrize("fault", ["503", "429", "409", "408", "lost", "cut", "reset"])
def test_a_commit_that_fails_for_a_while_is_made_once(
    hub: LoopbackHub, old: Path, fault: str
) -> None:
    hub.store.create(REPO)
    path = "*/commit/*"
    if fault.isdigit():
        hub.fault("status", path=path, status=int(fault), retry_after=1)
    elif fault == "lost":
        hub.fault("lose", path=path)
    else:
        hub.fault("cut", path=path, after=10, reset=fault == "reset")
    started = time.monotonic()
    published = publish(hub, old)
    assert published.commit == hub.repo(REPO).commit("main").oid
    assert len(hub.repo(REPO).history("main")) == 2
    assert shards_at(hub, REPO) == sums(indexes_of(old))
    if fault == "429":
        assert time.monotonic() - started >= 1  # as asked for


def test_a_lost_answer_to_a_pull_request_opens_no_second_one(hub: LoopbackHub, old: Path) -> None:
    hub.store.create(REPO)
    hub.fault("lose", path="*/commit/*")
    assert publish(hub, old, create_pr=True).pull_request
    assert [ref for ref in hub.repo(REPO).refs if "/pr/" in ref] == ["refs/pr/1"]


def test_uploads_that_fail_for_a_while_go_on(hub: LoopbackHub, old: Path) -> None:
    hub.fault("status", method="PUT", path="/cdn/*", status=503)
    hub.fault("cut_upload", method="PUT", path="/cdn/*", after=2000, reset=True)
    hub.fault("status", path="*/preupload/*", status=500)
    hub.fault("status", path="*/repos/create", status=503)
    hub.fault("status", path="*/tree/*", status=429, retry_after=1)
    hub.fault("cut", path="*/revision/*", after=20)
    publish(hub, old)
    assert shards_at(hub, REPO) == sums(indexes_of(old))


@pytest.mark.parametrize("path", ["*/commit/*", "*/revision/*", "*/tree/*", "*/resolve/*"])
def test_a_stalled_request_is_given_up_and_made_again(
    hub: LoopbackHub, old: Path, path: str
) -> None:
    hub.commit(REPO, {"README.md": b"# ours"})
    api = api_of(hub)
    patience = Patience(timeout=0.7, retries=2)
    connect(patience)
    stall = hub.fault("stall", path=path, seconds=60)
    target = Planner(api, old, indexes_of(old), Target(REPO), patience)
    Publisher(target, quiet=True).publish()
    assert stall.hits == 1
    assert shards_at(hub, REPO) == sums(indexes_of(old))
    assert len(hub.repo(REPO).history("main")) == 3


def test_a_hub_that_stays_away_is_told_with_what_to_do(hub: LoopbackHub, old: Path) -> None:
    hub.store.create(REPO)
    api = api_of(hub)
    patience = Patience(timeout=5, retries=1)
    target = Publisher(Planner(api, old, indexes_of(old), Target(REPO), patience), quiet=True)
    hub.fault("status", path="*/commit/*", status=503, count=-1)
    with pytest.raises(HubError, match=r"the Hub kept answering 503 .* again later"):
        target.publish()
    hub.faults.clear()
    hub.fault("lose", path="*/tree/*", count=-1)
    hub.fault("lose", path="*/revision/*", count=-1)
    with pytest.raises(HubError, match=r"the connection failed .* are not sent again"):
        target.publish()
    hub.faults.clear()
    done = len(hub.matching("/cdn/*", "PUT"))
    target.publish()
    assert len(hub.matching("/cdn/*", "PUT")) == done


def test_a_repo_that_moves_on_meanwhile_is_told_and_built_upon(
    hub: LoopbackHub, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.commit(REPO, {"README.md": b"# ours"})
    hub.fault("stall", method="PUT", path="/cdn/*", seconds=0.5)
    change = {"README.md": b"# ours, edited", "more.txt": b"more"}

    def commit_during_the_upload() -> None:
        while not hub.matching("/cdn/*", "PUT"):
            time.sleep(0.01)
        hub.commit(REPO, change, title="theirs")

    thread = Thread(target=commit_during_the_upload)
    thread.start()
    publish(hub, old)
    thread.join()
    assert "someone else committed after" in capsys.readouterr().err
    assert [c.title for c in hub.repo(REPO).history("main")][:2] == ["Publish sa_000000", "theirs"]
    assert b"# ours, edited" in hub.read(REPO, "README.md")
    assert hub.read(REPO, "more.txt") == b"more"


def test_the_same_config_published_by_someone_else_meanwhile_is_an_error(
    hub: LoopbackHub, old: Path, new: Path
) -> None:
    hub.store.create(REPO)
    target = planner(hub, old)
    target.plan()
    publish(hub, new)
    with pytest.raises(HubError, match="someone else published the same configs"):
        Publisher(target, quiet=True).publish()
    assert shards_at(hub, REPO) == sums(indexes_of(new))
    publish(hub, old)
    assert shards_at(hub, REPO) == sums(indexes_of(old))


def test_no_request_waits_for_ever(hub: LoopbackHub) -> None:
    """Also the calls that huggingface_hub makes with `timeout=None`."""
    api = api_of(hub)
    connect(Patience(timeout=0.3))
    hub.store.create(REPO)
    hub.fault("stall", path="*/revision/*", seconds=60)
    with pytest.raises(httpx2.ReadTimeout):
        api.dataset_info(REPO, revision="main", timeout=None)


def test_a_hub_that_trickles_is_given_up(hub: LoopbackHub) -> None:
    """No timeout of the HTTP library ends an answer of which some bytes come now and then."""
    api = api_of(hub)
    patience = Patience(timeout=1.0, retries=0)
    connect(patience)
    hub.store.create(REPO)
    slow = hub.fault("slow", path="*/revision/*", rate=20)
    with pytest.raises(HubError, match=r"no whole answer within .* run the same command again"):
        check_repo(REPO, api=api, quiet=True, patience=patience)
    assert slow.hits == 1


def test_a_hub_that_asks_to_wait_for_a_day_is_not_waited_for(hub: LoopbackHub, old: Path) -> None:
    hub.store.create(REPO)
    hub.fault("status", path="*/commit/*", status=429, retry_after=86_400)
    with pytest.raises(HubError, match=r"asks to wait for 86400 s: run the same command again"):
        publish(hub, old)
    publish(hub, old)
    assert shards_at(hub, REPO) == sums(indexes_of(old))


def test_no_error_shows_a_signed_url(hub: LoopbackHub, tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1, 2])
    publish(hub, dist)
    hub.fault("status", path="/cdn/*", status=403, count=-1)
    with pytest.raises(HubError) as caught:
        check_repo(REPO, deep=True, api=api_of(hub), quiet=True, patience=Patience(retries=0))
    step: BaseException | None = caught.value
    while step is not None:
        assert "Signature" not in str(step)
        step = step.__cause__
