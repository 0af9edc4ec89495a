"""A published repo is checked like a dist: by checksums, or row by row."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.core.errors import HubError, ShardError
from builder.core.layout import config_folder
from builder.hub.check import check_repo
from tests.hub.dists import QUICK, REPO, api_of, make_dist
from tests.loading.format1 import downgrade
from tests.loopback import LoopbackHub


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dist = make_dist(tmp_path_factory.mktemp("check") / "dist", range(1, 9), card=False)
    return make_dist(dist, [20, 21], config="sa_000001", shards=1)


def problems(hub: LoopbackHub, *configs: str, deep: bool = False, **options: str) -> list[str]:
    api = api_of(hub, **options)
    found, _ = check_repo(REPO, "main", configs or None, deep=deep, quiet=True, api=api)
    return [str(problem) for problem in found]


def shard(dist: Path) -> tuple[str, bytes]:
    path = sorted(config_folder(dist, "sa_000000").glob("*.arrow"))[0]
    return f"data/sa_000000/{path.name}", path.read_bytes()


def test_a_whole_repo_has_no_problem_and_its_shards_are_not_downloaded(
    hub: LoopbackHub, dist: Path
) -> None:
    hub.seed(REPO, dist)
    assert problems(hub) == []
    assert not hub.matching("/cdn/*.arrow")
    assert problems(hub, deep=True) == []
    assert len({r.path for r in hub.matching("/cdn/*.arrow")}) == 3


def test_another_shard_is_named_with_both_checksums(hub: LoopbackHub, dist: Path) -> None:
    hub.seed(REPO, dist)
    path, content = shard(dist)
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    hub.commit(REPO, {path: bytes(damaged)})
    (found,) = problems(hub)
    assert "sa_000000/train-00000-of-00002.arrow: expected sha256" in found
    hub.commit(REPO, {path: content[:-100]})
    (found,) = problems(hub)
    assert f"expected {len(content)} bytes, found {len(content) - 100}" in found
    hub.commit(REPO, {path: None})
    assert "found no file" in problems(hub, "sa_000000")[0]
    assert problems(hub, "sa_000001") == []


def test_a_byte_flipped_on_the_way_is_noticed_when_rows_are_read(
    hub: LoopbackHub, dist: Path
) -> None:
    hub.seed(REPO, dist)
    hub.fault("flip", path="/cdn/*train-00001-of-00002.arrow", after=4000)
    assert problems(hub) == []
    (found,) = problems(hub, deep=True)
    assert found.startswith("sa_000000/train-00001-of-00002.arrow: expected sha256")


def test_what_the_card_and_the_folder_say_is_checked(hub: LoopbackHub, dist: Path) -> None:
    hub.seed(REPO, dist)
    card = (dist / "README.md").read_text()
    _, content = shard(dist)
    other = "data/sa_000000/train-extra.arrow"
    hub.commit(
        REPO,
        {
            "README.md": card.replace("data/sa_000001/train-*", "data/sa_000002/train-*").encode(),
            other: content,
            "data/sa_000000/rejects.jsonl": b"{}\n",
            "ASAM-Datasets.py": b"pass",
            "data/sa_000001/test-00000-of-00001.parquet": b"PAR1",
        },
    )
    again = "publish it again"
    assert problems(hub) == [
        f"sa_000001/README.md: the card's entries for it are absent or have changed; {again}",
        "ASAM-Datasets.py: load_dataset takes it for the script of the repo, and datasets "
        "4 refuses it",
        "Arrow and Parquet shards: the repo must have one format",
        "sa_000000/rejects.jsonl: it is not the one that the index names",
        "sa_000000/train-extra.arrow: no part of the index, but load_dataset may read it",
        "sa_000001/test-00000-of-00001.parquet: no part of the index, but load_dataset may read it",
    ]
    hub.commit(REPO, {"README.md": b"# nothing\n"})
    found = problems(hub, "sa_000000")
    assert "sa_000000/README.md: the card's entries for it are absent" in found[1]


def flip(content: bytes) -> bytes:
    """The content with a bit in its middle flipped."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


SHARD = "train-00000-of-00001.arrow"


@pytest.mark.parametrize(
    ("path", "flipped", "missing"),
    [
        (f"data/sa_000001/{SHARD}", f"sa_000001/{SHARD}: expected sha256", "found no file"),
        ("data/sa_000001/index.json", "sa_000001/index.json: its index can't be used", "no index"),
        ("data/sa_000001/rejects.jsonl", "sa_000001/rejects.jsonl: it is not the", "no such file"),
        ("asam_datasets.py", "asam_datasets.py: expected sha256", "no such file"),
        ("assets/sa_000001.jpg", "assets/sa_000001.jpg: expected sha256", "no such file"),
        ("manifest.json", "manifest.json: it can't be used", "there is none"),
        ("README.md", "README.md: what the builder wrote in it has changed", "there is"),
    ],
)
def test_a_fault_of_any_file_of_a_repo_is_one_problem(
    hub: LoopbackHub, dist: Path, path: str, flipped: str, missing: str
) -> None:
    hub.seed(REPO, dist)
    whole = hub.read(REPO, path)
    for change, message in ((flip(whole or b" "), flipped), (None, missing)):
        hub.commit(REPO, {path: change})
        (found,) = problems(hub)
        assert message in found
    hub.commit(REPO, {path: whole})
    assert problems(hub) == []


def test_files_that_are_no_part_of_a_repo_are_one_problem_each(
    hub: LoopbackHub, dist: Path
) -> None:
    hub.seed(REPO, dist)
    others = ("assets/other.jpg", "train.csv", "data/test.json", "dataset_infos.json")
    hub.commit(REPO, dict.fromkeys((*others, "notes.txt", "more/train.csv"), b"x"))
    assert sorted(line.split(": ")[0] for line in problems(hub)) == sorted(
        f"{path}" for path in others
    )


def test_a_repo_of_format_1_is_told_so(hub: LoopbackHub, dist: Path, tmp_path: Path) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    downgrade(tmp_path / "dist", "sa_000001")
    hub.seed(REPO, tmp_path / "dist")
    assert problems(hub) == ["sa_000001: its index is of format 1; publish it again"]


def test_what_cannot_be_checked_is_told(hub: LoopbackHub, dist: Path) -> None:
    with pytest.raises(HubError, match="no such dataset repo"):
        problems(hub)
    hub.commit(REPO, {"README.md": b"# empty"})
    with pytest.raises(ShardError, match="no data/<config>/index"):
        problems(hub)
    hub.seed(REPO, dist)
    with pytest.raises(ShardError, match="no config sa_000009; it holds sa_000000, sa_000001"):
        problems(hub, "sa_000009")
    with pytest.raises(HubError, match="no such revision"):
        check_repo(REPO, "absent", quiet=True, api=api_of(hub), patience=QUICK)
    path = "data/sa_000000/index.json"
    whole = hub.read(REPO, path)
    hub.commit(REPO, {path: hub.read(REPO, "data/sa_000001/index.json")})
    (found,) = problems(hub)
    assert "config: expected 'sa_000000', found 'sa_000001'" in found
    for damaged in (b"", whole[:-9], b"[]", b'{"config": "sa_000000"}', b'{"splits": {"a": 1}}'):
        hub.commit(REPO, {path: damaged})
        (found,) = problems(hub)
        assert found.startswith("sa_000000/index.json: its index can't be used: ")
        assert found.endswith("publish it again")
    hub.repo(REPO).gated = "manual"
    with pytest.raises(HubError, match="is gated"):
        problems(hub, token=hub.OTHER)
