"""What is published, what is refused, and what stays as it was."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, constants

from asam_datasets import REPO_ID
from builder.core.console import run_command
from builder.core.errors import AsamDatasetsError, HubError, SettingsError, ShardError, UsageError
from builder.core.layout import config_folder
from builder.hub.upload import Publisher
from builder.push import main
from tests.hub.dists import REPO, command, indexes_of, make_dist, planner, publish, run_code
from tests.loopback import LoopbackHub

# huggingface_hub hands httpx a file in the deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dist with two configs."""
    dist = make_dist(tmp_path_factory.mktemp("two") / "dist", range(1, 9), shards=4, card=False)
    return make_dist(dist, range(20, 24), config="sa_000001", shards=1)


@pytest.fixture
def at_hub(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The Hub that commands in this process take for the real one; they have no token."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    return hub


def shards_of(dist: Path, config: str) -> dict[str, str]:
    (index,) = indexes_of(dist, [config])
    return {index.path(shard): shard.sha256 for shard in index.shards}


def remote_shards(hub: LoopbackHub, config: str, revision: str = "main") -> dict[str, str]:
    return {
        path: entry.sha256
        for path, entry in hub.files(REPO, revision).items()
        if re.fullmatch(rf"data/{config}/.*\.(arrow|parquet)", path)
    }


def config_names(hub: LoopbackHub, revision: str = "main") -> list[str]:
    card = DatasetCard(hub.read(REPO, "README.md", revision).decode())
    return [entry["config_name"] for entry in card.data["configs"]]


def test_the_command_publishes_in_one_commit_and_the_repo_loads(
    hub: LoopbackHub, two: Path, tmp_path: Path
) -> None:
    done = command(hub, tmp_path / "hf", two, "--repo", REPO, "--private", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert hub.WRITE not in done.stdout + done.stderr
    assert hub.repo(REPO).private
    titles = [commit.title for commit in hub.repo(REPO).history("main")]
    assert titles == ["Publish sa_000000, sa_000001", "initial commit"]
    assert report["commit"] == hub.repo(REPO).commit("main").oid
    for config in ("sa_000000", "sa_000001"):
        assert remote_shards(hub, config) == shards_of(two, config)
    assert {"README.md", "asam_datasets.py", "assets/sa_000000.jpg"} <= hub.files(REPO).keys()
    code = f"""
from datasets import load_dataset
for config, streaming in (("sa_000000", True), ("sa_000001", True), ("sa_000001", False)):
    rows = load_dataset("{REPO}", config, split="train", streaming=streaming)
    print(sum(row["image_id"] for row in rows))
"""
    home = tmp_path / "reader"
    assert run_code(code, home, hub.env(home, hub.READ)).split() == ["36", "86", "86"]
    again = command(hub, tmp_path / "hf", two, "--repo", REPO)
    assert again.returncode == 0
    assert "nothing was sent" in again.stderr
    assert len(hub.repo(REPO).history("main")) == 2


def test_a_dry_run_sends_nothing(hub: LoopbackHub, two: Path, tmp_path: Path) -> None:
    done = command(hub, tmp_path / "hf", two, "--repo", REPO, "--dry-run", "--json", token=None)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "to be created" in done.stderr
    assert set(shards_of(two, "sa_000000")) < report["add"].keys()
    assert report["commit"] is None
    assert not hub.store.repos
    assert all(request.method in ("GET", "HEAD") for request in hub.requests)


def test_a_dry_run_says_what_is_there_and_what_goes(
    hub: LoopbackHub, two: Path, tmp_path: Path
) -> None:
    publish(hub, two)
    newer = make_dist(tmp_path / "dist", range(1, 9), shards=2)
    plan = planner(hub, newer).plan()
    assert plan.delete == sorted(shards_of(two, "sa_000000"))
    there = {file.path for file in plan.there}
    assert {"asam_datasets.py", "data/sa_000000/rejects.jsonl"} <= there
    assert there.isdisjoint(plan.delete)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "no token: set HF_TOKEN"),
        ("hf_wrong", "the token is not valid"),
        (LoopbackHub.READ, "is read-only"),
        (LoopbackHub.OTHER, "You don't have the rights to create a dataset under the namespace"),
    ],
)
def test_a_token_that_will_not_do_is_told_before_anything_is_sent(
    at_hub: LoopbackHub,
    two: Path,
    token: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    capsys.readouterr()
    assert run_command(main, [str(two), "--repo", REPO, "--workers", "1", "--quiet"]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") <= 5
    assert token is None or token not in said.out + said.err
    assert at_hub.requests or token is None
    assert not at_hub.matching(method="PUT")
    assert not at_hub.store.repos


def test_someone_elses_repo_and_a_gated_one_are_refused(hub: LoopbackHub, two: Path) -> None:
    hub.commit(REPO, {"README.md": b"# theirs"})
    with pytest.raises(HubError, match="this token is not allowed to do that"):
        publish(hub, two, token=hub.OTHER)
    hub.repo(REPO).gated = "manual"
    with pytest.raises(HubError, match="is gated, and this account has no access"):
        publish(hub, two, token=hub.OTHER)
    assert not hub.matching(method="PUT")
    with pytest.raises(HubError, match="not the name of a repo"):
        publish(hub, two, repo="a//b")
    with pytest.raises(HubError, match="no such revision"):
        publish(hub, two, revision="refs/pr/7")


def test_a_token_that_reads_only_is_refused_by_the_hub_too(hub: LoopbackHub, two: Path) -> None:
    hub.commit(REPO, {"README.md": b"# ours"})
    with pytest.raises(HubError, match="read-only"):
        publish(hub, two, token=hub.READ)


def test_a_public_repo_is_not_taken_for_a_private_one(hub: LoopbackHub, two: Path) -> None:
    hub.store.create(REPO)
    with pytest.raises(HubError, match="exists and is public"):
        publish(hub, two, private=True)


def test_some_of_the_configs_leave_the_others_alone(
    hub: LoopbackHub, two: Path, tmp_path: Path
) -> None:
    publish(hub, two, ["sa_000001"])
    assert config_names(hub) == ["sa_000001"]
    assert not remote_shards(hub, "sa_000000")
    publish(hub, two, ["sa_000000"])
    assert config_names(hub) == ["sa_000000", "sa_000001"]
    before = remote_shards(hub, "sa_000001")
    newer = make_dist(tmp_path / "dist", range(1, 17), shards=8)
    published = publish(hub, newer)
    assert set(published.plan.delete) == set(shards_of(two, "sa_000000"))
    assert remote_shards(hub, "sa_000000") == shards_of(newer, "sa_000000")
    assert remote_shards(hub, "sa_000001") == before
    assert config_names(hub) == ["sa_000000", "sa_000001"]
    card = hub.read(REPO, "README.md").decode()
    assert "| `sa_000000` | 16 |" in card
    assert "| `sa_000001` | 4 |" in card


def test_files_and_words_of_others_stay(hub: LoopbackHub, two: Path, tmp_path: Path) -> None:
    theirs = {
        "README.md": b"---\nlicense: mit\n---\n# ASAM\n\nThe archives.\n",
        "archives/sa_000000.tar": b"tar" * 1000,
        "data/sa_000000/notes.txt": b"notes",
    }
    hub.commit(REPO, theirs)
    publish(hub, two)
    card = hub.read(REPO, "README.md").decode()
    assert "# ASAM\n\nThe archives.\n" in card
    assert DatasetCard(card).data["license"] == "mit"
    # Edited by hand between two publications, and files of the same config replaced.
    edited = card.replace("The archives.", "The archives, and more.") + "\nThanks.\n"
    hub.commit(REPO, {"README.md": edited.encode(), "extra.txt": b"x"})
    publish(hub, make_dist(tmp_path / "dist", range(1, 17), shards=1))
    card = hub.read(REPO, "README.md").decode()
    assert "The archives, and more." in card
    assert card.endswith("\nThanks.\n")
    assert "| `sa_000000` | 16 |" in card
    assert hub.read(REPO, "archives/sa_000000.tar") == theirs["archives/sa_000000.tar"]
    assert hub.read(REPO, "data/sa_000000/notes.txt") == b"notes"
    assert hub.read(REPO, "extra.txt") == b"x"
    assert len(remote_shards(hub, "sa_000000")) == 1


def test_parquet_onto_an_arrow_repo_is_refused(hub: LoopbackHub, two: Path, tmp_path: Path) -> None:
    parquet = make_dist(tmp_path / "dist", fmt="parquet")
    publish(hub, two)
    with pytest.raises(HubError, match=r"holds arrow shards \(sa_000000\), the dist holds parquet"):
        publish(hub, parquet)
    publish(hub, parquet, repo="xhk/parquet")
    with pytest.raises(HubError, match="holds parquet shards"):
        publish(hub, two, repo="xhk/parquet")


def test_a_card_with_configs_of_another_format_is_refused(hub: LoopbackHub, two: Path) -> None:
    card = b"---\nconfigs:\n- config_name: x\n  data_files: x/*.parquet\n---\n"
    hub.commit(REPO, {"README.md": card, "x/a.parquet": b"PAR1"})
    with pytest.raises(HubError, match="card's config x is not of format arrow"):
        publish(hub, two)


def test_a_stray_file_that_would_be_read_as_rows_is_refused(hub: LoopbackHub, two: Path) -> None:
    hub.commit(REPO, {"data/sa_000000/train-extra.arrow": b"x"})
    with pytest.raises(HubError, match="would read it as rows of sa_000000"):
        publish(hub, two)


def test_a_repo_with_a_script_of_its_own_name_is_refused(hub: LoopbackHub, two: Path) -> None:
    hub.commit(REPO, {"ASAM-Datasets.py": b"raise SystemExit\n"})
    with pytest.raises(HubError, match=r"holds ASAM-Datasets\.py"):
        publish(hub, two)


def test_no_repo_gets_a_script_of_its_own_name(hub: LoopbackHub, two: Path) -> None:
    publish(hub, two)
    publish(hub, two, repo="xhk/asam_datasets")
    assert "asam_datasets.py" in hub.files(REPO)
    for repo in hub.store.repos:
        assert f"{repo.split('/')[1]}.py" not in hub.files(repo)


def test_a_folder_that_hides_the_repo_is_told(hub: LoopbackHub, two: Path, tmp_path: Path) -> None:
    (tmp_path / REPO).mkdir(parents=True)
    done = command(hub, tmp_path / "hf", two, "--repo", REPO)
    assert done.returncode == 0
    assert f"the folder {REPO} here hides the repo from load_dataset" in done.stderr
    (tmp_path / REPO / "README.md").write_text("# empty\n")
    home = tmp_path / "reader"
    code = f"""
from datasets import load_dataset
try:
    load_dataset("{REPO}", "sa_000000", split="train", streaming=True)
except Exception as error:
    print(type(error).__name__)
print(len(list(load_dataset("hf://datasets/{REPO}", "sa_000000", split="train", streaming=True))))
"""
    error, rows = run_code(code, home, hub.env(home)).split()
    assert error == "EmptyDatasetError"
    assert rows == "8"


def test_a_pull_request_leaves_main_alone_and_a_second_run_finds_it(
    hub: LoopbackHub, two: Path
) -> None:
    before = hub.commit(REPO, {"README.md": b"# ours"})
    first = publish(hub, two, create_pr=True)
    assert first.pull_request
    assert first.pull_request.endswith("/discussions/1")
    assert hub.repo(REPO).commit("main").oid == before
    assert remote_shards(hub, "sa_000000", "refs/pr/1") == shards_of(two, "sa_000000")
    second = publish(hub, two, create_pr=True)
    assert second.commit == first.commit
    assert "refs/pr/2" not in hub.repo(REPO).refs
    third = publish(hub, two, revision="refs/pr/1")
    assert third.commit is None
    publish(hub, two, token=hub.OTHER, create_pr=True)


def test_a_branch_is_made_from_main(hub: LoopbackHub, two: Path) -> None:
    before = hub.commit(REPO, {"README.md": b"# ours"})
    publish(hub, two, revision="next")
    assert hub.repo(REPO).commit("main").oid == before
    assert hub.repo(REPO).commit("next").parent == before
    assert remote_shards(hub, "sa_000000", "next") == shards_of(two, "sa_000000")
    assert publish(hub, two, revision="next").commit is None


def test_terms_are_printed_and_obeyed(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = make_dist(tmp_path / "dist", [1, 2], shards=1, sample=False)
    arguments = [str(dist), "--repo", REPO, "--dry-run", "--quiet", "--workers", "1"]
    with pytest.raises(HubError, match=r"sa_000000 \(unclear\).*--i-may-redistribute CONFIG"):
        main(arguments)
    assert "sa_000000: SA-1B, SA-1B Dataset Research License (https://" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="this run does not publish such a config"):
        main([*arguments, "--i-may-redistribute", "camo"])
    bare = make_dist(tmp_path / "bare" / "dist", [1], sample=False, annotations_only=True)
    publish(hub, bare)
    assert b'"annotations_only":true' in hub.read(REPO, "data/sa_000000/index.json")


def test_a_changed_shard_is_noticed(hub: LoopbackHub, tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1, 2, 3], shards=1)
    (shard,) = config_folder(dist, "sa_000000").glob("*.arrow")
    whole = shard.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(ShardError, match=r"expected sha256 .* nothing was published"):
        main([str(dist), "--quiet", "--workers", "1", "--dry-run"])
    shard.write_bytes(whole)
    publisher = Publisher(planner(hub, dist), quiet=True)
    shard.write_bytes(whole)  # the same bytes, but who knows: it was written after the check
    with pytest.raises(HubError, match="changed while it was published; nothing was committed"):
        publisher.publish()
    assert list(hub.files(REPO)) == [".gitattributes"]
    publish(hub, dist)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["absent"], ShardError, "absent: no such folder"),
        (["{dist}", "--configs", "sa_000009"], ShardError, "it holds sa_000000, sa_000001"),
        (["{dist}", "--repo", "ours"], UsageError, "--repo ours: expected owner/name"),
        (["{dist}", "--repo", "a/b c"], UsageError, "--repo a/b c: expected owner/name"),
        (["{dist}", "--create-pr", "--revision", "next"], UsageError, "leave out --revision"),
    ],
)
def test_wrong_arguments_are_told(
    two: Path, arguments: list[str], error: type[AsamDatasetsError], message: str
) -> None:
    given = [argument.format(dist=two) for argument in arguments]
    with pytest.raises(error, match=message):
        main(given)
    assert run_command(main, given) == (2 if error is UsageError else 1)


def test_the_token_is_tried_before_the_dist_is_read(
    at_hub: LoopbackHub, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(two, damaged)
    for shard in damaged.glob("data/*/*.arrow"):
        shard.write_bytes(bytes(shard.stat().st_size))
    monkeypatch.setenv("HF_TOKEN", LoopbackHub.READ)
    with pytest.raises(HubError, match="is read-only"):
        main([str(damaged), "--repo", REPO, "--workers", "1", "--quiet"])


def test_a_push_without_a_repo_says_where_it_goes(
    at_hub: LoopbackHub, two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(two), "--dry-run", "--workers", "1", "--quiet"])
    assert capsys.readouterr().err.startswith(f"no --repo is given: the repo is {REPO_ID}\n")


def test_a_dist_of_both_formats_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1], shards=1, card=False)
    other = make_dist(tmp_path / "b/dist", [2], config="sa_000001", shards=1, fmt="parquet")
    shutil.copytree(config_folder(other, "sa_000001"), config_folder(dist, "sa_000001"))
    with pytest.raises(HubError, match="one format per repo"):
        publish(hub, dist)


def test_one_plan_is_made_and_carried_out(hub: LoopbackHub, two: Path, tmp_path: Path) -> None:
    """The repo is listed for the plan, and once more to compare what was sent."""
    run = command(hub, tmp_path / "home", two)
    assert run.returncode == 0, run.stderr
    first = len(hub.matching("*/tree/*", "GET"))
    command(hub, tmp_path / "home", two, "--configs", "sa_000001")
    assert first == 1  # a new repo is not listed before it is there
    assert len(hub.matching("*/tree/*", "GET")) == first + 1  # nothing is left to do


def test_a_repo_that_another_fills_while_it_is_created_is_planned_anew(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    dist = make_dist(tmp_path / "dist", [1], shards=1)
    mine = planner(hub, dist)
    plan = mine.plan()
    assert plan.parent is None
    other = make_dist(tmp_path / "other", [2], config="sa_000001", shards=1)
    publish(hub, other)
    published = Publisher(mine, quiet=True).publish(plan)
    assert published.commit
    assert {path.split("/")[1] for path in hub.files(REPO) if path.startswith("data/")} == {
        "sa_000000",
        "sa_000001",
    }
