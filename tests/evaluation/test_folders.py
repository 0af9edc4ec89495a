"""Folders that are not the release, images without ground truth, and the layouts of repacks."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from asam_datasets import EVAL_DATASETS
from builder.core.errors import SettingsError, SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import Scene, save_ids, save_mask, save_photo
from tests.evaluation.reading import masks, read


def message(name: str, folder: Path, protocol: str = "native") -> str:
    with pytest.raises(SourceError) as caught:
        open_source(name, protocol, folder).listing()
    return str(caught.value)


@pytest.mark.parametrize("name", EVAL_DATASETS)
def test_the_folder_of_another_dataset_says_what_was_expected_and_found(
    releases: dict[str, Path], name: str
) -> None:
    other = releases["kvasir_seg" if name != "kvasir_seg" else "camo"]
    text = message(name, other)
    assert f"{other} does not hold {name}, split " in text
    assert "expected " in text
    top = sorted(path.name for path in other.iterdir())[0]
    assert f"found there: {top}/" in text


@pytest.mark.parametrize("name", EVAL_DATASETS)
def test_one_level_too_shallow_says_where_it_is(releases: dict[str, Path], name: str) -> None:
    above = releases[name].parent
    if name in ("trashcan", "kvasir_seg"):  # any other may come first in the alphabet
        assert "give that folder" in message(name, above)
    assert f"{above} does not hold {name}" in message(name, above)


def test_one_level_too_deep_says_where_it_is(tmp_path: Path) -> None:
    for name, deeper in (
        ("cityscapes", "gtFine"),
        ("cityscapes", "gtFine/val"),
        ("voc2012", "VOCdevkit"),
        ("voc2012", "VOCdevkit/VOC2012"),
        ("coco2017", "val2017"),
        ("hrsod_te", "HRSOD_release"),
        ("bbbc038v1", "stage1_train"),
    ):
        folder = tmp_path / f"{name}-{len(deeper)}"
        root = write_fixture(name, folder)
        assert f"it is in {root}: give that folder as the source" in message(name, root / deeper)
    root = write_fixture("camo", tmp_path)
    assert f"it is in {root}: give that folder as the source" in message("camo", tmp_path)


def test_an_archive_that_is_not_unpacked_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "BIG.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("BIG/val/1_im.jpg", b"")
    assert "BIG.zip is an archive: unpack it there" in message("big", tmp_path)
    assert f"{archive} is an archive: unpack it and give the folder it is in" in message(
        "big", archive
    )
    assert "does not exist; give the folder that holds BIG/" in message("big", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "found there: nothing" in message("cvc_clinicdb", empty)


def test_ground_truth_without_any_image_is_said(tmp_path: Path) -> None:
    folder = write_fixture("coco2017", tmp_path)
    shutil.rmtree(folder / "val2017")
    text = message("coco2017", folder, "asam")
    assert "with annotations/instances_val2017.json (ground truth is there, images are not)" in text
    folder = write_fixture("big", tmp_path)
    for path in folder.glob("BIG/val/*_gt.png"):
        path.unlink()
    assert "(images are there, ground truth is not)" in message("big", folder, "asam")


def test_images_and_ground_truth_that_do_not_match_are_said(tmp_path: Path) -> None:
    folder = write_fixture("big", tmp_path)
    for path in folder.glob("BIG/*/*_gt.png"):
        path.rename(path.with_name(f"other_{path.name}"))
    assert "(both are there, but no image has its ground truth)" in message("big", folder)


def test_an_unknown_dataset_protocol_or_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no evaluation dataset 'imagenet'"):
        open_source("imagenet", "native", tmp_path)
    with pytest.raises(SettingsError, match="choose from native, asam"):
        open_source("big", "sam", tmp_path)
    with pytest.raises(SourceError, match="big has the splits val, test only"):
        open_source("big", "native", tmp_path, splits=["train"]).listing()


def test_an_image_without_ground_truth_and_the_reverse_are_rejected(tmp_path: Path) -> None:
    folder = write_fixture("hrsod_te", tmp_path)
    save_photo(folder / "HRSOD_release/HRSOD_test/alone.jpg", Scene(1))
    save_mask(folder / "HRSOD_release/HRSOD_test_mask/lonely.png", Scene(1).ids > 0)
    result = read(open_source("hrsod_te", "native", folder))
    assert [(r.reason, r.member, r.expected) for r in result.rejects] == [
        (
            "truth_missing",
            "HRSOD_release/HRSOD_test/alone.jpg",
            "HRSOD_release/HRSOD_test_mask/alone.png",
        ),
        (
            "image_missing",
            "HRSOD_release/HRSOD_test_mask/lonely.png",
            "HRSOD_release/HRSOD_test/lonely.jpg",
        ),
    ]
    assert len(result.rows) == 2


def test_ground_truth_that_two_splits_share_is_no_stray(tmp_path: Path) -> None:
    folder = write_fixture("camo", tmp_path)
    images = folder / "CAMO-COCO-V.1.0-CVIU2019/Camouflage/Images"
    save_photo(images / "Test/camourflage_00009.jpg", Scene(1))
    result = read(open_source("camo", "native", folder))
    assert [(r.reason, r.member[-15:]) for r in result.rejects] == [
        ("truth_missing", "flage_00009.jpg")
    ]
    assert len(result.rows) == 3


def test_a_loop_of_links_ends_in_an_error(tmp_path: Path) -> None:
    folder = write_fixture("big", tmp_path)
    shutil.rmtree(folder / "BIG/val")
    (folder / "BIG/val").symlink_to(folder / "BIG/val")
    assert "split val" in message("big", folder, "asam")


def test_an_id_of_a_list_without_its_image_is_rejected(tmp_path: Path) -> None:
    folder = write_fixture("voc2012", tmp_path)
    lists = folder / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / "val.txt").write_text("2007_000027\n2009_000001\n2008_000008\n")
    result = read(open_source("voc2012", "native", folder, splits=["val"]))
    assert sorted((r.reason, r.member[-15:]) for r in result.rejects) == [
        ("image_missing", "ntation/val.txt"),
        ("truth_missing", "2008_000008.jpg"),
    ]
    (lists / "val.txt").unlink()
    assert "val.txt: No such file or directory: expected one id a line" in message(
        "voc2012", folder
    )


def test_masks_that_are_empty_or_of_another_size_are_rejected(tmp_path: Path) -> None:
    folder = write_fixture("bbbc038v1", tmp_path)
    first = folder / "stage1_train/00071198d059/masks"
    save_mask(first / "0empty.png", Scene(0).ids > 9)
    save_mask(first / "1small.png", Scene(0).ids[:9] >= 0)
    # 1f00c.png stands between 0empty.png and 1small.png
    (first / "2broken.png").write_bytes(b"")
    result = read(open_source("bbbc038v1", "native", folder))
    assert sorted((r.reason, r.annotation_id) for r in result.rejects) == [
        ("mask_empty", 0),
        ("mask_size", 2),
        ("truth_unreadable", 3),
    ]
    assert [len(row["masks"]) for row in result.rows.values()] == [3, 3, 3]
    folder = write_fixture("big", tmp_path)
    save_mask(folder / "BIG/val/1_dog_gt.png", Scene(0).ids > 0)
    result = read(open_source("big", "asam", folder))
    assert (result.reject().reason, result.reject().member) == ("mask_size", "BIG/val/1_dog_im.jpg")
    assert len(result.rows) == 1


REPACKS = [
    ("hrsod_te", "native", {"HRSOD_release/HRSOD_test": "HRSOD-TE/imgs"}
     | {"HRSOD_release/HRSOD_test_mask": "HRSOD-TE/gts"}),
    ("coco2017", "asam", {"val2017": "COCO2017-val/val2017"}
     | {"annotations/instances_val2017.json": "COCO2017-val/instances_val2017.json"}),
    ("camo", "asam", {"CAMO-COCO-V.1.0-CVIU2019/Camouflage/Images/Test": "CAMO/imgs"}
     | {"CAMO-COCO-V.1.0-CVIU2019/Camouflage/GT": "CAMO/gts"}),
    ("ppdls", "native", {"Plant_Phenotyping_Datasets": "x/Plant_Phenotyping_Datasets",
     "x": "Plant_Phenotyping_Datasets"}),
    ("doors", "asam", {"Regression": "DOORS/Regression"}),
    ("doors", "native", {"Segmentation": "DOORS/Segmentation"}),
    ("zerowaste_f", "sam", {"splits_final_deblurred": "zerowaste-f-final/splits_final_deblurred"}),
    ("egohos", "asam", {"data": "egohos"}),
    ("dram", "sam", {"DRAM_processed": "DRAM_500"}),
    ("dram", "native", {"DRAM_processed/labels": "labels", "labels": "DRAM_processed/labels/test"}),
    ("ovis", "sam", {"train": "train_images"}),
    ("lvis", "sam", {"lvis_v0.5_val.json": "annotations/lvis_v0.5_val.json"}),
    ("timberseg", "native", {"prescaled/coco_annotation_rotated.json":
     "prescaled/coco_annotation.json"}),
    ("woodscape", "native", {"rgb_images": "x", "x": "rgb_images/rgb_images"}),
    ("woodscape", "asam", {"rgb_images": "WoodScape/rgb_images",
     "instance_annotations/instance_annotations": "WoodScape/instance_annotations"}),
    ("voc2012", "asam", {"VOCdevkit/VOC2012": "VOC2012", "VOC2012/JPEGImages/2007_000027.jpg":
     "VOC2012/JPEGImages_val/2007_000027.jpg", "VOC2012/JPEGImages/2007_000033.jpg":
     "VOC2012/JPEGImages_val/2007_000033.jpg"}),
    ("gtea", "asam", {"hand2K_dataset/GTEA_GAZE_PLUS": "GTEA_GAZE_PLUS"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "protocol", "moves"), REPACKS, ids=[f"{n}-{p}-{list(m)[-1]}" for n, p, m in REPACKS]
)
def test_other_layouts_give_the_same_rows(
    releases: dict[str, Path], tmp_path: Path, name: str, protocol: str, moves: dict[str, str]
) -> None:
    before = read(open_source(name, protocol, releases[name]))
    folder = write_fixture(name, tmp_path)
    for old, new in moves.items():
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)
    after = read(open_source(name, protocol, folder))
    assert after.rejects == []
    assert len(after.rows) == len(before.rows) > 0
    for old_row, new_row in zip(before.rows.values(), after.rows.values(), strict=True):
        assert {**old_row, "file_name": ""} == {**new_row, "file_name": ""}


def test_asams_conversions_to_png_are_read_where_they_are(tmp_path: Path) -> None:
    folder = write_fixture("ndd20", tmp_path)
    for i in range(4):
        above = ("ABOVE", "BELOW")[i // 2]
        save_ids(folder / f"{above}_LABELS" / f"{i}.png", Scene(i).ids)
    for values in read(open_source("ndd20", "asam", folder)).rows.values():
        assert {a["category"] for a in values["annotations"]} == {"dolphin"}
        assert len(masks(values)) == 3
    folder = tmp_path / "streets"
    save_photo(folder / "Streets/images/a.jpg", Scene(1))
    save_ids(folder / "Streets/labels/a.png", Scene(1).ids)
    assert len(masks(read(open_source("streets", "asam", folder)).row())) == 3
