"""The manifest of a repo describes the repo's card, script and pictures, whoever published last."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builder.core.layout import CARD, MANIFEST, SCRIPT, picture_name
from builder.hub.check import check_repo
from builder.hub.upload import Publisher
from tests.contracts import Document, rewrite, set_in
from tests.hub.dists import REPO, api_of, make_dist, planner, publish
from tests.loopback import LoopbackHub

# huggingface_hub hands httpx a file in the deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FIRST, SECOND = "sa_000000", "sa_000001"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("first") / "dist", [1, 2], config=FIRST, shards=1)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("second") / "dist", [3], config=SECOND, shards=1)


def problems(hub: LoopbackHub, *configs: str) -> list[str]:
    found, _ = check_repo(REPO, "main", configs or None, quiet=True, api=api_of(hub))
    return [str(problem) for problem in found]


def manifest(hub: LoopbackHub) -> Document:
    document: Document = json.loads(hub.read(REPO, MANIFEST))
    return document


def test_concurrent_pushes_of_two_configs_end_with_one_manifest_of_both(
    hub: LoopbackHub, first: Path, second: Path
) -> None:
    hub.commit(REPO, {CARD: b"# ASAM\n\nThe archives.\n"})
    late = planner(hub, second)
    plan = late.plan()
    publish(hub, first)
    assert Publisher(late, quiet=True).publish(plan).commit
    assert set(manifest(hub)["files"]) == {SCRIPT, picture_name(FIRST), picture_name(SECOND)}
    assert set(manifest(hub)["card"]["configs"]) == {FIRST, SECOND}
    assert problems(hub) == []
    assert publish(hub, first).commit is None  # nothing is left to do
    card = hub.read(REPO, CARD)
    hub.commit(REPO, {CARD: card.replace(b"The archives.", b"The archives, and more.")})
    assert problems(hub) == []


def test_what_was_damaged_on_the_hub_is_found_and_published_again(
    hub: LoopbackHub, first: Path, second: Path
) -> None:
    publish(hub, first)
    publish(hub, second)
    whole = {p: hub.read(REPO, p) for p in (CARD, SCRIPT, MANIFEST, picture_name(FIRST))}
    for path, damaged, problem in (
        (CARD, whole[CARD].replace(b"\n", b"\r\n"), "README.md: what the builder wrote"),
        (CARD, whole[CARD].replace(b"# Columns", b"#Columns"), "README.md: what the"),
        (SCRIPT, whole[SCRIPT] + b"\n", f"{SCRIPT}: expected sha256"),
        (SCRIPT, None, f"{SCRIPT}: manifest.json names it, and there is no such file"),
        (picture_name(FIRST), b"\xff\xd8", f"{picture_name(FIRST)}: expected sha256"),
        (MANIFEST, whole[MANIFEST][:-20], f"{MANIFEST}: it can't be used: "),
        (MANIFEST, None, f"{MANIFEST}: there is none"),
    ):
        hub.commit(REPO, {path: damaged})
        (found,) = problems(hub)
        assert found.startswith(problem)
        assert found.endswith("publish it again") or "no such file" in found
        publish(hub, first)
        assert problems(hub) == []
        assert {p: hub.read(REPO, p) for p in whole} == whole


def test_publishing_one_config_does_not_hide_a_damaged_picture_of_another(
    hub: LoopbackHub, first: Path, second: Path
) -> None:
    publish(hub, first)
    hub.commit(REPO, {picture_name(FIRST): b"\xff\xd8"})
    publish(hub, second)
    (found,) = problems(hub)
    assert found.startswith(f"{picture_name(FIRST)}: expected sha256")
    assert problems(hub, SECOND) == []


def test_a_script_of_another_version_is_no_fault(
    hub: LoopbackHub, first: Path, tmp_path: Path
) -> None:
    publish(hub, first)
    old = b"VERSION = '0.0.1'\n"
    path = tmp_path / MANIFEST
    path.write_bytes(hub.read(REPO, MANIFEST))
    rewrite(path, set_in("files", SCRIPT, value=hashlib.sha256(old).hexdigest()))
    hub.commit(REPO, {SCRIPT: old, MANIFEST: path.read_bytes()})
    assert problems(hub) == []


def test_a_repo_of_the_scripts_name_has_none_in_its_manifest(hub: LoopbackHub, first: Path) -> None:
    repo = "xhk/asam_datasets"
    publish(hub, first, repo=repo)
    assert SCRIPT not in json.loads(hub.read(repo, MANIFEST))["files"]
    assert check_repo(repo, quiet=True, api=api_of(hub))[0] == []
