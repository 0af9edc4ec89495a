"""An index whose counts are not those of its rows, locally and on the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from builder.hub.check import check_repo
from builder.verify import main
from tests.contracts import rewrite, set_in
from tests.hub.dists import REPO, api_of, make_dist
from tests.loopback import LoopbackHub

INDEX = Path("data/sa_000000/index.json")
FAULTS = [
    (("counts", "masks"), 7, "it states 7 masks, and the rows hold 24; build it again"),
    (("counts", "captions_missing"), 3, "it states 3 rows without a caption, and the rows hold 8"),
    (("annotations_only",), True, "it states 0 images with pixels, and the rows hold 8"),
]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("counts") / "dist")


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_counts_that_are_right_are_no_fault(tmp_path: Path, fmt: str) -> None:
    made = make_dist(tmp_path / "dist", fmt=fmt)
    assert main([str(made), "--workers", "1", "--quiet"]) == 0


@pytest.mark.parametrize(("path", "value", "message"), FAULTS)
def test_a_dist_without_receipts_is_counted(
    dist: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: tuple[str, ...],
    value: Any,
    message: str,
) -> None:
    copied = Path(shutil.copytree(dist, tmp_path / "dist"))
    shutil.rmtree(copied / ".receipts")
    rewrite(copied / INDEX, set_in(*path, value=value))
    assert main([str(copied), "--workers", "1", "--quiet"]) == 1
    assert f"sa_000000/index.json: {message}" in capsys.readouterr().out


@pytest.mark.parametrize(("path", "value", "message"), FAULTS)
def test_a_repo_is_counted_when_its_shards_are_fetched(
    hub: LoopbackHub,
    dist: Path,
    tmp_path: Path,
    path: tuple[str, ...],
    value: Any,
    message: str,
) -> None:
    copied = Path(shutil.copytree(dist, tmp_path / "dist"))
    hub.seed(REPO, copied)
    api = api_of(hub)
    assert check_repo(REPO, api=api, deep=True, quiet=True)[0] == []
    rewrite(copied / INDEX, set_in(*path, value=value))
    hub.seed(REPO, copied)
    problems = [str(problem) for problem in check_repo(REPO, api=api, deep=True, quiet=True)[0]]
    assert any(problem.startswith(f"sa_000000/index.json: {message}") for problem in problems)
