"""A dist from anyone: each command ends in one clear line, and nothing outside is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import builder.export
import builder.preview
import builder.push
import builder.verify
from builder.captioning.images import open_images
from builder.core.console import EXIT_FAILED, run_command
from builder.core.errors import ContractError
from builder.core.layout import CARD, index_path
from tests.contracts import Document, rewrite, set_in
from tests.hub.dists import make_dist

CONFIG = "sa_000000"
SHARD = ("splits", "train", "shards", 0)


def rename_split(index: Document) -> None:
    index["splits"] = {"../../../victim/pwned": index["splits"]["train"]}


def add_split(index: Document) -> None:
    index["splits"]["../../../victim/pwned"] = index["splits"]["train"]


ATTACKS: dict[str, Callable[[Document], None]] = {
    "a split outside": rename_split,
    "a second split outside": add_split,
    "a shard outside": set_in(*SHARD, "file", value="../../../../../victim/work.arrow"),
    "a shard anywhere": set_in(*SHARD, "file", value="/etc/hostname"),
    "another config's name": set_in("config", value="../victim"),
    "negative rows": set_in(*SHARD, "rows", value=-1),
    "no shards": set_in("splits", value=[]),
    "numbers for words": set_in("source", value={"name": 7}),
    "a field of another kind": set_in("counts", value=None),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("good") / "dist", [1, 2])


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (builder.export, (CONFIG, "--from", "{dist}", "--out", "{out}", "--quiet")),
        (builder.preview, ("{dist}", CONFIG, "--out", "{out}", "--quiet")),
        (builder.verify, ("{dist}", "--quiet")),
        (builder.push, ("{dist}", "--repo", "owner/name", "--dry-run", "--quiet")),
    ],
    ids=["export", "preview", "verify", "push"],
)
def test_no_command_follows_a_hostile_index(
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: ModuleType,
    arguments: tuple[str, ...],
    attack: str,
) -> None:
    dist, out, victim = tmp_path / "a/b/dist", tmp_path / "a/b/out", tmp_path / "victim"
    shutil.copytree(good, dist)
    (victim / "work.arrow.tmp").mkdir(parents=True)
    (victim / "work.arrow.tmp/kept").write_bytes(b"kept")
    (victim / "work.arrow.json").write_bytes(b"kept")
    rewrite(index_path(dist, CONFIG), ATTACKS[attack])
    before = everything(dist), everything(victim)
    argv = [word.format(dist=dist, out=out) for word in arguments]
    assert run_command(command.main, argv) == EXIT_FAILED
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "index.json: " in line]
    assert len(lines) == 1, said
    assert f"{CONFIG}/index.json: " in lines[0]
    assert "expected" in lines[0]
    assert "Traceback" not in said.err
    assert (everything(dist), everything(victim)) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "victim"]
    assert (dist / CARD).exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_captions_of_a_dist_follow_no_hostile_index(
    good: Path, tmp_path: Path, attack: str
) -> None:
    shutil.copytree(good, tmp_path / "dist")
    rewrite(index_path(tmp_path / "dist", CONFIG), ATTACKS[attack])
    (images,) = open_images([str(tmp_path / "dist")])
    with pytest.raises(ContractError, match=r"sa_000000/index.json: .* expected"):
        images.names()
