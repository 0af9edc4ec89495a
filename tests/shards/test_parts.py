"""Parts of a run, each as another machine builds it, give the bytes of an ordinary build."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import builder.build
import builder.verify
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_command
from builder.core.layout import receipts_folder, temporary_folder
from builder.shards.part import Part
from builder.shards.state import read_plan
from tests.factory import members, write_tar

SIZE = ("--shard-size", "20000", "--workers", "1", "--quiet")


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of eight shards, with a record that can't be read and a lonely jpg; a tar of one."""
    folder = tmp_path_factory.mktemp("tars")
    files = members(range(1, 25), {3: {"image": {}}}) | {"sa_99.jpg": b"x"}
    write_tar(folder / "sa_000000.tar", files)
    write_tar(folder / "sa_000001.tar", members([1, 2]))
    return folder


def build(*arguments: object) -> int:
    return run_command(builder.build.main, [*map(str, arguments)])


def tree(dist: Path) -> dict[str, bytes]:
    """All that is published."""
    files = (p for p in dist.rglob("*") if p.is_file())
    found = {str(p.relative_to(dist)): p for p in files}
    return {name: path.read_bytes() for name, path in found.items() if name[0] != "."}


@pytest.fixture(scope="module")
def expected(tars: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    dist = tmp_path_factory.mktemp("whole")
    accept = ("--max-rejects", "1")
    assert build(tars / "sa_*.tar", "--out", dist, *SIZE, *accept) == EXIT_OK
    return tree(dist)


def test_parts_and_finish_give_the_bytes_of_a_whole_build(
    tars: Path, expected: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist, source = tmp_path / "dist", tmp_path / "tars"
    shutil.copytree(tars, source)
    for part in (3, 1):
        said = capsys.readouterr().err
        assert build(source / "sa_*.tar", "--out", dist, "--shards", f"{part}/3", *SIZE) == EXIT_OK
    said = capsys.readouterr().err
    assert "sa_000000: 3 shards of 8 in this part (0 done before)" in said
    assert "--finish" in said
    assert not any(name.endswith(("index.json", "README.md")) for name in tree(dist))
    assert build("--finish", "--out", dist) == EXIT_FAILED
    said = capsys.readouterr().err
    missing = ", ".join(f"train-0000{shard}-of-00008.arrow" for shard in (1, 4, 7))
    assert f"sa_000000: 3 of 8 shards are missing: {missing}. Run the parts" in said
    assert build(source / "sa_*.tar", "--out", dist, "--shards", "2/3", *SIZE) == EXIT_OK
    for folder in (temporary_folder(dist, "sa_000000"), dist / "data" / "sa_000000"):
        folder.mkdir(parents=True, exist_ok=True)
    (temporary_folder(dist, "sa_000000") / "train-00000-of-00008.arrow.0").write_text("of a part")
    shutil.rmtree(source)
    assert build("--finish", "--out", dist, "--max-rejects", "1") == EXIT_OK
    assert tree(dist) == expected
    assert not temporary_folder(dist, "sa_000000").exists()
    assert run_command(builder.verify.main, [str(dist), "--fast"]) == EXIT_OK
    assert build(tars / "sa_000001.tar", "--out", dist, *SIZE) == EXIT_OK
    assert "1 shard (1 done before)" in capsys.readouterr().err


def test_two_processes_may_build_the_same_part_at_the_same_time(
    tars: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "builder.build", str(tars / "sa_000000.tar"), *SIZE]
    command += ["--out", str(tmp_path), "--shards", "1/1"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, said = process.communicate()
        assert process.returncode == EXIT_OK, said
    assert build("--finish", "--out", tmp_path, "--max-rejects", "1") == EXIT_OK
    found = tree(tmp_path)
    assert all(expected[name] == data for name, data in found.items() if name.startswith("data/"))


def test_a_part_of_another_plan_is_refused(
    tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar, dist = tars / "sa_000001.tar", tmp_path / "dist"
    assert build(tar, "--out", dist, "--shards", "1/2", *SIZE) == EXIT_OK
    kept = receipts_folder(dist, "sa_000001") / "train-00000-of-00001.arrow.json"
    before = kept.read_bytes()
    capsys.readouterr()
    other = write_tar(tmp_path / "sa_000001.tar", members([1, 2]) | {"sa_9.json": b"{}"})
    assert build(other, "--out", dist, "--shards", "2/2", *SIZE) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "plan.json: the plan that is stored there is another one: " in said
    assert "plan.listed.rejects.0 was None, now {" in said
    assert "choose another --out" in said
    assert kept.read_bytes() == before
    plan = read_plan(dist, "sa_000001")
    assert plan
    assert plan.listed.rejects == ()


def test_a_receipt_of_another_plan_counts_as_missing(
    tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tar(tmp_path / "sa_000001.tar", members([1, 3]))
    for tar, dist in ((tars / "sa_000001.tar", "one"), (other, "two")):
        assert build(tar, "--out", tmp_path / dist, "--shards", "1/1", *SIZE) == EXIT_OK
    name = Path("sa_000001", "train-00000-of-00001.arrow.json")
    for path in (".receipts" / name, "data" / name.with_suffix("")):
        shutil.copy(tmp_path / "two" / path, tmp_path / "one" / path)
    assert build("--finish", "--out", tmp_path / "one") == EXIT_FAILED
    assert "train-00000-of-00001.arrow (it was built from another plan)" in capsys.readouterr().err
    (tmp_path / "two" / "data" / name.with_suffix("")).unlink()
    assert build("--finish", "--out", tmp_path / "two") == EXIT_FAILED
    assert "train-00000-of-00001.arrow (expected " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.tar", "--shards", "1/2", "--no-resume"], "choose another --out"),
        (["x.tar", "--shards", "1/2", "--caption-model", "asam"], "caption first"),
        (["x.tar", "--shards", "1/2", "--finish"], "give one of them"),
        (["x.tar", "--finish"], "--finish takes no SOURCE"),
        (["--finish", "--captions", "x"], "--finish takes no --captions"),
    ],
)
def test_options_that_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert build(*arguments, "--out", tmp_path / "dist") == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_finish_needs_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build("--finish", "--out", tmp_path) == EXIT_FAILED
    assert "no part of a config was built there" in capsys.readouterr().err
    assert build("--finish", "--out", tmp_path, "--config", "sa_1") == EXIT_FAILED
    assert "no part of sa_1 was started" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "1/9999999999"])
def test_what_is_no_part_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        builder.build.main(["x.tar", f"--shards={text}"])
    assert f"{text!r} is not a part K/N such as 3/64" in capsys.readouterr().err


def test_each_shard_is_in_one_part_and_the_parts_are_even() -> None:
    sources = [64, 1, 1, 1, 64, 8]
    shards = [(n, i) for n, count in enumerate(sources) for i in range(count)]
    for of in (1, 2, 3, 10):
        parts = [Part(number, of) for number in range(1, of + 1)]
        dealt = Counter(
            part.number for (n, i), part in itertools.product(shards, parts) if part.has(n + i)
        )
        assert sum(dealt.values()) == len(shards)
        assert max(dealt.values()) - min(dealt.values()) <= len(sources)
