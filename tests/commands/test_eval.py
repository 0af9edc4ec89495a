"""The evaluation suite through the commands: listed, built from fixtures, verified, loaded."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

import builder.build
import builder.verify
from asam_datasets import EVAL_DATASETS, EVAL_FEATURES, PROTOCOLS
from builder.core.console import EXIT_FAILED, EXIT_OK, run_command
from builder.shards.index import read_index
from builder.sources.evaluation import row


def test_every_dataset_is_built_verified_and_listed(eval_dist: Path) -> None:
    assert builder.verify.main([str(eval_dist), "--quiet"]) == EXIT_OK
    names = datasets.get_dataset_config_names(str(eval_dist))
    assert sorted(names) == sorted(EVAL_DATASETS)


def test_every_dataset_streams_with_one_schema_alone_and_interleaved(eval_dist: Path) -> None:
    streams = []
    for name in EVAL_DATASETS:
        index = read_index(eval_dist, name)
        for split, described in index.splits.items():
            stream = datasets.load_dataset(str(eval_dist), name, split=split, streaming=True)
            rows = list(stream.decode(False))
            assert len(rows) == described.num_rows > 0, name
            assert list(rows[0]) == list(EVAL_FEATURES)
        streams.append(stream)
    mixed = datasets.interleave_datasets(streams, stopping_strategy="all_exhausted")
    sources = {row["source"] for row in mixed.decode(False).take(len(streams))}
    assert len(sources) == len(streams)


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if p != "native"])
def test_the_other_protocols_are_configs_of_their_own(tmp_path: Path, protocol: str) -> None:
    arguments = ["--eval-fixtures", "--protocol", protocol, "--out", str(tmp_path), "--quiet"]
    assert builder.build.main(arguments) == EXIT_OK
    found = {path.parent.name for path in tmp_path.glob("data/*/index.json")}
    names = {name for name in EVAL_DATASETS if protocol in row(name).protocols}
    assert len(names) >= 23
    assert found == {f"{name}_{protocol}" for name in names}


def test_the_list_is_for_people_and_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.build.main(["--list-eval", "--json"]) == EXIT_OK
    listed = json.loads(capsys.readouterr().out)
    assert {entry["name"] for entry in listed} == set(EVAL_DATASETS)
    assert builder.build.main(["--list-eval"]) == EXIT_OK
    text = capsys.readouterr().out
    assert all(f"\n{name}: " in f"\n{text}" for name in EVAL_DATASETS)


def test_the_folder_of_another_dataset_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "readme.txt").write_text("x")
    arguments = ["--eval", "camo", "--source", str(tmp_path / "release")]
    status = run_command(builder.build.main, [*arguments, "--out", str(tmp_path / "dist")])
    assert status == EXIT_FAILED
    message = capsys.readouterr().err
    assert "expected" in message
    assert "readme.txt" in message
