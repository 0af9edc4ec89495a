"""The ControlNet example: resumes to the row, shares rows among ranks, leaves null captions out."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from asam_datasets import decode_control, load
from builder.core.console import run_command
from tests.examples.conftest import built, start
from tests.factory import members, write_tar

pytest.importorskip("diffusers")

from examples import train_controlnet as example

ROWS = 12
SMALL = ["--resolution", "32", "--batch-size", "2", "--save-every", "1", "--quiet"]


def options(dist: Path, out: Path, steps: int, *more: str) -> list[str]:
    return ["--data", str(dist), "--out", str(out), "--steps", str(steps), *SMALL, *more]


def read_log(out: Path, rank: int = 0) -> dict[int, dict[str, Any]]:
    """The log by step; where a killed run's step was made again, the later line counts."""
    lines = (out / f"log-{rank}.jsonl").read_text().splitlines()
    return {entry["step"]: entry for entry in map(json.loads, lines)}


def rows_of(log: dict[int, dict[str, Any]], epoch: int) -> Counter[int]:
    return Counter(i for e in log.values() if e["epoch"] == epoch for i in e["image_ids"])


def test_a_killed_run_goes_on_as_if_nothing_had_been(small_dist: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start("examples/train_controlnet.py", *options(small_dist, killed, 10_000))
    deadline = time.monotonic() + 300
    while not (killed / "checkpoint.pt").exists() or len(read_log(killed)) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    steps = len(read_log(killed)) + 5  # into the next epoch
    assert example.main(options(small_dist, killed, steps)) == 0
    assert example.main(options(small_dist, whole, steps)) == 0

    expected, found = read_log(whole), read_log(killed)
    assert found == expected
    assert rows_of(found, epoch=0) == Counter(range(1, ROWS + 1))
    assert (killed / "controlnet" / "config.json").exists()


def test_ranks_share_the_rows(small_dist: Path, tmp_path: Path) -> None:
    """As torchrun starts them, but forked from this process, which has imported everything."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,
    )
    ranks = elastic_launch(config, example.main)
    assert ranks(options(small_dist, tmp_path, 5, "--workers", "1")) == {0: 0, 1: 0}
    logs = [read_log(tmp_path, rank) for rank in (0, 1)]
    seen = rows_of(logs[0], 0) + rows_of(logs[1], 0)
    assert seen == Counter(range(1, ROWS + 1))
    assert [e["loss"] for e in logs[0].values()] == [e["loss"] for e in logs[1].values()]


def test_other_settings_are_refused(
    small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(options(small_dist, tmp_path, 1, "--workers", "0")) == 0
    other = options(small_dist, tmp_path, 2, "--workers", "0", "--seed", "1")
    assert run_command(example.main, other) == 1
    assert "seed 0 (now 1)" in capsys.readouterr().err


@pytest.fixture
def partly_captioned(tmp_path: Path) -> Path:
    """A dist where only four of twelve images have a caption."""
    tar = write_tar(tmp_path / "sa_000000.tar", members(range(1, 13)))
    lines = [json.dumps({"img": f"sa_{i}.jpg", "prompt": f"picture {i}"}) for i in range(1, 5)]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return built(tmp_path / "dist", str(tar), "--captions", str(tmp_path / "captions.jsonl"))


def test_rows_without_a_caption_are_left_out(partly_captioned: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "captioned"
    assert example.main(options(partly_captioned, out, 2, "--workers", "0")) == 0
    assert sum(rows_of(read_log(out), 0).values()) == 4

    command = options(partly_captioned, out, 1, "--captioned", str(folder))
    assert example.main(command) == 0
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(str(folder), cache_dir=cache)["train"]
    assert len(rows) == 4
    assert all(isinstance(text, str) for text in rows["text"])
    assert rows[0]["image"].size == rows[0]["conditioning_image"].size


def test_the_sample_trains_at_its_full_size(sample_dist: Path, tmp_path: Path) -> None:
    command = ["--data", str(sample_dist), "--out", str(tmp_path), "--steps", "1", "--workers", "1"]
    assert example.main([*command, "--batch-size", "2", "--quiet"]) == 0
    assert len(read_log(tmp_path)[1]["image_ids"]) == 2


def test_the_first_three_columns_are_what_diffusers_takes_by_position(
    small_dist: Path, tmp_path: Path
) -> None:
    rows = datasets.load_dataset(str(small_dist), "sa_000000", cache_dir=str(tmp_path))["train"]
    assert rows.column_names[:3] == ["image", "text", "conditioning_image"]


def test_a_control_image_has_only_the_colours_of_masks(small_dist: Path, tmp_path: Path) -> None:
    """Bilinear scaling makes colours that `decode_control` refuses."""
    args = example.parser().parse_args(options(small_dist, tmp_path, 1))
    stream = example.open_stream(args, 0, example.Ranks(0, 1, torch.device("cpu")))
    batch = next(iter(example.Batches(stream, 3, {}, 0)))
    assert batch is not None
    assert batch.image.shape == batch.control.shape == (3, 3, 32, 32)
    by_id = {row["image_id"]: row for row in load("sa_000000", repo_or_path=small_dist)}
    for image_id, control in zip(batch.image_ids, batch.control, strict=True):
        pixels = (control * 255).round().byte().permute(1, 2, 0).numpy()
        shown = decode_control(pixels, by_id[image_id]["annotations"])
        assert (shown >= 0).any()
