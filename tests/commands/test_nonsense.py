"""Rows whose values are nonsense, in shards whose checksums are right: preview and export tell."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import builder.export
import builder.preview
from asam_datasets import EVAL_FEATURES, TRAIN_FEATURES
from builder.checking.rows import read_rows
from builder.core.console import EXIT_FAILED, EXIT_OK, run_command
from tests.loading.conftest import Row, write_config
from tests.previewing.configs import build_evaluation, build_train

FEATURES = {"train": TRAIN_FEATURES, "eval": EVAL_FEATURES}
CONFIG = {"train": "sa_000000", "eval": "ade20k"}


def put(*keys: str | int, value: Any) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        holder: Any = row
        for key in keys[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and keys[-1] not in holder:
            raise KeyError(keys[-1])
        holder[keys[-1]] = value

    return change


def one(key: str, value: Any) -> Callable[[Row], None]:
    """Set a field of the row's first annotation."""
    return put("annotations", 0, key, value=value)


# What the error names, and the change.
REFUSED = [
    ("width: expected at least 1, found 0", put("width", value=0)),
    ("height: expected at least 1, found -5", put("height", value=-5)),
    ("annotations[].area: expected at least 0, found -1", one("area", -1)),
    ("annotations[].bbox: expected 4 finite", one("bbox", [0.0, 0.0, math.nan, 1.0])),
    ("annotations[].bbox: expected 4 finite", one("bbox", [0.0, 0.0, math.inf, 1.0])),
    ("annotations[].bbox: expected 4 finite", one("bbox", [0.0, 0.0, -3.0, 1.0])),
    ("annotations[].bbox: expected 4 finite", one("bbox", [0.0, 0.0, 1.0])),
    ("annotations[].segmentation: 1 of ", one("segmentation", None)),
    (
        "annotations[].segmentation.size[]: expected at least 1",
        one("segmentation", {"size": [0, 9], "counts": "1"}),
    ),
    ("masks", put("masks", 0, value=None)),
]
# These are an error of the command's own, or a finding, or harmless.
ODD = [
    put("width", value=2**31 - 1),
    put("num_rejected", value=-1),
    put("file_name", value="a\0b"),
    put("file_name", value=""),
    put("image", value=None),
    put("image", value={"bytes": b"", "path": None}),
    put("conditioning_image", value=None),
    put("conditioning_image", value={"bytes": b"\x89PNG", "path": None}),
    put("masks", value=[]),
    put("masks", 0, value={"bytes": b"", "path": None}),
    put("annotations", value=[]),
    one("area", 2**62),
    one("bbox", [1e300, 1e300, 1e300, 1e300]),
    one("bbox", [0.0, 0.0, 0.0, 0.0]),
    one("segmentation", {"size": [], "counts": ""}),
    one("segmentation", {"size": [1, 1, 1], "counts": "1"}),
    one("segmentation", {"size": [2**31 - 1, 2**31 - 1], "counts": "1"}),
    one("segmentation", {"size": [64, 96], "counts": "~"}),
    one("point_coords", [[]]),
    one("crop_box", []),
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    found = {}
    for kind, build in (("train", build_train), ("eval", build_evaluation)):
        dist = build(tmp_path_factory.mktemp(kind))
        shards = sorted((dist / "data").glob("*/*.arrow"))
        found[kind] = [row for path in shards for row in read_rows(path, "arrow")][:2]
    return found


def hostile(folder: Path, kind: str, rows: list[Row], change: Callable[[Row], None]) -> Path:
    """A dist whose last row is changed."""
    few = copy.deepcopy(rows)
    change(few[-1])
    splits = {"train": [few]}
    dist = write_config(folder, CONFIG[kind], splits, kind=kind, features=FEATURES[kind])
    (dist / f"data/{CONFIG[kind]}/rejects.jsonl").write_bytes(b"")
    return dist


COMMANDS: list[tuple[ModuleType, str]] = [
    (builder.preview, "{dist} {config} --out {out} --quiet"),
    (builder.export, "{config} --from {dist} --out {out} --quiet --missing-captions empty"),
]


@pytest.mark.parametrize("kind", ["train", "eval"])
@pytest.mark.parametrize(("command", "line"), COMMANDS, ids=["preview", "export"])
@pytest.mark.parametrize(("said", "change"), REFUSED)
def test_nonsense_is_one_line_that_names_the_field(
    rows: dict[str, list[Row]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    said: str,
    change: Callable[[Row], None],
    command: ModuleType,
    line: str,
    kind: str,
) -> None:
    dist = hostile(tmp_path / "dist", kind, rows[kind], change)
    argv = line.format(dist=dist, config=CONFIG[kind], out=tmp_path / "out").split()
    if said == "masks" and command is builder.preview:
        return  # it does not read the PNGs
    assert run_command(command.main, argv) == EXIT_FAILED
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert said in error


def odd_rows(row: Row) -> list[Row]:
    """A row for each odd value that this kind of row can have."""
    found = []
    for number, change in enumerate(ODD):
        changed = copy.deepcopy(row) | {"file_name": f"{number}.jpg"}
        try:
            change(changed)
        except KeyError:
            continue
        found.append(changed)
    return found


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_odd_values_are_exported_or_one_error(
    rows: dict[str, list[Row]], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    for number, row in enumerate(odd_rows(rows[kind][0])):
        out = tmp_path / str(number)
        dist = hostile(out / "dist", kind, [row], lambda row: None)
        argv = [CONFIG[kind], "--from", str(dist), "--out", str(out / "tree"), "--quiet"]
        status = run_command(builder.export.main, [*argv, "--missing-captions", "empty"])
        said = capsys.readouterr().err
        assert (status, said) == (EXIT_OK, "") or (
            status == EXIT_FAILED and said.startswith("error: ") and said.count("\n") == 1
        ), row


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_odd_values_are_drawn_or_findings(
    rows: dict[str, list[Row]], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    dist = hostile(tmp_path / "dist", kind, odd_rows(rows[kind][0]), lambda row: None)
    argv = [str(dist), CONFIG[kind], "--out", str(tmp_path), "--quiet", "--rows", str(len(ODD))]
    assert run_command(builder.preview.main, argv) == EXIT_FAILED
    said = capsys.readouterr().out
    assert "pixels, the row says (2147483647, " in said
    assert "image: does not decode" in said
    assert (tmp_path / "index.html").exists()


def test_a_config_without_splits_is_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = write_config(tmp_path / "dist", "sa_000000", {})
    argv = ["sa_000000", "--from", str(dist), "--out", str(tmp_path / "out")]
    assert run_command(builder.export.main, argv) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("error: sa_000000 holds no image, so there is noth")
    assert not list((tmp_path / "out").glob("sa_*"))
