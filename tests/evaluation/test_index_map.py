"""Maps of ids: what their values mean, and maps that don't fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builder.core.errors import SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import Scene, save_ids, save_photo
from tests.evaluation.reading import masks, read, void

TRUTH = "gtFine/val/frankfurt/frankfurt_000000_000000_gtFine_instanceIds.png"


def test_every_value_but_the_background_is_the_instance_it_was(releases: dict[str, Path]) -> None:
    for (_, name), values in read(open_source("ppdls", "native", releases["ppdls"])).rows.items():
        with Image.open(releases["ppdls"] / name.replace("_rgb", "_label")) as image:
            label = np.asarray(image)
        keys = label if label.ndim == 2 else label[:, :, 0]
        assert [a["id"] for a in values["annotations"]] == [1, 2, 3]
        assert {a["category"] for a in values["annotations"]} == {"leaf"}
        for value, mask in enumerate(masks(values), 1):
            assert np.array_equal(mask, keys == value)


def test_vocs_void_is_a_mask_and_its_classes_come_from_the_other_map(
    releases: dict[str, Path],
) -> None:
    folder = releases["voc2012"] / "VOCdevkit/VOC2012"
    result = read(open_source("voc2012", "native", releases["voc2012"]))
    assert [i.key[-15:] for i in result.listing.items] == [
        *("2007_000032.jpg", "2007_000027.jpg", "2007_000033.jpg")
    ]
    for values in result.rows.values():
        with Image.open(folder / f"SegmentationObject/{values['image_id']}.png") as image:
            assert image.mode == "P"
            objects = np.asarray(image)
        assert np.array_equal(void(values), objects == 255)
        for value, mask in enumerate(masks(values), 1):
            assert np.array_equal(mask, objects == value)
        assert [(a["category"], a["category_id"]) for a in values["annotations"]] == [
            ("person", 15),
            ("aeroplane", 1),
            ("aeroplane", 1),
        ]


def test_voc_without_the_map_of_classes_has_no_categories(tmp_path: Path) -> None:
    folder = write_fixture("voc2012", tmp_path)
    (folder / "VOCdevkit/VOC2012/SegmentationClass/2007_000032.png").unlink()
    values = read(open_source("voc2012", "native", folder, splits=["train"])).row()
    assert [(a["category"], a["category_id"]) for a in values["annotations"]] == [(None, None)] * 3


def test_cityscapes_by_each_protocol(releases: dict[str, Path]) -> None:
    with Image.open(releases["cityscapes"] / TRUTH) as image:
        ids = np.asarray(image).astype(int)
    found = {}
    for protocol in ("native", "sam", "asam"):
        source = open_source("cityscapes", protocol, releases["cityscapes"], splits=["val"])
        values = read(source).rows[
            "val", "leftImg8bit/val/frankfurt/frankfurt_000000_000000_leftImg8bit.png"
        ]
        found[protocol] = [
            (a["id"], a["category"], a["category_id"], a["iscrowd"]) for a in values["annotations"]
        ]
        for annotation, mask in zip(values["annotations"], masks(values), strict=True):
            assert np.array_equal(mask, ids == annotation["id"])
        if protocol == "asam":
            assert values["void_mask"] is None
        else:
            assert np.array_equal(void(values), ids == 1)
    cars = [(26000, "car", 26, False), (26001, "car", 26, False)]
    assert found["native"] == [(24, "person", 24, True), *cars]
    assert found["sam"] == [(7, "road", 7, False), (24, "person", 24, True), *cars]
    assert found["asam"] == [
        *((1, "ego vehicle", 1, False), (7, "road", 7, False), (24, "person", 24, False)),
        *cars,
    ]


def test_ade20k_has_objects_in_native_and_parts_too_in_sam(releases: dict[str, Path]) -> None:
    name = "ADE20K_2016_07_26/images/validation/a/abbey/ADE_val_00000001.jpg"
    objects = read(open_source("ade20k", "native", releases["ade20k"])).rows["validation", name]
    both = read(open_source("ade20k", "sam", releases["ade20k"])).rows["validation", name]
    scene = Scene(1)
    assert [a["category_id"] for a in objects["annotations"]] == [301, 302, 303]
    assert [a["category"] for a in objects["annotations"]] == [None] * 3
    for k, mask in enumerate(masks(objects), 1):
        assert np.array_equal(mask, scene.ids == k)
    assert both["annotations"][:3] == objects["annotations"]
    parts = masks(both)[3:]
    assert len(parts) == 2
    assert np.array_equal(parts[0] | parts[1], scene.ids == 1)


def test_ade20ks_names_come_from_the_json_of_the_2021_release(tmp_path: Path) -> None:
    folder = tmp_path / "ADE20K_2021_17_01/images/ADE/validation/urban/street"
    save_photo(folder / "ADE_val_00000001.jpg", Scene(0))
    codes = np.where(Scene(0).ids == 1, 10 + 256 * 45 + 65536, 0)  # class 301
    codes[Scene(0).ids == 2] = 20 + 65536 * 2  # class 512
    save_ids(folder / "ADE_val_00000001_seg.png", codes, "RGB")
    path = folder / "ADE_val_00000001.json"
    path.write_text(json.dumps({"annotation": {"object": [{"name_ndx": 301, "name": "car"}]}}))
    source = open_source("ade20k", "sam", tmp_path)
    found = [(a["category_id"], a["category"]) for a in read(source).row()["annotations"]]
    assert sorted(found) == [(301, "car"), (512, None)]
    path.write_text("[]")
    with pytest.raises(SourceError, match="names_unreadable: expected ADE20K's"):
        source.listing()


def test_semantic_sets_have_a_mask_per_class_and_void(releases: dict[str, Path]) -> None:
    values = read(open_source("zerowaste_f", "asam", releases["zerowaste_f"], splits=["val"]))
    for row in values.rows.values():
        assert [a["category"] for a in row["annotations"]] == [
            *("rigid_plastic", "cardboard", "metal")
        ]
        assert void(row)[:2].all()
        assert not void(row)[2:].any()
    for row in read(open_source("dram", "native", releases["dram"])).rows.values():
        assert [a["category"] for a in row["annotations"]] == ["dog", "person"]
        assert void(row).any()  # the bicycle
    for row in read(open_source("dram", "asam", releases["dram"])).rows.values():
        assert [a["category_id"] for a in row["annotations"]] == [None] * 3


def test_hypersims_minus_one_is_no_instance(releases: dict[str, Path]) -> None:
    pytest.importorskip("h5py")
    result = read(open_source("hypersim", "native", releases["hypersim"]))
    for values in result.rows.values():
        assert [a["id"] for a in values["annotations"]] == [41, 42, 43]
        assert [a["category"] for a in values["annotations"]] == ["chair", "sofa", "table"]
        assert values["image_id"] in (
            "ai_001_001/cam_00/frame.0000",
            "ai_055_010/cam_00/frame.0001",
        )


def test_ishape_needs_16_bits(tmp_path: Path) -> None:
    folder = write_fixture("ishape", tmp_path)
    path = folder / "ishape_dataset/fence/val/instance_map/0000.png"
    save_ids(path, Scene(2).ids)
    result = read(open_source("ishape", "native", folder))
    assert result.reject().reason == "truth_depth"
    assert result.reject().member == "ishape_dataset/fence/val/image/0000.jpg"
    assert "8 bits lose ids above 255" in result.reject().expected
    assert {a["category"] for row in result.rows.values() for a in row["annotations"]} == {
        *("antenna", "branch", "fence", "hanger", "log", "wire")
    }


def test_a_release_of_8_bit_maps_is_an_error_not_an_empty_dataset(tmp_path: Path) -> None:
    folder = write_fixture("cityscapes", tmp_path)
    for path in folder.glob("gtFine/val/*/*_instanceIds.png"):
        with Image.open(path) as image:
            ids = np.asarray(image)
        save_ids(path, ids % 256)
    with pytest.raises(SourceError, match="not one usable image of cityscapes_sam, split val") as e:
        open_source("cityscapes", "sam", folder).listing()
    assert "truth_depth: expected 16-bit values" in str(e.value)
    assert "found frankfurt_000000_000000_gtFine_instanceIds.png: 8-bit, mode L" in str(e.value)


def test_a_palette_png_saved_as_rgb_is_rejected(tmp_path: Path) -> None:
    folder = write_fixture("voc2012", tmp_path)
    path = folder / "VOCdevkit/VOC2012/SegmentationObject/2007_000033.png"
    with Image.open(path) as image:
        colours = image.convert("RGB")
    colours.save(path)
    result = read(open_source("voc2012", "asam", folder))
    assert result.reject().reason == "truth_mode"
    assert result.reject().found == "2007_000033.png: mode RGB"


def test_a_map_of_another_size_rejects_its_image(tmp_path: Path) -> None:
    folder = write_fixture("egohos", tmp_path)
    save_ids(folder / "data/val/label/ego4d_00001.png", np.ones((10, 20), np.int32))
    result = read(open_source("egohos", "asam", folder))
    assert result.reject().reason == "mask_size"
    assert result.reject().expected == "66 x 49 pixels, as the image"
    assert result.reject().found == "data/val/label/ego4d_00001.png: 20 x 10"


def test_a_value_without_a_name_is_rejected_alone(tmp_path: Path) -> None:
    folder = write_fixture("egohos", tmp_path)
    ids = Scene(1).ids.copy()
    ids[ids == 3] = 77
    save_ids(folder / "data/val/label/ego4d_00001.png", ids)
    result = read(open_source("egohos", "asam", folder))
    reject = result.reject()
    assert (reject.reason, reject.annotation_id, reject.found) == ("category_unknown", 77, "77")
    assert reject.expected == "one of 0 to 8"
    assert [len(row["masks"]) for row in result.rows.values()] == [2, 3]


def test_an_image_without_an_instance_is_dropped_where_the_protocol_says_so(tmp_path: Path) -> None:
    folder = write_fixture("egohos", tmp_path)
    save_ids(folder / "data/val/label/ego4d_00001.png", np.zeros((49, 66), np.int32))
    assert read(open_source("egohos", "asam", folder)).reject().reason == "no_instance"
    native = read(open_source("egohos", "native", folder, splits=["val"]))
    assert [len(row["masks"]) for row in native.rows.values()] == [0, 3]
    assert native.rejects == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_of_ids_saved_on_windows_names_the_same_images(
    tmp_path: Path, encoding: str
) -> None:
    folder = write_fixture("voc2012", tmp_path)
    before = [item.key for item in open_source("voc2012", "native", folder).listing().items]
    lists = [path for path in folder.rglob("*.txt") if "Segmentation" in str(path)]
    for path in lists:
        path.write_bytes("\r\n".join(path.read_text().split("\n")).encode(encoding))
    assert lists
    assert [i.key for i in open_source("voc2012", "native", folder).listing().items] == before


def test_a_list_of_ids_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    folder = write_fixture("voc2012", tmp_path)
    for path in folder.rglob("*.txt"):
        path.write_bytes(b"caf\xe9\n")
    with pytest.raises(SourceError, match=r"\.txt: expected UTF-8, .*0xe9.*: save it as UTF-8"):
        open_source("voc2012", "native", folder).listing()
