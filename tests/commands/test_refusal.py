"""A source of which nothing, or too little, is usable: named, built, refused, and not published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import builder.build
import builder.push
import builder.verify
from asam_datasets import AsamDatasetsError, load
from builder.core.console import EXIT_FAILED, EXIT_OK, run_command
from builder.core.layout import index_path, rejects_path
from tests.factory import Record, jpeg, members, record, write_tar


def build(*args: object) -> int:
    return run_command(builder.build.main, [*map(str, args), "--workers", "1", "--quiet"])


def changed(count: int, change: Callable[[Record], Any], total: int = 8) -> dict[str, bytes]:
    """Records, of which the annotations of the first `count` are changed."""
    records = {i: record(i)[1] for i in range(1, total + 1)}
    for i in range(1, count + 1):
        for annotation in records[i]["annotations"]:
            change(annotation)
    return members(records, records)


def uncompress(annotation: Record) -> None:
    flat = coco.decode(annotation["segmentation"]).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    annotation["segmentation"]["counts"] = np.diff([0, *edges.tolist(), flat.size]).tolist()


def swap(annotation: Record) -> None:
    annotation["segmentation"]["size"].reverse()


CASES: dict[str, tuple[Callable[[Record], Any], str]] = {
    "uncompressed": (uncompress, "rle_wrong_type: expected a compressed RLE string, found ["),
    "sizes swapped": (
        swap,
        "segmentation_size_mismatch: expected [64, 96], found [96.0, 64.0]",
    ),
    "no score": (lambda a: a.pop("predicted_iou"), "missing_key: expected predicted_iou"),
}


@pytest.mark.parametrize("case", CASES)
def test_masks_that_are_all_unusable_are_a_failure_that_shows_the_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, shown = CASES[case]
    tar = write_tar(tmp_path / "sa_000000.tar", changed(8, change))
    dist = tmp_path / "dist"
    assert build(tar, "--out", dist, "--json") == EXIT_FAILED
    said = capsys.readouterr()
    assert "error: sa_000000: 24 of 24 masks could not be used (100.0%)" in said.err
    assert f"24 x {shown}" in said.err
    assert "(sa_1.json, annotation 1000)" in said.err
    assert "--max-rejects 1" in said.err
    assert "next: " not in said.err
    (document,) = json.loads(said.out)
    assert document["counts"]["images"] == 8
    assert document["refused"]
    assert len(rejects_path(dist, "sa_000000").read_text().splitlines()) == 24


def test_a_refused_config_is_not_loaded_verified_or_pushed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_tar(tmp_path / "sa_000000.tar", members([50]))
    bad = write_tar(tmp_path / "sa_000001.tar", changed(2, uncompress))
    dist = tmp_path / "dist"
    assert build(good, bad, "--out", dist) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "1 of 2 sources failed; the others are built" in said
    assert "6 of 24 masks could not be used (25.0%)" in said
    with pytest.raises(AsamDatasetsError, match="sa_000001"):
        load("sa_000001", repo_or_path=dist)
    assert "data/sa_000001/" not in (dist / "README.md").read_text()
    for main, more in ((builder.verify.main, []), (builder.push.main, ["--repo", "a/b"])):
        args = [str(dist), "--configs", "sa_000001", "--quiet", *more]
        assert run_command(main, args) == EXIT_FAILED
        assert "sa_000001: its build did not finish, or refused" in capsys.readouterr().err
    assert run_command(builder.verify.main, [str(dist), "--quiet"]) == EXIT_FAILED
    assert "sa_000001: it holds shards and no index.json" in capsys.readouterr().out

    assert build(bad, "--out", dist, "--max-rejects", "0.25") == EXIT_OK
    assert "(1 done before)" in capsys.readouterr().err  # nothing is built again
    assert run_command(builder.verify.main, [str(dist), "--quiet"]) == EXIT_OK
    assert len(load("sa_000001", repo_or_path=dist, streaming=False)) == 8

    assert build(bad, "--out", dist) == EXIT_FAILED  # an accepted one is refused again
    assert not index_path(dist, "sa_000001").exists()
    assert "data/sa_000001/" not in (dist / "README.md").read_text()


@pytest.mark.parametrize(("rejected", "status"), [(1, EXIT_OK), (2, EXIT_FAILED)])
def test_the_share_of_records_counts(tmp_path: Path, rejected: int, status: int) -> None:
    files = members(range(1, 31))
    for i in range(1, rejected + 1):
        files[f"sa_{i}.json"] = b"{}"
    assert build(write_tar(tmp_path / "sa_000000.tar", files), "--out", tmp_path / "d") == status


def test_a_selection_is_compared_with_the_whole_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One lonely jpg is little among thirty pairs, even if two of them are built."""
    files = members(range(1, 31))
    del files["sa_30.json"]
    tar = write_tar(tmp_path / "sa_000000.tar", files)
    assert build(tar, "--limit", 2, "--out", tmp_path / "dist") == EXIT_OK
    files = members([1, 2]) | {f"sa_{i}.jpg": b"" for i in range(3, 40)}
    tar = write_tar(tmp_path / "sa_000001.tar", files)
    assert build(tar, "--limit", 2, "--out", tmp_path / "dist") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "37 of 39 records listed could not be used" in said
    assert "37 x jpg_without_json: expected sa_10.json, found no such member (sa_10.jpg)" in said


def test_a_source_without_any_mask_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2], count=0))
    assert build(tar, "--out", tmp_path / "dist") == EXIT_FAILED
    assert "not one mask in 2 images" in capsys.readouterr().err
    assert build(tar, "--out", tmp_path / "dist", "--max-rejects", 1) == EXIT_OK


def test_the_only_config_of_a_dist_leaves_its_card_when_it_is_refused(tmp_path: Path) -> None:
    bad = write_tar(tmp_path / "sa_000000.tar", changed(2, uncompress))
    dist = tmp_path / "dist"
    assert build(bad, "--out", dist, "--max-rejects", 1) == EXIT_OK
    assert "data/sa_000000/" in (dist / "README.md").read_text()
    assert build(bad, "--out", dist) == EXIT_FAILED
    assert "data/sa_000000/" not in (dist / "README.md").read_text()


def test_a_source_without_any_image_is_never_accepted(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]) | {"sa_1.json": b"{}"})
    assert build(tar, "--out", tmp_path / "dist", "--max-rejects", 1) == EXIT_FAILED
    assert not index_path(tmp_path / "dist", "sa_000000").exists()


FITS_NOTHING = {
    "paths": '{"img": "images/sa_1.jpg", "prompt": "x"}\n',
    "no suffix": '{"img": "sa_1", "prompt": "x"}\n',
    "another tar": '{"img": "sa_101.jpg", "prompt": "x"}\n',
    "empty": "",
}


@pytest.mark.parametrize("case", FITS_NOTHING)
def test_captions_that_fit_nothing_are_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    captions = tmp_path / "captions.json"
    captions.write_text(FITS_NOTHING[case])
    assert build(tar, "--captions", captions, "--out", tmp_path / "dist") == EXIT_FAILED
    found = "no caption" if case == "empty" else "1 captions, of "
    assert f"expected names such as sa_1.jpg, found {found}" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_captions_of_other_images_than_the_selected_fit(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2]))
    captions = tmp_path / "captions.json"
    lines = [json.dumps({"img": f"sa_{i}.jpg", "prompt": "x"}) for i in range(2, 200)]
    captions.write_text("\n".join(lines))
    args = ("--captions", captions, "--limit", 1, "--out", tmp_path / "dist")
    assert build(tar, *args) == EXIT_OK


def camo(folder: Path, count: int, save: Callable[[Path, int], None]) -> Path:
    """ASAM's repack of CAMO, with masks that `save` writes."""
    for name in ("imgs", "gts"):
        (folder / "CAMO" / name).mkdir(parents=True)
    for i in range(count):
        (folder / "CAMO/imgs" / f"{i}.jpg").write_bytes(jpeg(seed=i))
        save(folder / "CAMO/gts" / f"{i}.png", i)
    return folder


def ones(path: Path, number: int) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[10:30, 20:50] = 1 if number != 11 else 255
    Image.fromarray(mask).save(path)


def test_masks_of_0_and_1_are_read_or_named_as_the_protocol_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = camo(tmp_path / "release", 12, ones)
    args = ("--eval", "camo", "--source", folder)
    assert build(*args, "--out", tmp_path / "native") == EXIT_OK
    assert "12 images, 12 masks, 0 rejects" in capsys.readouterr().err
    assert build(*args, "--protocol", "asam", "--out", tmp_path / "asam") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "mask_values: expected 0 and 255 (foreground is above 127)" in said
    assert "found 0.png holds 0 and 1" in said


def test_an_unknown_category_everywhere_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017/1.jpg").write_bytes(jpeg())
    document = {
        "images": [{"id": 1, "width": 96, "height": 64, "file_name": "1.jpg"}],
        "annotations": [
            {"id": 7, "image_id": 1, "category_id": 99, "segmentation": [[1, 1, 9, 1, 9, 9]]}
        ],
        "categories": [{"id": 1, "name": "boat"}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(document))
    args = ("--eval", "coco2017", "--source", tmp_path, "--out", tmp_path / "dist")
    assert build(*args) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "1 x category_unknown: expected one of the 1 categories listed, found 99" in said
    assert "warning: coco2017: split val: 1 image; the whole has 5000" in said


def test_published_numbers_of_masks_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--eval-fixtures", "--protocol", "sam", "--limit", 1)
    assert build(*args, "--out", tmp_path / "dist") == EXIT_OK
    assert "were published" not in capsys.readouterr().err
    from builder.sources.evaluation.fixtures import write_fixture

    folder = write_fixture("dram", tmp_path)
    dram = ("--eval", "dram", "--protocol", "sam", "--source", folder)
    assert build(*dram, "--out", tmp_path / "dram", "--json") == EXIT_OK
    said = capsys.readouterr()
    assert "masks; 1,179 were published" in said.err
    assert any("1,179 were published" in note for note in json.loads(said.out)[0]["notes"])


@pytest.mark.parametrize("share", ["-0.1", "1.1", "5%", "nan"])
def test_a_share_that_is_none_is_a_usage_error(share: str) -> None:
    with pytest.raises(SystemExit):
        builder.build.main(["a.tar", f"--max-rejects={share}"])
