"""Real samples of the releases, where they are: masks equal to what the release's rule gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from builder.sources.evaluation import open_source
from tests.evaluation.reading import Read, masks, read, samples, void


def link(folder: Path, **targets: Path) -> Path:
    """A folder in which each name (`__` for `/`) is a link to its target."""
    for name, target in targets.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return folder


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image).copy()


def blank_photos(folder: Path, document: Path, key: str) -> None:
    """A gray photo of the right size for each image that a COCO JSON lists."""
    for image in json.loads(document.read_text())["images"]:
        path = folder / "/".join(image[key].rsplit("/", 2)[-2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (image["width"], image["height"])).save(path)


def compare_with_pycocotools(result: Read, document: Path) -> int:
    api = COCO(str(document))
    compared = 0
    for values in result.rows.values():
        by_id = {a["id"]: a for a in api.imgToAnns[int(values["image_id"])]}
        for mine, mask in zip(values["annotations"], masks(values), strict=True):
            theirs = by_id[mine["id"]]
            assert np.array_equal(mask, api.annToMask(theirs).astype(bool))
            assert mine["category"] == api.cats[theirs["category_id"]]["name"]
            assert mine["iscrowd"] == bool(theirs.get("iscrowd", 0))
            compared += 1
    return compared


def test_coco(tmp_path: Path) -> None:
    root = samples("coco2017_tiny")
    folder = link(tmp_path, val2017=root / "images/val2017", annotations=root / "annotations")
    for protocol in ("native", "asam"):
        result = read(open_source("coco2017", protocol, folder))
        assert result.rejects == []
        assert compare_with_pycocotools(result, root / "annotations/instances_val2017.json") == 136
    assert sum(a["iscrowd"] for row in result.rows.values() for a in row["annotations"]) == 1


def test_lvis(tmp_path: Path) -> None:
    document = samples("lvis") / "lvis_val_100.json"
    folder = link(tmp_path, **{"lvis_v0.5_val.json": document})
    blank_photos(folder, document, "coco_url")
    result = read(open_source("lvis", "sam", folder))
    assert {reject.reason for reject in result.rejects} <= {"mask_empty", "polygon_too_short"}
    assert compare_with_pycocotools(result, document) + len(result.rejects) == 977


def test_voc_2007_under_the_name_of_2012(tmp_path: Path) -> None:
    root = samples("voc2007") / "VOCdevkit/VOC2007"
    result = read(open_source("voc2012", "native", link(tmp_path, VOCdevkit__VOC2012=root)))
    assert [(split, name[-10:]) for split, name in result.rows] == [
        *(("train", "000032.jpg"), ("train", "000033.jpg"), ("val", "000039.jpg"))
    ]
    for values in result.rows.values():
        objects = pixels(root / f"SegmentationObject/{values['image_id']}.png")
        classes = pixels(root / f"SegmentationClass/{values['image_id']}.png")
        assert np.array_equal(void(values), objects == 255)
        assert [a["id"] for a in values["annotations"]] == [
            value for value in np.unique(objects) if value not in (0, 255)
        ]
        for annotation, mask in zip(values["annotations"], masks(values), strict=True):
            assert np.array_equal(mask, objects == annotation["id"])
            inside = classes[mask]
            assert annotation["category_id"] == np.bincount(inside[inside < 255]).argmax()


@pytest.mark.parametrize("protocol", ["native", "sam", "asam"])
def test_cityscapes(protocol: str) -> None:
    root = samples("cityscapes_small") / "pseudo_cityscapes_dataset"
    values = read(open_source("cityscapes", protocol, root)).row()
    truth = next(root.glob("gtFine/val/*/*_instanceIds.png"))
    ids = pixels(truth)
    labels = pixels(truth.with_name(truth.name.replace("instanceIds", "labelIds")))
    for annotation, mask in zip(values["annotations"], masks(values), strict=True):
        assert np.array_equal(mask, ids == annotation["id"])
        assert set(np.unique(labels[mask])) == {annotation["category_id"]}
    if protocol == "asam":
        assert sorted(a["id"] for a in values["annotations"]) == np.unique(ids).tolist()
    else:
        # cityscapesscripts' labels.py: ignoreInEval
        ignored = [*range(7), 9, 10, 14, 15, 16, 18, 29, 30]
        assert np.array_equal(void(values), np.isin(labels, ignored))
    if protocol == "sam":
        assert np.array_equal(np.any(masks(values), axis=0), ~void(values))


def test_ade20k_2021() -> None:
    root = samples("ade20k_2021")
    result = read(open_source("ade20k", "native", root))
    assert len(result.rows) == 2
    for (_, name), values in result.rows.items():
        photo = root / name
        objects = json.loads(photo.with_suffix(".json").read_text("utf-8", "replace"))
        objects = objects["annotation"]["object"]
        pairs = zip(values["annotations"], masks(values), strict=True)
        found = {annotation["id"]: (annotation, mask) for annotation, mask in pairs}
        colours = pixels(photo.with_name(f"{photo.stem}_seg.png")).astype(int)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        assert sorted(found) == [value for value in np.unique(ids) if value]
        compared = 0
        for thing in objects:
            if thing["parts"]["part_level"]:
                continue
            instance = pixels(photo.parent / thing["instance_mask"])  # 128 where occluded
            (code,) = np.unique(ids[instance == 255])
            annotation, mask = found[int(code)]
            assert mask[instance == 255].all()
            assert not mask[instance == 0].any()
            assert annotation["category"] == thing["name"]
            assert annotation["category_id"] == thing["name_ndx"]
            compared += 1
        assert compared == len(found)


def test_ade20k_2016(tmp_path: Path) -> None:
    root = samples("ade20k_2016") / "ADE20K_2016_07_26"
    for truth in root.rglob("*_seg.png"):
        ids = pixels(truth).astype(int)
        name = truth.relative_to(root.parent)
        link(tmp_path, **{name.as_posix(): truth})
        photo = tmp_path / name.with_name(name.name.replace("_seg.png", ".jpg"))
        Image.new("L", (ids.shape[1], ids.shape[0])).save(photo)
    result = read(open_source("ade20k", "native", tmp_path))
    assert len(result.rows) == 2
    for (_, file_name), values in result.rows.items():
        colours = pixels(root.parent / file_name.replace(".jpg", "_seg.png")).astype(int)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        assert len(values["masks"]) == len(np.unique(ids)) - 1 >= 8
        for annotation, mask in zip(values["annotations"], masks(values), strict=True):
            assert np.array_equal(mask, ids == annotation["id"])


def test_bbbc038() -> None:
    root = samples("bbbc038")
    result = read(open_source("bbbc038v1", "native", root))
    assert result.rejects == []
    assert len(result.rows) == 7
    for values in result.rows.values():
        files = sorted((root / "stage1_train" / values["image_id"] / "masks").glob("*.png"))
        for mask, path in zip(masks(values), files, strict=True):
            assert np.array_equal(mask, pixels(path) == 255)


def test_cvppp(tmp_path: Path) -> None:
    root = samples("cvppp_a1")
    folder = link(tmp_path, Plant_Phenotyping_Datasets__Plant__A1=root / "A1")
    result = read(open_source("ppdls", "native", folder))
    assert len(result.rows) == 5
    for values in result.rows.values():
        label = pixels(root / f"A1/{values['image_id']}_label.png")
        foreground = pixels(root / f"A1/{values['image_id']}_fg.png")
        shown = masks(values)
        assert len(shown) == len(np.unique(label)) - 1
        for annotation, mask in zip(values["annotations"], shown, strict=True):
            assert np.array_equal(mask, label == annotation["id"])
        assert np.array_equal(np.any(shown, axis=0), foreground > 0)


def test_kvasir() -> None:
    root = samples("kvasir_seg")
    result = read(open_source("kvasir_seg", "native", root))
    assert len(result.rows) == 5
    for values in result.rows.values():
        gray = pixels(root / f"Kvasir-SEG/masks/{values['image_id']}.jpg")[..., 0]
        (mask,) = masks(values)
        assert np.array_equal(mask, gray > 127)
        assert np.array_equal(mask, gray > 16)  # no gray value between: any threshold does


def test_camo(tmp_path: Path) -> None:
    root = samples("camo")
    for name in ("camourflage_00012", "camourflage_00018"):
        link(
            tmp_path,
            **{
                f"CAMO/imgs/{name}.jpg": root / f"COD_CAMO_{name}.jpg",
                f"CAMO/gts/{name}.png": root / f"COD_CAMO_{name}.png",
            },
        )
    result = read(open_source("camo", "asam", tmp_path))
    assert len(result.rows) == 2
    for values in result.rows.values():
        (mask,) = masks(values)
        assert np.array_equal(mask, pixels(root / f"COD_CAMO_{values['image_id']}.png") == 255)
