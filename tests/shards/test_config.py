"""A config is built atomically, resumes, and is the same bytes however it was built."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import SettingsError, ShardError
from builder.core.files import write_json
from builder.core.layout import config_folder, index_path, receipts_folder, rejects_path
from builder.shards.build import Made
from builder.shards.built import Built
from builder.shards.config import build_config
from builder.shards.estimate import estimate_config
from builder.shards.index import read_index
from builder.shards.plan import Settings
from builder.shards.receipt import receipt_path
from builder.shards.state import state_path
from builder.sources.sa1b import Sa1bSource, open_sources
from tests.factory import Record, members, write_folder, write_tar
from tests.loading.format1 import downgrade

SHARD_SIZE = 20_000


def source_of(path: Path, **kwargs: Any) -> Sa1bSource:
    (source,) = open_sources([str(path)])
    return Sa1bSource(source.archive, source.config, **kwargs)


def build(
    path: Path, dist: Path, fmt: str = "arrow", size: int = SHARD_SIZE, **kwargs: Any
) -> Built:
    source = source_of(path)
    return build_config(source, dist, Settings(fmt, size), quiet=True, **kwargs)


def tree(dist: Path, config: str = "sa_000000") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(config_folder(dist, config).glob("*"))}


def test_what_a_killed_run_left_unfinished_goes(tar: Path, tmp_path: Path) -> None:
    build(tar, tmp_path)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder in (config_folder(tmp_path, "sa_000000"), receipts_folder(tmp_path, "sa_000000")):
        (folder / ".index.json.4711.tmp").write_bytes(b"{")
    build(tar, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    broken: dict[int, Record] = {3: {"image": {}}}
    return write_tar(folder / "sa_000000.tar", members(range(1, 25), broken))


@pytest.fixture(scope="module")
def expected(tar: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    dist = tmp_path_factory.mktemp("expected")
    built = build(tar, dist)
    assert built.index.counts.images == 23
    assert built.index.counts.rejects == {"missing_key": 1}
    assert len(tree(dist)) == 8 + 2
    return tree(dist)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_do_not_depend_on_the_workers(
    tar: Path, expected: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    build(tar, tmp_path / "dist", workers=workers)
    assert tree(tmp_path / "dist") == expected
    assert not any((tmp_path / "dist" / ".tmp").rglob("*.arrow*"))


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_second_run_builds_only_what_is_missing(tar: Path, tmp_path: Path, fmt: str) -> None:
    built = build(tar, tmp_path, fmt)
    before = tree(tmp_path)
    shards = built.index.shards
    folder = config_folder(tmp_path, "sa_000000")
    (folder / shards[1].file).unlink()
    (folder / shards[2].file).write_bytes(b"cut")
    damaged = bytearray((folder / shards[3].file).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / shards[3].file).write_bytes(damaged)
    (receipts_folder(tmp_path, "sa_000000") / (shards[4].file + ".json")).write_text("{")
    again = build(tar, tmp_path, fmt)
    assert again.reused == len(shards) - 4
    assert tree(tmp_path) == before


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    tar: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "builder.build", str(tar), "--out", str(tmp_path / "dist")]
    command += ["--shard-size", str(SHARD_SIZE), "--workers", "2", "--quiet"]
    receipts = receipts_folder(tmp_path / "dist", "sa_000000")
    for shards, alone in ((1, True), (4, False)):  # campaigns.kills does hundreds
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        while len(list(receipts.glob("train-*"))) < shards:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
        if alone:
            process.kill()  # its workers must not outlive it
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = tree(tmp_path / "dist")
        assert {name: data for name, data in found.items() if data != expected[name]} == {}
    subprocess.run(command, check=True, capture_output=True)
    assert tree(tmp_path / "dist") == expected


def test_ctrl_c_ends_with_status_130_and_leaves_no_half_shard(tar: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "builder.build", str(tar), "--out", str(tmp_path / "dist")]
    command += ["--shard-size", str(SHARD_SIZE), "--workers", "2", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "dist" / ".receipts").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "dist" / ".tmp").rglob("*.arrow*"))


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"size": 30_000}, "shard_size was 20000, now 30000"),
        ({"fmt": "parquet"}, "format was arrow"),
    ],
)
def test_a_dist_of_other_settings_is_refused(
    tar: Path, tmp_path: Path, kwargs: dict[str, Any], named: str
) -> None:
    build(tar, tmp_path)
    before = tree(tmp_path)
    with pytest.raises(SettingsError, match=rf"{named}.*--no-resume"):
        build(tar, tmp_path, **kwargs)
    assert tree(tmp_path) == before
    built = build(tar, tmp_path, resume=False, **kwargs)
    assert built.reused == 0
    shards = built.index.shards
    on_disk = {n for n in tree(tmp_path) if n.startswith("train-")}
    assert on_disk == {shard.file for shard in shards}


def age(dist: Path, config: str = "sa_000000") -> None:
    """Turn a build into one of format 1."""
    downgrade(dist, config)
    for path in receipts_folder(dist, config).iterdir():
        path.write_text('{"file": "train-00000-of-00008.arrow", "entry": {}}')
    state = {"settings": read_index(dist, config).settings, "source": {}}
    state["source"] = dict(read_index(dist, config).source)
    state["settings"] = {**state["settings"], "row_version": 1, "encoders": {"isal": "1"}}
    write_json(receipts_folder(dist, config) / "plan.json", state)


def test_a_build_of_format_1_is_built_again_from_the_start(
    tar: Path, expected: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tar, tmp_path)
    age(tmp_path)
    built = build(tar, tmp_path)
    assert "was built in format 1" in capsys.readouterr().err
    assert built.reused == 0
    assert tree(tmp_path) == expected
    assert build(tar, tmp_path).reused == 8


def test_shards_of_another_encoder_of_pngs_are_not_kept(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.masks.tables.PNG_VERSION", "older")
    build(tar, tmp_path)
    monkeypatch.undo()
    with pytest.raises(SettingsError, match=r"encoders.png was older, now steps-1"):
        build(tar, tmp_path)


def test_a_build_of_format_1_with_other_settings_is_refused(tar: Path, tmp_path: Path) -> None:
    build(tar, tmp_path)
    age(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(SettingsError, match=r"built differently: settings.shard_size was 20000"):
        build(tar, tmp_path, size=30_000)
    assert tree(tmp_path) == before


def test_building_anew_takes_the_old_shards_away_first(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tar, tmp_path)
    source = source_of(tar)
    settings = Settings("arrow", 2 * SHARD_SIZE)

    def stopped(*_: object) -> Made:
        assert tree(tmp_path) == {}
        raise ShardError("stopped")

    monkeypatch.setattr("builder.shards.config.build_shard", stopped)
    with pytest.raises(ShardError, match="stopped"):
        build_config(source, tmp_path, settings, resume=False, quiet=True)


def test_a_second_format_in_one_dist_is_refused(tar: Path, tmp_path: Path) -> None:
    build(tar, tmp_path)
    other = write_tar(tmp_path / "sa_000001.tar", members([1]))
    with pytest.raises(SettingsError, match="must have the same format: build with --format arrow"):
        build(other, tmp_path, "parquet")


def test_a_source_that_lost_members_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([1, 2, 3]))
    build(path, tmp_path / "dist")
    write_tar(path, members([1, 2]))
    with pytest.raises(SettingsError, match=r"source\.members was 6, now 4"):
        build(path, tmp_path / "dist")


def test_a_source_whose_bytes_changed_in_place_is_built_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "sa_000000", members([1, 2, 3]))
    build(folder, tmp_path / "dist", size=2000)
    record = json.loads((folder / "sa_2.json").read_text())
    text = json.dumps(record | {"annotations": record["annotations"][::-1]})
    (folder / "sa_2.json").write_text(text)
    os.utime(folder / "sa_2.json", ns=(1, 1))
    built = build(folder, tmp_path / "dist", size=2000)
    assert built.reused == 1
    fresh = build(folder, tmp_path / "fresh", size=2000)
    assert built.index.splits == fresh.index.splits


def test_a_full_disk_leaves_no_half_shard_and_the_next_run_goes_on(
    tar: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    code = (
        "import resource, sys; from builder.build import main; from builder.core.console import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (11000, 11000));"
        "sys.exit(run_command(main))"
    )
    command = [str(tar), "--out", str(tmp_path), "--workers", "1", "--quiet"]
    command += ["--shard-size", str(SHARD_SIZE)]
    process = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert process.returncode == 1
    assert "File too large" in process.stderr
    assert "only what is missing is built" in process.stderr
    found = tree(tmp_path)
    assert all(expected[name] == data for name, data in found.items())
    assert not list((tmp_path / ".tmp").rglob("*.arrow*"))
    build(tar, tmp_path)
    assert tree(tmp_path) == expected


def test_two_builds_of_one_config_at_once_are_refused(tar: Path, tmp_path: Path) -> None:
    import filelock

    receipts_folder(tmp_path, "sa_000000").mkdir(parents=True)
    lock = filelock.FileLock(receipts_folder(tmp_path, "sa_000000").with_name(".sa_000000.lock"))
    with lock, pytest.raises(SettingsError, match="another process is building"):
        build(tar, tmp_path)


def test_a_config_may_have_the_name_of_anothers_lock(tar: Path, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    build(tar, dist)
    other = tar.with_name("sa_000000.lock.tar")
    shutil.copy(tar, other)
    assert build(other, dist).index.config == "sa_000000.lock"


def test_an_unwritable_dist_is_a_clear_error(tar: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(ShardError, match="could not be written"):
        build(tar, tmp_path)


def test_a_folder_where_a_file_will_be_is_told_before_anything_is_built(
    tar: Path, tmp_path: Path
) -> None:
    build(tar, tmp_path)
    paths = (
        index_path(tmp_path, "sa_000000"),
        rejects_path(tmp_path, "sa_000000"),
        state_path(tmp_path, "sa_000000"),
        receipt_path(tmp_path, "sa_000000", "train-00001-of-00008.arrow"),
        config_folder(tmp_path, "sa_000000") / "train-00001-of-00008.arrow",
    )
    for path in paths:
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        with pytest.raises(SettingsError, match=rf"{path.name}: expected a file or nothing there"):
            build(tar, tmp_path)
        path.rmdir()
        path.write_bytes(content)
    assert build(tar, tmp_path).reused == 8


@pytest.mark.parametrize("resume", [True, False])
def test_nothing_is_removed_behind_a_link_or_that_is_no_shard(
    tar: Path, tmp_path: Path, resume: bool
) -> None:
    victim, dist = tmp_path / "victim", tmp_path / "dist"
    victim.mkdir()
    for name in ("work.arrow", "train-00000-of-00099.arrow", ".x.1.tmp"):
        (victim / name).write_bytes(b"kept")
    (dist / "data").mkdir(parents=True)
    folder = config_folder(dist, "sa_000000")
    folder.symlink_to(victim)
    with pytest.raises(
        SettingsError, match=r"sa_000000: expected a folder, found a link to .*victim"
    ):
        build(tar, dist, resume=resume)
    assert {path.read_bytes() for path in victim.iterdir()} == {b"kept"}
    assert len(list(victim.iterdir())) == 3
    folder.unlink()
    build(tar, dist)
    shutil.copytree(victim, folder, dirs_exist_ok=True)
    build(tar, dist)
    assert (folder / "work.arrow").exists()
    assert not (folder / "train-00000-of-00099.arrow").exists()


def test_a_build_state_that_is_nested_without_end_is_told(tar: Path, tmp_path: Path) -> None:
    build(tar, tmp_path, size=10**9)
    state = state_path(tmp_path, "sa_000000")
    state.write_bytes(b'{"settings":' + b'{"a":' * 900 + b"1" + b"}" * 901)
    assert build(tar, tmp_path, size=10**9).reused == 1  # by its index
    index_path(tmp_path, "sa_000000").unlink()
    state.write_bytes(b'{"settings":' + b'{"a":' * 900 + b"1" + b"}" * 901)
    with pytest.raises(SettingsError, match="there is no readable record of how it was built"):
        build(tar, tmp_path, size=10**9)


def test_the_estimate_is_close_and_writes_nothing(tar: Path, tmp_path: Path) -> None:
    source = source_of(tar)
    settings = Settings("arrow", SHARD_SIZE)
    estimate = estimate_config(source, settings)
    assert estimate.images == 24
    assert estimate.shards == 8
    built = build(tar, tmp_path)
    assert 0.5 < estimate.masks / built.index.counts.masks < 1.5
    assert 0.3 < estimate.bytes / built.index.num_bytes < 1.5
