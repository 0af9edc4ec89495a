"""A config gets other captions without its tar, and is what a build with them makes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

import builder.build
from builder.captioning.store import rejects_path as captions_rejects
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Folder
from builder.core import exchange, files
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_command
from builder.core.layout import config_folder, index_path, recaption_folder, receipts_folder
from builder.shards import swap, write
from builder.shards.built import Built
from builder.shards.earlier import LISTED
from builder.shards.index import read_index
from builder.shards.recaption import RecaptionOptions, recaption_config
from builder.shards.write import ShardWriter
from builder.sources.sa1b import open_sources
from tests.contracts import rewrite, set_in
from tests.factory import jpeg, members, write_tar
from tests.hub.dists import REPO, make_dist, publish
from tests.loopback import LoopbackHub

CONFIG = "sa_000000"
SIZE = ("--shard-size", "20000", "--workers", "1", "--quiet", "--max-rejects", "1")
GO = ("--workers", "1", "--quiet", "--max-rejects", "1")
Tree = dict[str, bytes]


def build(*arguments: object) -> int:
    return run_command(builder.build.main, [*map(str, arguments)])


def recaption(captions: Path, origin: object, dist: Path, *more: object) -> int:
    chosen = ("--recaption", CONFIG, "--captions", captions, "--from", origin, "--out", dist)
    return build(*chosen, *GO, *more)


def tree(dist: Path, *, receipts: bool = True) -> Tree:
    """All that is published, and the receipts."""
    found = {path.relative_to(dist): path for path in dist.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in found.items()
        if name.suffix != ".lock" and (receipts or name.parts[0] != ".receipts")
    }


def problems(dist: Path) -> list[object]:
    """What `builder.verify` finds; it decodes all masks."""
    found, shards = plan_checks(Folder(dist))
    checks = (ShardCheck.of(dist, index, shard, fast=False) for index, shard in shards)
    return [*found, *(problem for check in checks for problem in check_shard(check))]


def write_captions(path: Path, lines: dict[str, str], more: str = "") -> Path:
    text = "".join(json.dumps({"img": img, "prompt": said}) + "\n" for img, said in lines.items())
    path.write_text(text + more)
    return path


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images, and all kinds of others: a bad json, a bad jpg, lonely ones, a bad name."""
    members_of = members(range(1, 25), {3: {"image": {}}})
    odd = {"sa_5.jpg": jpeg()[:400], "sa_99.jpg": b"x", "sa_98.json": b"{}", "/absolute": b""}
    return write_tar(tmp_path_factory.mktemp("tar") / "sa_000000.tar", members_of | odd)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions of usable and unusable images, of none, and lines that can't be used."""
    named = [*range(1, 19), 77, 98, 99]
    lines = {f"sa_{i}.jpg": f"a street with {i} cars, " * (i % 5 * 40 + 1) for i in named}
    path = tmp_path_factory.mktemp("captions") / "new.json"
    return write_captions(path, lines, '{broken\n{"img": "sa_1.jpg", "prompt": "again"}\n')


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions by a model, which could not read one image, and had nothing to say of another."""
    path = tmp_path_factory.mktemp("captions") / "old.json"
    write_captions(path, {f"sa_{i}.jpg": "old" for i in range(7, 25)})
    rejects = [
        {"source": "sa_000000.tar", "member": f"sa_{i}.jpg", "reason": reason}
        for i, reason in ((6, "caption_empty"), (5, "jpeg_corrupt"), (4, "jpeg_invalid"))
    ]
    lines = (json.dumps({**reject, "expected": "e", "found": "f"}) for reject in rejects)
    captions_rejects(path).write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def built(
    tar: Path, captions: Path, former: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Dists by format and by the captions they were built with; read only."""
    root = tmp_path_factory.mktemp("built")
    chosen = {"none": (), "former": ("--captions", former), "new": ("--captions", captions)}

    def dist(fmt: str, which: str) -> Path:
        folder = root / f"{fmt}-{which}"
        if not folder.exists():
            with small_batches(fmt):
                done = build(tar, "--format", fmt, "--out", folder, *chosen[which], *SIZE)
            assert done == EXIT_OK
        return folder

    return dist


@contextmanager
def small_batches(fmt: str) -> Iterator[None]:
    """Several record batches in a shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BATCH_BYTES" if fmt == "arrow" else "ROW_GROUP_BYTES", 9000)
        yield


@pytest.mark.parametrize("before", ["none", "former"])
@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_it_is_what_a_build_with_these_captions_makes(
    built: Callable[[str, str], Path], captions: Path, tmp_path: Path, fmt: str, before: str
) -> None:
    """Receipts, plan and card, too. So a build from the tar goes on from there."""
    old, expected = built(fmt, before), tree(built(fmt, "new"))
    assert sum(name.endswith(fmt) for name in expected) == 8
    dist = tmp_path / "same"
    shutil.copytree(old, dist)
    with small_batches(fmt):
        assert recaption(captions, dist, dist) == EXIT_OK
        assert recaption(captions, old, tmp_path / "other") == EXIT_OK
    assert tree(dist) == expected
    assert tree(tmp_path / "other") == expected
    if fmt == "arrow":
        batches = [len(shard.batches) for shard in read_index(dist, CONFIG).shards]
        cut_before = [len(shard.batches) for shard in read_index(old, CONFIG).shards]
        assert max(batches) > 1
        assert before == "former" or batches != cut_before
    assert problems(dist) == []


@pytest.mark.parametrize("before", ["none", "former"])
def test_a_published_copy_has_all_that_is_needed(
    built: Callable[[str, str], Path],
    tar: Path,
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: str,
) -> None:
    """Which rejects are the former captions' is found out without the plan and the receipts."""
    copy, dist = tmp_path / "copy", tmp_path / "dist"
    shutil.copytree(built("arrow", before), copy, ignore=shutil.ignore_patterns(".*"))
    with small_batches("arrow"):
        assert recaption(captions, copy, dist) == EXIT_OK
        assert "has no receipts here (there is no .receipts/sa_000000/plan.json)" in (
            capsys.readouterr().err
        )
        expected = tree(built("arrow", "new"), receipts=False)
        assert tree(dist) == expected
        assert problems(dist) == []
        assert build(tar, "--captions", captions, "--out", dist, *SIZE) == EXIT_OK
    assert tree(dist) == tree(built("arrow", "new"))


def test_no_mask_and_no_image_is_decoded(
    built: Callable[[str, str], Path], captions: Path, tmp_path: Path
) -> None:
    """What can't be decoded passes through, and so does a control image that is none."""
    copy = tmp_path / "copy"
    shutil.copytree(built("arrow", "none"), copy, ignore=shutil.ignore_patterns(".*"))
    index = read_index(copy, CONFIG)
    entries = []
    for shard in index.shards:
        path = config_folder(copy, CONFIG) / shard.file
        rows = rows_of(path)
        path.unlink()
        with ShardWriter(path, index.features, "arrow") as writer:
            for row in rows:
                row["masks"] = [{"bytes": b"no PNG", "path": None} for _ in row["masks"]]
                row["image"]["bytes"] = row["conditioning_image"]["bytes"] = b"no image"
                row["annotations"][0]["segmentation"]["counts"] = "no RLE"
                writer.add(row)
            entries.append(writer.close().to_json())
    size = sum(entry["bytes"] for entry in entries)
    rewrite(index_path(copy, CONFIG), set_in("splits", "train", "shards", value=entries))
    rewrite(index_path(copy, CONFIG), set_in("splits", "train", "num_bytes", value=size))
    dist = tmp_path / "dist"
    done = recaption_here(captions, copy, dist)
    assert done.index.counts.captions_missing == 22 - 16
    made = [
        row
        for shard in done.index.shards
        for row in rows_of(config_folder(dist, CONFIG) / shard.file)
    ]
    assert len(made) == 22
    for row in made:
        assert {mask["bytes"] for mask in row["masks"]} == {b"no PNG"}
        assert row["conditioning_image"]["bytes"] == row["image"]["bytes"] == b"no image"
        assert row["annotations"][0]["segmentation"]["counts"] == "no RLE"
        number = row["image_id"]
        said = (f"a street with {number} cars, " * (number % 5 * 40 + 1)).strip()
        assert row["text"] == (said if number < 19 else None)


def recaption_here(captions: Path, origin: Path, dist: Path) -> Built:
    """Without the card, which shows an image."""
    return recaption_config(CONFIG, captions, str(origin), dist, RecaptionOptions(1, quiet=True))


def rows_of(path: Path) -> list[dict[str, Any]]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        rows: list[dict[str, Any]] = stream.read_all().to_pylist()
    return rows


class Killed(BaseException):
    """Stops a run as a kill does: the swap has nothing that reacts to it."""


def kill_at(moment: int, patch: pytest.MonkeyPatch, *, can_exchange: bool) -> None:
    """Let the swap be killed before its step of this number."""
    left = moment

    def step(what: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return what(*args, **kwargs)

        return stepped

    def swapping(dist: Path, config: str) -> None:
        for owner, name in ((Path, "rename"), (Path, "unlink"), (shutil, "rmtree")):
            patch.setattr(owner, name, step(getattr(owner, name)))
        chosen = exchange.exchange if can_exchange else lambda one, other: False
        patch.setattr(swap, "exchange", step(chosen))
        patch.setattr(swap, "sync_folder", step(files.sync_folder))
        swap.swap(dist, config)
        patch.undo()

    patch.setattr("builder.shards.recaption.swap", swapping)


def data_of(dist: Path) -> Tree:
    return {name: data for name, data in tree(dist).items() if name.startswith("data/")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A config of two images as it was, as it is with captions, and these."""
    folder = tmp_path_factory.mktemp("small")
    source = write_tar(folder / f"{CONFIG}.tar", members([1, 2]))
    captions = write_captions(folder / "c.json", {"sa_1.jpg": "one"})
    old, new = folder / "old", folder / "new"
    assert build(source, "--out", old, *SIZE) == EXIT_OK
    assert build(source, "--captions", captions, "--out", new, *SIZE) == EXIT_OK
    return old, new, captions


@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_at_any_moment_of_the_swap(
    small: tuple[Path, Path, Path], tmp_path: Path, can_exchange: bool
) -> None:
    """A reader finds the old config or the new one, and the same command makes it the new one."""
    old, new, captions = small
    moments = absent = 0
    killed = True
    while killed:
        moments += 1
        dist = tmp_path / str(moments)
        shutil.copytree(old, dist)
        (config_folder(dist, CONFIG) / "notes.txt").write_text("of a person")
        with pytest.MonkeyPatch.context() as patch:
            kill_at(moments, patch, can_exchange=can_exchange)
            try:
                recaption_here(captions, dist, dist)
                killed = False
            except Killed:
                killed = True
        found = data_of(dist)
        if found:
            assert found.pop(f"data/{CONFIG}/notes.txt") == b"of a person"
            assert found in (data_of(old), data_of(new))
            assert [p for p in plan_checks(Folder(dist))[0] if p.config == CONFIG] == []
        absent += not found
        assert recaption(captions, dist, dist) == EXIT_OK
        again = tree(dist)
        assert again.pop(f"data/{CONFIG}/notes.txt") == b"of a person"
        assert again == tree(new)
        shutil.rmtree(dist)
    assert moments > 5
    assert absent == (0 if can_exchange else 1)


def test_a_build_takes_back_a_swap_that_was_not_done(
    built: Callable[[str, str], Path],
    tar: Path,
    captions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "none"), dist)

    def killed(one: Path, other: Path) -> bool:
        raise Killed

    monkeypatch.setattr(swap, "exchange", killed)
    with small_batches("arrow"):
        with pytest.raises(Killed):
            recaption_here(captions, dist, dist)
        assert not receipts_folder(dist, CONFIG).exists()
        assert build(tar, "--out", dist, *SIZE) == EXIT_OK
    assert "8 shards (8 done before)" in capsys.readouterr().err
    assert tree(dist) == tree(built("arrow", "none"))


def test_killed_while_it_makes_shards_it_goes_on(
    built: Callable[[str, str], Path], captions: Path, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "none"), dist)
    before = tree(dist)
    made = recaption_folder(dist, CONFIG) / "made"
    command = [sys.executable, "-m", "builder.build", "--recaption", CONFIG, "--captions"]
    command += [str(captions), "--out", str(dist), *GO]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not any(made.glob("*.json")):
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert {name: data for name, data in tree(dist).items() if name in before} == before
    first = min(made.glob("*.json")).name.removesuffix(".json")
    (config_folder(recaption_folder(dist, CONFIG), CONFIG) / first).write_bytes(b"cut")
    assert recaption(captions, dist, dist) == EXIT_OK
    expected = tmp_path / "expected"
    assert recaption(captions, built("arrow", "none"), expected) == EXIT_OK
    assert tree(dist) == tree(expected)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_from_a_repo_and_what_push_then_sends(hub: LoopbackHub, tmp_path: Path) -> None:
    """A shard whose captions stay is the same file, so it is not sent again."""
    dist = make_dist(tmp_path / "dist", range(1, 13), shards=4)
    publish(hub, dist)
    first = read_index(dist, CONFIG).shards[0].rows
    captions = write_captions(tmp_path / "c.json", {"sa_1.jpg": "one", f"sa_{first}.jpg": "last"})
    out = tmp_path / "out"
    command = [sys.executable, "-m", "builder.build", "--recaption", CONFIG, "--captions"]
    command += [str(captions), "--from", REPO, "--out", str(out), *GO]
    done = subprocess.run(command, capture_output=True, text=True, env=hub.env(tmp_path / "home"))
    assert done.returncode == EXIT_OK, done.stderr
    assert "a published copy has none" in done.stderr
    assert recaption(captions, dist, dist) == EXIT_OK
    for name in (*(shard.file for shard in read_index(dist, CONFIG).shards), "rejects.jsonl"):
        path = Path("data", CONFIG, name)
        assert (out / path).read_bytes() == (dist / path).read_bytes()
    assert read_index(out, CONFIG) == read_index(dist, CONFIG)
    assert problems(out) == []
    plan = publish(hub, out).plan
    sent = [file.path for file in plan.add if file.path.endswith(".arrow")]
    assert sent == [f"data/{CONFIG}/train-00000-of-00004.arrow"]
    assert not plan.delete


def test_from_a_url_each_shard_is_copied_and_checked(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(built("arrow", "none") / "data"), "/recaption/data", recursive=True)
    with small_batches("arrow"):
        assert recaption(captions, "memory://recaption", tmp_path / "dist") == EXIT_OK
    assert tree(tmp_path / "dist") == tree(built("arrow", "new"), receipts=False)
    shard = f"/recaption/data/{CONFIG}/train-00004-of-00008.arrow"
    store.pipe(shard, store.cat(shard)[:-1] + b"x")
    capsys.readouterr()
    assert recaption(captions, "memory://recaption", tmp_path / "other") == EXIT_FAILED
    assert "train-00004-of-00008.arrow: expected sha256" in capsys.readouterr().err
    store.rm("/recaption", recursive=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the end marker, which no checksum of a column covers
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ("train-00004-of-00008.arrow", "train-00004-of-00008.arrow: expected sha256"),
        ("rejects.jsonl", "rejects.jsonl: expected sha256"),
        ("index.json", "index.json"),
    ],
)
def test_damaged_bytes_are_not_used(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damaged: str,
    said: str,
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "none"), dist)
    flip(config_folder(dist, CONFIG) / damaged)
    before = tree(dist)
    assert recaption(captions, dist, dist) == EXIT_FAILED
    assert said in capsys.readouterr().err
    assert {name: data for name, data in tree(dist).items() if name in before} == before
    assert recaption(captions, dist, tmp_path / "other") == EXIT_FAILED
    assert not index_path(tmp_path / "other", CONFIG).exists()


def test_receipts_that_do_not_fit_are_left_out_and_named(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "none"), dist)
    (receipts_folder(dist, CONFIG) / "train-00002-of-00008.arrow.json").unlink()
    with small_batches("arrow"):
        assert recaption(captions, dist, dist) == EXIT_OK
    assert "train-00002-of-00008.arrow has no receipt" in capsys.readouterr().err
    assert tree(dist) == tree(built("arrow", "new"), receipts=False)


def test_what_a_selection_does_not_record_is_refused(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the tar holds images that were not selected is in no file of the config."""
    dist, expected = tmp_path / "dist", tmp_path / "expected"
    assert build(tar, "--limit", 2, "--out", dist, *SIZE) == EXIT_OK
    others = write_captions(tmp_path / "c.json", {"sa_1.jpg": "one", "sa_9.jpg": "nine"})
    assert recaption(others, dist, dist) == EXIT_FAILED
    assert "the captions name 1 others (sa_9.jpg)" in capsys.readouterr().err
    own = write_captions(tmp_path / "own.json", {"sa_1.jpg": "one"})
    assert recaption(own, dist, dist) == EXIT_OK
    assert build(tar, "--limit", 2, "--captions", own, "--out", expected, *SIZE) == EXIT_OK
    assert tree(dist) == tree(expected)


def test_captions_that_a_build_refuses_are_refused(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "former"), dist)
    before = tree(dist)
    assert recaption(captions, dist, dist, "--max-rejects", "0.01") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "2 of 23 lines of captions could not be used (8.7%)" in said
    assert "The config stays as it is" in said
    others = write_captions(tmp_path / "c.json", {"sa_1000.jpg": "of another tar"})
    assert recaption(others, dist, dist) == EXIT_FAILED
    assert "the captions given are of none of its images: expected names such as sa_" in (
        capsys.readouterr().err
    )
    assert tree(dist) == before


def test_a_place_that_holds_another_config_of_that_name_is_refused(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "former"), dist)
    before = tree(dist)
    assert recaption(captions, built("arrow", "none"), dist) == EXIT_FAILED
    assert f"add --from {dist}; else choose another --out" in capsys.readouterr().err
    assert tree(dist) == before
    assert recaption(captions, dist, dist) == EXIT_OK
    capsys.readouterr()
    assert recaption(captions, built("arrow", "none"), dist) == EXIT_OK
    assert "it has these captions already" in capsys.readouterr().err


def test_a_config_of_earlier_rows_is_refused(
    built: Callable[[str, str], Path],
    captions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("builder.shards.recaption.ROW_VERSION", 4)
    assert recaption(captions, built("arrow", "none"), tmp_path) == EXIT_FAILED
    assert "(row_version 3, expected 4): build it from its tar again" in capsys.readouterr().err


def test_an_evaluation_config_has_no_captions(
    eval_dist: Path, captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--recaption", "camo", "--captions", captions, "--from", eval_dist)
    assert build(*arguments, "--out", tmp_path / "dist") == EXIT_FAILED
    assert "camo is an evaluation config, which has no captions" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_a_build_with_other_captions_names_the_command(
    built: Callable[[str, str], Path],
    tar: Path,
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(built("arrow", "none"), dist)
    assert build(tar, "--captions", captions, "--out", dist, *SIZE) == EXIT_FAILED
    expected = f"--recaption sa_000000 --captions FILE --from {dist} --out {dist}"
    assert expected in capsys.readouterr().err
    other = ("--annotations-only", "--captions", captions)
    assert build(tar, *other, "--out", dist, *SIZE) == EXIT_FAILED
    assert "--recaption" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recaption", "x"], "go together"),
        (["--from", "x"], "go together"),
        (["--recaption", "x", "--captions", "c", "x.tar"], "takes no SOURCE"),
        (["--recaption", "x", "--captions", "c", "--shards", "1/2"], "takes no --shards"),
        (["--recaption", "x", "--captions", "c", "--format", "parquet"], "takes no --engine"),
    ],
)
def test_options_that_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert build(*arguments, "--out", tmp_path / "dist") == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_the_reasons_of_a_listing_are_known(tar: Path, tmp_path: Path) -> None:
    """Without them, the rejects of a published copy could not be told apart."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sa_8.json").symlink_to("nothing")
    for name, data in members([1, 2]).items():
        (folder / name).write_bytes(data)
    (folder / "sa_01.jpg").write_bytes(b"")
    found = set()
    for path in (tar, folder):
        (source,) = open_sources([str(path)])
        found |= {reject.reason for reject in source.listing().rejects}
    assert found == LISTED & found
    assert len(found) == 5


def test_two_folders_exchange_their_names(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    if not exchange.exchange(one, other):
        pytest.skip("this file system can't exchange names")
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    with pytest.raises(OSError, match="No such file"):
        exchange.exchange(one, tmp_path / "nothing")
