"""`builder.build` and `builder.verify` from their arguments to what they write and say.

They run in this process, where a process of their own is not what the test is about. Those are in
test_readme.py and test_package.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import datasets
import pytest

import builder.build
import builder.verify
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_command
from tests.factory import members, record, write_folder, write_tar
from tests.loopback import LoopbackHub


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command by its module, with its arguments."""

    def call(module: ModuleType, *args: object) -> Said:
        capsys.readouterr()
        status = run_command(module.main, [*map(str, args)])
        return Said(status, *capsys.readouterr())

    return call


def test_the_sample_is_verified(sample_dist: Path, run: Run) -> None:
    done = run(builder.verify, sample_dist, "--workers", 1, "--json")
    assert done.returncode == EXIT_OK, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"shards": 1, "problems": []}


@pytest.mark.parametrize("streaming", [False, True])
def test_load_dataset_reads_the_sample(sample_dist: Path, tmp_path: Path, streaming: bool) -> None:
    loaded = datasets.load_dataset(
        str(sample_dist), "sa_000000", split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    row = next(iter(loaded))
    assert row["image"].size == (row["width"], row["height"])
    assert row["conditioning_image"].mode == "RGB"
    assert row["conditioning_image"].size == row["image"].size
    assert len(row["masks"]) == len(row["annotations"]) >= 60
    assert isinstance(row["masks"][0]["bytes"], bytes)
    assert row["text"]
    assert list(row)[:3] == ["image", "text", "conditioning_image"]


def test_every_row_read_back_equals_the_source(tmp_path: Path, run: Run) -> None:
    files = members(range(1, 6))
    write_tar(tmp_path / "sa_000000.tar", files)
    captions = tmp_path / "captions.json"
    captions.write_text('{"img": "sa_2.jpg", "prompt": " two "}\n{"img": "sa_9.jpg"}\n')
    dist = tmp_path / "dist"
    args = ("--captions", captions, "--max-rejects", 1, "--json")
    done = run(builder.build, tmp_path / "sa_000000.tar", "--out", dist, *args)
    assert done.returncode == EXIT_OK, done.stderr
    (summary,) = json.loads(done.stdout)
    assert summary["counts"]["captions_missing"] == 4
    assert summary["counts"]["rejects"] == {"captions_broken_line": 1}
    loaded = datasets.load_dataset(
        str(dist), "sa_000000", split="train", cache_dir=str(tmp_path / "cache")
    )
    rows = list(loaded.cast_column("image", datasets.Image(decode=False)))
    assert len(rows) == 5
    for row in rows:
        source = json.loads(files[f"sa_{row['image_id']}.json"])
        assert row["annotations"] == source["annotations"]
        assert row["image"]["bytes"] == files[f"sa_{row['image_id']}.jpg"]
        assert row["text"] == ("two" if row["image_id"] == 2 else None)


def test_parquet_loads_too(tmp_path: Path, run: Run) -> None:
    write_folder(tmp_path / "sa_000007", members([1, 2]))
    dist = tmp_path / "dist"
    done = run(builder.build, tmp_path / "sa_000007", "--format", "parquet", "--out", dist)
    assert done.returncode == EXIT_OK, done.stderr
    assert run(builder.verify, dist).returncode == EXIT_OK
    loaded = datasets.load_dataset(str(dist), "sa_000007", cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 2


def test_annotations_only_leaves_the_pixels_out(tmp_path: Path, run: Run) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]))
    dist = tmp_path / "dist"
    assert run(builder.build, tar, "--annotations-only", "--out", dist).returncode == EXIT_OK
    assert run(builder.verify, dist).returncode == EXIT_OK
    row = datasets.load_dataset(str(dist), cache_dir=str(tmp_path / "cache"))["train"][0]
    assert row["image"] is None
    assert len(row["image_sha256"]) == 64


@pytest.mark.parametrize("kind", ["hf", "http", "http with faults"])
def test_a_tar_behind_a_url_gives_the_same_shards(
    tmp_path: Path, hub: LoopbackHub, kind: str, run: Run
) -> None:
    tar = write_tar(tmp_path / "tars" / "sa_000000.tar", members(range(1, 5)))
    hub.seed("xhk/tars", tar.parent)
    url = {
        "hf": "hf://datasets/xhk/tars/sa_000000.tar",
        "http": f"{hub.endpoint}/datasets/xhk/tars/resolve/main/sa_000000.tar",
    }[kind.split()[0]]
    faults = [
        hub.fault("status", method="GET", path="*sa_000000.tar", skip=skip)
        for skip in (0, 4, 8)
        if "faults" in kind
    ]
    run(builder.build, tar, "--out", tmp_path / "local")
    if kind == "hf":  # where HF_ENDPOINT points is read on import
        command = [sys.executable, "-m", "builder.build", url, "--out", str(tmp_path / "remote")]
        env = hub.env(tmp_path / "home") | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
        subprocess.run(command, capture_output=True, check=True, env=env)
        assert len(list((tmp_path / "assets").rglob("*.table"))) == 1  # it is not listed again
    else:
        assert run(builder.build, url, "--out", tmp_path / "remote").returncode == EXIT_OK
    local, remote = (
        next((tmp_path / name).rglob("*.arrow")).read_bytes() for name in ("local", "remote")
    )
    assert remote == local
    assert all(fault.hits for fault in faults)


def test_names_that_no_encoding_holds_are_rejected_like_others(tmp_path: Path, run: Run) -> None:
    """The command has a process of its own, because Python's stderr is what shows such a name."""
    _, value = record(1)
    value["annotations"][0]["id"] = "\ud800"
    value["annotations"][1]["\udfff"] = 1
    files = members([1], {1: value}) | {"/\udcff.jpg": b"", "\udcfe.txt": b""}
    tar = write_tar(tmp_path / "sa_000000.tar", files)
    command = [sys.executable, "-m", "builder.build", str(tar), "--json", "--max-rejects", "1"]
    command += ["--out", str(tmp_path / "dist")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == EXIT_OK, done.stderr
    (summary,) = json.loads(done.stdout)
    assert summary["counts"]["rejects"] == {"unsafe_member_name": 1, "wrong_type": 1}
    assert summary["counts"]["unknown_keys"] == {"annotations[].\udfff": 1}
    rejects = (tmp_path / "dist" / "data" / "sa_000000" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["member"] for line in rejects] == ["/\udcff.jpg", "sa_1.json"]
    assert run(builder.verify, tmp_path / "dist").returncode == EXIT_OK


def test_a_bad_source_does_not_stop_the_others(tmp_path: Path, run: Run) -> None:
    good = write_tar(tmp_path / "sa_000000.tar", members([1]))
    bad = tmp_path / "sa_000001.tar"
    bad.write_bytes(good.read_bytes()[:3000])
    done = run(builder.build, good, bad, "--out", tmp_path / "dist")
    assert done.returncode == EXIT_FAILED
    assert "error: sa_000001" in done.stderr
    assert "1 of 2 sources failed" in done.stderr
    loaded = datasets.load_dataset(
        str(tmp_path / "dist"), "sa_000000", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["train"].num_rows == 1


def test_verify_names_the_shard_and_fails(tmp_path: Path, run: Run) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]))
    dist = tmp_path / "dist"
    run(builder.build, tar, "--out", dist)
    (shard,) = dist.rglob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:-1])
    done = run(builder.verify, dist, "--fast")
    assert done.returncode == EXIT_FAILED
    assert "train-00000-of-00001.arrow: expected" in done.stdout


def test_ids_that_are_not_there_are_listed(tmp_path: Path, run: Run) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    (tmp_path / "ids.txt").write_text("2\n77\n")
    done = run(builder.build, tar, "--image-ids", tmp_path / "ids.txt", "--out", tmp_path / "dist")
    assert done.returncode == EXIT_OK
    assert "not found: 1 of 2 image ids asked for: 77" in done.stderr
    assert "1 image, " in done.stderr


def test_a_source_of_which_nothing_can_be_used_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = members([1])
    tars = [
        write_tar(tmp_path / "sa_000000.tar", good),
        write_tar(tmp_path / "sa_000001.tar", good | {"sa_1.json": b"{}"}),
    ]
    args = ["--out", str(tmp_path / "dist"), "--json"]
    assert run_command(builder.build.main, [*map(str, tars), *args]) == EXIT_FAILED
    said = capsys.readouterr()
    assert [entry["counts"]["images"] for entry in json.loads(said.out)] == [1, 0]
    assert "error: sa_000001: no image could be used\n  1 x missing_key: expected" in said.err
    assert "1 of 2 sources failed; the others are built" in said.err
    (tmp_path / "ids.txt").write_text("77\n")
    ids = ["--image-ids", str(tmp_path / "ids.txt"), "--out", str(tmp_path / "none")]
    assert run_command(builder.build.main, [str(tars[0]), *ids]) == EXIT_FAILED
    assert "it holds none of the 1 image ids asked for (77)" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    dist = tmp_path / "dist"
    assert builder.build.main([str(tar), "--dry-run", "--json", "--out", str(dist)]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)[0]["masks"] == 6
    assert builder.build.main([str(tar), "--dry-run", "--out", str(dist)]) == EXIT_OK
    assert "2 images, about 6 masks, 1 arrow shard, " in capsys.readouterr().out
    assert not dist.exists()


@pytest.mark.parametrize("option", ["--config", "--captions", "--image-ids", "--caption-model"])
def test_an_option_that_an_evaluation_set_would_ignore_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--eval-fixtures", option, "mine", "--out", str(tmp_path / "dist")]
    assert run_command(builder.build.main, args) == EXIT_USAGE
    assert f"error: {option} is for SA-1B's tars and folders" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("size", ["x", "0", "-5M", ""])
def test_a_shard_size_that_is_none_is_a_usage_error(size: str) -> None:
    with pytest.raises(SystemExit):
        builder.build.main(["a.tar", f"--shard-size={size}"])


def test_a_record_of_five_thousand_masks_fits(tmp_path: Path, run: Run) -> None:
    jpg, value = record(1, count=1)
    value["annotations"] = [value["annotations"][0] | {"id": i} for i in range(5000)]
    tar = write_tar(
        tmp_path / "sa_000000.tar", {"sa_1.jpg": jpg, "sa_1.json": json.dumps(value).encode()}
    )
    done = run(builder.build, tar, "--out", tmp_path / "dist")
    assert done.returncode == EXIT_OK, done.stderr
    assert "5,000 masks" in done.stderr
