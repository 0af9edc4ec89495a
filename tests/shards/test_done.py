"""A shard whose receipt is of other settings is built again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.errors import SettingsError
from builder.core.layout import receipts_folder
from builder.shards.build import build_shard
from builder.shards.built import Built
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.shards.prepare import plan_config
from builder.sources.archive import Archive
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.sa1b import open_sources
from tests.contracts import rewrite, set_in
from tests.factory import members, write_tar


@pytest.mark.parametrize("field", ["settings_sha256", "plan_sha256"])
def test_a_receipt_of_other_settings_or_items_proves_nothing(tmp_path: Path, field: str) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members(range(1, 9))))])
    dist, settings = tmp_path / "dist", Settings("arrow", 20_000)
    shards = len(build_config(source, dist, settings, quiet=True).index.shards)
    assert shards > 1
    assert build_config(source, dist, settings, quiet=True).reused == shards
    receipt = min(receipts_folder(dist, "sa_000000").glob("*.arrow.json"))
    rewrite(receipt, set_in(field, value="0" * 64))
    assert build_config(source, dist, settings, quiet=True).reused == shards - 1


def build(path: Path, dist: Path) -> Built:
    (source,) = open_sources([str(path)])
    return build_config(source, dist, Settings("arrow", 20_000), workers=1, quiet=True)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "sa_000000.tar", members(range(1, 9)))


def test_a_touched_or_copied_source_is_known_by_its_bytes(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    shards = len(build(tar, dist).index.shards)
    os.utime(tar, ns=(1, 1))
    assert build(tar, dist).reused == shards
    copy = tmp_path / "elsewhere" / tar.name
    copy.parent.mkdir()
    copy.write_bytes(tar.read_bytes())
    assert build(copy, dist).reused == shards
    # The receipts have the copy's mtime now, so its members are not read again.
    monkeypatch.setattr(Archive, "read", lambda *_: pytest.fail("read again"))
    assert build(copy, dist).reused == shards
    assert capsys.readouterr().err == ""


def test_a_shard_whose_source_has_other_bytes_is_built_again_with_a_line_that_says_why(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = tmp_path / "dist"
    shards = len(build(tar, dist).index.shards)
    last = Archive(str(tar)).contents().members[-1]
    data = bytearray(tar.read_bytes())
    at = data.index(b'"predicted_iou": 0.9', last.offset) + 18
    data[at : at + 1] = b"8"
    tar.write_bytes(data)
    os.utime(tar, ns=(1, 1))
    assert build(tar, dist).reused == shards - 1
    why = "a shard built again: the source's files have other content"
    assert capsys.readouterr().err == f"sa_000000: {why}\n"


def test_a_damaged_shard_is_built_again_with_a_line_that_says_why(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = tmp_path / "dist"
    shards = build(tar, dist).index.shards
    path = dist / "data" / "sa_000000" / shards[1].file
    path.write_bytes(path.read_bytes()[:-1])
    assert build(tar, dist).reused == len(shards) - 1
    said = capsys.readouterr().err
    expected = f"expected {shards[1].bytes} bytes, found {shards[1].bytes - 1}"
    assert said == f"sa_000000: a shard built again: {shards[1].file}: {expected}\n"


def test_a_release_that_was_copied_is_known_by_its_bytes(tmp_path: Path) -> None:
    folder = write_fixture("coco2017", tmp_path / "made")
    settings = Settings("arrow", 10**6)

    def build_eval() -> int:
        source = open_source("coco2017", "native", folder)
        return build_config(source, tmp_path / "dist", settings, workers=1, quiet=True).reused

    assert build_eval() == 0
    assert (shards := build_eval()) > 0
    for path in folder.rglob("*"):
        os.utime(path, ns=(1, 1))
    assert build_eval() == shards


def test_a_machine_of_other_versions_builds_no_shard(tar: Path, tmp_path: Path) -> None:
    (source,) = open_sources([str(tar)])
    planned = plan_config(source, Settings("arrow", 20_000))
    task = planned.tasks(tmp_path, resume=True)[0]
    other = {**task.job.encoding, "encoders": {"pyarrow": "0"}}
    with pytest.raises(SettingsError, match=r"expected .*'pyarrow': '0'.*install the same lock"):
        build_shard(replace(task, job=replace(task.job, encoding=other)), lambda rows, masks: None)
    assert not list(tmp_path.rglob("*.arrow*"))
