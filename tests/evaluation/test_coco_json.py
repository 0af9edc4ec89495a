"""COCO and YouTube-VIS JSON: masks as pycocotools decodes them, and annotations that can't be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from builder.core.errors import SourceError
from builder.sources.evaluation import EvalSource, open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import Scene, coco_json, rle, save_json, save_photo
from tests.evaluation.reading import masks, read

NAME = "000000000139.jpg"


def open_coco(path: Path) -> COCO:
    """The JSON by pycocotools; it prints as it loads."""
    return COCO(str(path))


def release(
    folder: Path, change: dict[str, Any] | None = None, **document: Any
) -> tuple[EvalSource, Scene]:
    """COCO's val with one image, its first annotation changed."""
    scene = Scene(3)
    save_photo(folder / "val2017" / NAME, scene)
    content = coco_json({NAME: scene}, ["person", "bicycle", "car"])
    content["annotations"][0] |= change or {}
    save_json(folder / "annotations/instances_val2017.json", content | document)
    return open_source("coco2017", "native", folder), scene


def test_masks_are_those_of_pycocotools(releases: dict[str, Path]) -> None:
    for name, split, truth in (
        ("coco2017", "val", "annotations/instances_val2017.json"),
        ("pidray", "test_hard", "pidray/annotations/xray_test_hard.json"),
        ("trashcan", "train", "dataset/instance_version/instances_train_trashcan.json"),
    ):
        api = open_coco(releases[name] / truth)
        compared = 0
        for values in read(
            open_source(name, "native", releases[name], splits=[split])
        ).rows.values():
            annotations = api.loadAnns(api.getAnnIds(imgIds=int(values["image_id"])))
            assert [a["id"] for a in annotations] == [a["id"] for a in values["annotations"]]
            for mine, theirs, mask in zip(
                values["annotations"], annotations, masks(values), strict=True
            ):
                assert np.array_equal(mask, api.annToMask(theirs).astype(bool))
                assert mine["category"] == api.cats[theirs["category_id"]]["name"]
                assert mine["category_id"] == theirs["category_id"]
                assert mine["iscrowd"] == bool(theirs["iscrowd"])
                compared += 1
        assert compared >= 6


def test_crowds_and_images_without_annotations_are_kept(releases: dict[str, Path]) -> None:
    rows = read(open_source("coco2017", "native", releases["coco2017"], splits=["val"])).rows
    crowds = [a["iscrowd"] for row in rows.values() for a in row["annotations"]]
    assert crowds == [False, True, False] * 2
    bare = rows["val", "val2017/000000000999.jpg"]
    assert (bare["annotations"], bare["masks"], bare["num_rejected"]) == ([], [], 0)


def test_names_beyond_ascii_are_kept(releases: dict[str, Path], tmp_path: Path) -> None:
    source, _ = release(tmp_path, categories=[{"id": 1, "name": "café"}, {"id": 2, "name": "犬"}])
    path = tmp_path / "annotations/instances_val2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False), "utf-8")
    result = read(source)
    assert [a["category"] for a in result.row()["annotations"]] == ["café", "犬"]
    assert result.reject().reason == "category_unknown"


@pytest.mark.parametrize(
    ("change", "reason", "expected", "found"),
    [
        ({"category_id": 99}, "category_unknown", "one of the 3 categories listed", "99"),
        ({"segmentation": [[1, 2, 30, 40]]}, "polygon_too_short", "3 points or more", "2"),
        (
            {"segmentation": [[1, 2, 3, math.nan, 5, 6]]},
            *("polygon_not_finite", "finite numbers", "NaN or infinity"),
        ),
        (
            {"segmentation": [[500, 500, 600, 500, 600, 600]]},
            *("polygon_outside_image", "points within or near 70 x 48 pixels"),
            "x, y from [500.0, 500.0] to [600.0, 600.0]",
        ),
        ({"segmentation": [[80, 5, 90, 5, 90, 9]]}, "mask_empty", "at least one pixel", "none"),
        ({"segmentation": []}, "segmentation_missing", "polygons or an RLE", "[]"),
        ({"segmentation": "x"}, "segmentation_missing", "polygons or an RLE", "str"),
        (
            {"segmentation": {"size": [70, 48], "counts": "0"}},
            *("rle_size", "size [48, 70], as the image", "size [70, 48]"),
        ),
        (
            {"segmentation": {"size": [48, 70], "counts": [10, 20]}},
            *("rle_size", "runs of 3360 pixels", "30"),
        ),
        (
            {"segmentation": {"size": [48, 70], "counts": [3400, -40]}},
            *("rle_counts", "a string or run lengths", "[3400, -40]"),
        ),
        (
            {"segmentation": {"size": [48, 70], "counts": "é"}},
            *("rle_bad_character", "ASCII characters", r"'\xe9'"),
        ),
    ],
)
def test_an_annotation_that_cannot_be_used_is_rejected_alone(
    tmp_path: Path, change: dict[str, Any], reason: str, expected: str, found: str
) -> None:
    source, scene = release(tmp_path, change)
    assert scene.size == (70, 48)
    result = read(source)
    reject = result.reject()
    assert (reject.reason, reject.expected, reject.found) == (reason, expected, found)
    assert (reject.member, reject.annotation_id) == (f"val2017/{NAME}", 10)
    assert result.row()["num_rejected"] == 1
    assert len(masks(result.row())) == 2


@pytest.mark.parametrize("counts", ["", "0", "PPYo1", "PPYo1\x7f", "5" * 400])
def test_a_compressed_rle_of_the_wrong_length_is_rejected(tmp_path: Path, counts: str) -> None:
    source, _ = release(tmp_path, {"segmentation": {"size": [48, 70], "counts": counts}})
    assert read(source).reject().reason.startswith("rle_")


def test_a_polygon_that_sticks_out_is_clipped_as_pycocotools_does(tmp_path: Path) -> None:
    source, _ = release(tmp_path, {"segmentation": [[-5, -5, 20, -5, 20, 60, -5, 60]]})
    api = open_coco(tmp_path / "annotations/instances_val2017.json")
    assert np.array_equal(masks(read(source).row())[0], api.annToMask(api.anns[10]).astype(bool))


def test_a_mask_of_another_size_than_the_image_rejects_the_image(tmp_path: Path) -> None:
    release(tmp_path)
    source, scene = release(tmp_path)
    other = "000000000285.jpg"
    save_photo(tmp_path / "val2017" / other, Scene(4))
    content = coco_json({NAME: scene, other: scene}, ["a", "b", "c"])
    save_json(tmp_path / "annotations/instances_val2017.json", content)
    result = read(source)
    reject = result.reject()
    assert (reject.member, reject.reason) == (f"val2017/{other}", "image_size")
    assert reject.expected == "70 x 48 pixels, as the release says"
    assert reject.found == "72 x 49"
    assert list(result.rows) == [("val", f"val2017/{NAME}")]


def test_an_image_that_exif_turns_has_the_size_it_is_shown_with(tmp_path: Path) -> None:
    source, scene = release(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = scene.photo.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "val2017" / NAME, exif=exif)
    assert turned.size == (48, 70)
    assert (read(source).row()["width"], read(source).row()["height"]) == (70, 48)
    scene.photo.save(tmp_path / "val2017" / NAME, exif=exif)
    with pytest.raises(SourceError, match=r"found 48 x 70 \(turned by its EXIF orientation\?\)"):
        source.listing()


def test_a_photo_that_does_not_decode_is_rejected(tmp_path: Path) -> None:
    source, scene = release(tmp_path)
    other = "000000000285.jpg"
    path = tmp_path / "val2017" / other
    save_photo(path, Scene(3))
    content = coco_json({NAME: scene, other: scene}, ["a", "b", "c"])
    save_json(tmp_path / "annotations/instances_val2017.json", content)
    path.write_bytes(path.read_bytes()[:300])
    assert read(source).reject().reason == "image_unreadable"
    path.write_bytes(b"no image")
    reject = read(source).reject()
    assert (reject.reason, reject.found) == ("image_unreadable", "cannot identify image file")


def test_images_and_annotations_without_each_other_are_rejected(tmp_path: Path) -> None:
    source, scene = release(tmp_path)
    content = coco_json({NAME: scene, "gone.jpg": scene}, ["a", "b", "c"])
    content["annotations"].append({"id": 5, "image_id": 77, "category_id": 1})
    content["annotations"].append({"id": 6})
    content["images"].append({"id": 1, "width": 5, "height": 5, "file_name": "again.jpg"})
    content["images"].append({"id": 9, "width": 5, "height": 5, "file_name": NAME})
    content["images"].append({"id": 10})
    save_json(tmp_path / "annotations/instances_val2017.json", content)
    save_photo(tmp_path / "val2017/stray.jpg", scene)
    result = read(source)
    assert sorted((reject.reason, reject.member) for reject in result.rejects) == [
        ("annotation_fields", "annotations/instances_val2017.json"),
        ("duplicate_image", NAME),
        ("image_fields", "annotations/instances_val2017.json"),
        ("image_id", "annotations/instances_val2017.json"),
        ("image_missing", "gone.jpg"),
        ("image_unknown", "annotations/instances_val2017.json"),
        ("truth_missing", "val2017/stray.jpg"),
    ]
    assert len(result.rows) == 1


def test_a_json_of_another_kind_is_an_error_that_names_it(tmp_path: Path) -> None:
    source, _ = release(tmp_path)
    path = tmp_path / "annotations/instances_val2017.json"
    save_json(path, {"captions": [{"id": 1}], "images": []})
    with pytest.raises(SourceError, match="expected COCO JSON with a list of images, found none"):
        source.listing()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SourceError, match="but the file ends at byte"):
        source.listing()


def test_images_of_lvis_are_named_by_their_url(releases: dict[str, Path]) -> None:
    keys = [i.key for i in open_source("lvis", "native", releases["lvis"]).listing().items]
    assert keys == [
        "train2017/000000000009.jpg",
        "train2017/000000000285.jpg",
        "val2017/000000000139.jpg",
    ]


def test_two_images_of_one_name_are_an_error(tmp_path: Path) -> None:
    folder = write_fixture("plittersdorf", tmp_path)
    images = folder / "plittersdorf_instance_segmentation_coco/images"
    save_photo(images / "night/test_000.jpg", Scene(1))
    with pytest.raises(SourceError, match=r"night/test_000\.jpg have the same name"):
        open_source("plittersdorf", "asam", folder).listing()


def test_frames_of_a_video_have_the_masks_of_that_frame(releases: dict[str, Path]) -> None:
    result = read(open_source("ovis", "native", releases["ovis"]))
    assert len(result.rows) == 6
    for (_, name), values in result.rows.items():
        scene = Scene({"fb4a7958": 1, "2592f32c": 2}[name.split("/")[1]])
        shown = masks(values)
        if name.endswith("3.jpg"):
            assert shown == []
            continue
        assert values["image_id"] == name.removeprefix("train/").removesuffix(".jpg")
        assert [a["category"] for a in values["annotations"]] == ["Person", "Bird"]
        for k, mask in enumerate(shown, 1):
            assert np.array_equal(mask, scene.ids == k)


def test_a_bad_frame_of_a_video_is_rejected_alone(tmp_path: Path) -> None:
    folder = write_fixture("ovis", tmp_path)
    path = folder / "annotations_train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["segmentations"][1] = rle(np.ones((3, 3), bool), compressed=True)
    document["annotations"] += [{"video_id": 1}, {"video_id": [1], "segmentations": []}]
    document["videos"] += [{"id": 7}, {**document["videos"][0], "id": 8, "file_names": 5}]
    save_json(path, document)
    result = read(open_source("ovis", "native", folder))
    assert sorted(result.reasons) == [
        *("annotation_fields", "annotation_fields", "image_fields", "image_fields", "rle_size")
    ]
    assert sum(len(row["masks"]) for row in result.rows.values()) == 7
    save_json(path, {"images": []})
    with pytest.raises(SourceError, match="YouTube-VIS JSON with a list of videos"):
        open_source("ovis", "native", folder).listing()


def test_a_second_name_of_a_category_and_a_malformed_one_are_rejected(tmp_path: Path) -> None:
    names = [
        {"id": 1, "name": "person"},
        {"id": 1, "name": "person"},
        {"id": 1, "name": "bicycle"},
        {"id": 2, "name": "bicycle"},
        {"id": 3, "name": "car"},
        {"name": "boat"},
    ]
    source, _ = release(tmp_path, categories=names)
    result = read(source)
    assert [(r.reason, r.expected) for r in result.rejects] == [
        ("category_invalid", "one name of category 1, 'person'"),
        ("category_invalid", "a category with id and name"),
    ]
    assert [a["category"] for a in result.row()["annotations"]] == ["person", "bicycle", "car"]
