"""The file names and the scores of rows, which verify checks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import builder.export
import builder.verify
from builder.checking.names import wrong_name
from builder.checking.rows import read_rows
from builder.core.console import EXIT_FAILED, run_command
from tests.loading.conftest import write_config
from tests.previewing.configs import build_train

Row = dict[str, Any]
CONFIG = "sa_000000"


@pytest.mark.parametrize(
    "name",
    [
        *("../../x.jpg", "sa_1.jpg\n", "sa_1.jpg.jpg", "sa_2.jpg", "/sa_1.jpg", "sa_1.png"),
        f"sa_{'1' * 300}.jpg",
    ],
)
def test_a_name_that_is_not_that_of_the_image_is_found(name: str) -> None:
    row = {"file_name": name, "image_id": 1}
    wrong = wrong_name(row, train=True)
    assert wrong is not None
    assert wrong.startswith("file_name: expected sa_1.jpg, found '")
    assert wrong_name({"file_name": "sa_1.jpg", "image_id": 1}, train=True) is None


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a.jpg", True),
        ("seq/0001.png", True),
        ("été 1.png", True),
        ("../a.jpg", False),
        ("a/../../b.jpg", False),
        ("/a.jpg", False),
        ("a//b.jpg", False),
        ("a\\b.jpg", False),
        ("a\nb.jpg", False),
        ("", False),
        (".", False),
        ("é" * 150 + ".jpg", False),
        ("a/" * 600 + "b.jpg", False),
    ],
)
def test_a_name_of_an_evaluation_set_is_a_plain_path(name: str, good: bool) -> None:
    assert (wrong_name({"file_name": name, "image_id": "1"}, train=False) is None) == good


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Row:
    dist = build_train(tmp_path_factory.mktemp("train"))
    return next(read_rows(min((dist / "data").glob("*/*.arrow")), "arrow"))


def put(key: str, value: Any) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[1]["annotations"][0][key] = value

    return change


def named(name: str) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[1]["file_name"] = name

    return change


def repeated(rows: list[Row]) -> None:
    rows[1] = copy.deepcopy(rows[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("predicted_iou", math.nan), "annotations[].predicted_iou: expected finite numbers"),
        (put("stability_score", -math.inf), "annotations[].stability_score: expected finite"),
        (put("point_coords", [[math.nan, 1.0]]), "annotations[].point_coords[][]: expected finite"),
        (put("crop_box", [math.inf] * 4), "annotations[].crop_box[]: expected finite numbers"),
        (named("../../x.jpg"), "row 0: file_name: expected sa_7.jpg, found '../../x.jpg'"),
        (repeated, "split train: file_name: 2 rows are called 'sa_"),
    ],
)
def test_verify_names_what_is_wrong(
    row: Row,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Row]], None],
    said: str,
) -> None:
    rows = [copy.deepcopy(row), copy.deepcopy(row) | {"image_id": 7, "file_name": "sa_7.jpg"}]
    change(rows)
    shards = {"train": [[rows[0]], [rows[1]]]}
    dist = write_config(tmp_path / "dist", CONFIG, shards)
    (dist / f"data/{CONFIG}/rejects.jsonl").write_bytes(b"")
    argv = [str(dist), "--quiet", "--workers", "1"]
    assert builder.verify.main(argv) == EXIT_FAILED
    assert said in capsys.readouterr().out


def test_an_export_of_two_images_of_one_name_fails(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = write_config(tmp_path / "dist", CONFIG, {"train": [[row], [row]]})
    argv = [CONFIG, "--from", str(dist), "--out", str(tmp_path / "tree"), "--quiet"]
    for _ in range(2):  # receipts don't hide it
        status = run_command(builder.export.main, [*argv, "--missing-captions", "empty"])
        assert status == EXIT_FAILED
        assert f"2 images are called '{row['file_name']}'" in capsys.readouterr().err
        assert not list((tmp_path / "tree").glob("*.json"))
