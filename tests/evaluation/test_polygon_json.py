"""VIA, VISOR and WoodScape JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from builder.core.errors import SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import Scene, save_json
from tests.evaluation.reading import masks, read, void

STREETS = "vehicleannotations/annotations/vehicle-annotations.json"


def edit(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_via_regions_are_filled_by_each_releases_rule(releases: dict[str, Path]) -> None:
    draw = pytest.importorskip("skimage.draw")
    for (_, name), values in read(
        open_source("streets", "native", releases["streets"])
    ).rows.items():
        if "Delany" in name:
            continue
        scene = Scene(int(name[-5]))
        for mask, polygon in zip(masks(values), scene.polygons, strict=True):
            expected = np.zeros(mask.shape, bool)
            expected[draw.polygon([y for _, y in polygon], [x for x, _ in polygon])] = True
            assert np.array_equal(mask, expected)
    for (_, name), values in read(open_source("ndd20", "native", releases["ndd20"])).rows.items():
        scene = Scene(int(Path(name).stem))
        assert [a["category"] for a in values["annotations"]] == ["BND", "WBD", "BND"]
        for mask, polygon in zip(masks(values), scene.polygons, strict=True):
            flat = [float(value) for point in polygon for value in point]
            expected = coco.decode(coco.merge(coco.frPyObjects([flat], *mask.shape)))
            assert np.array_equal(mask, expected.astype(bool))


def test_visor_draws_all_segments_of_an_object_at_once(releases: dict[str, Path]) -> None:
    cv2 = pytest.importorskip("cv2")
    truth = releases["visor"] / "GroundTruth-SparseAnnotations/annotations/val/P01_107.json"
    records = {r["image"]["name"]: r for r in edit(truth)["video_annotations"]}
    result = read(open_source("visor", "sam", releases["visor"]))
    assert len(result.rows) == 2
    for (_, name), values in result.rows.items():
        record = records[Path(name).name]
        assert [(a["category"], a["category_id"]) for a in values["annotations"]] == [
            ("left hand", 300),
            ("board:chopping", 13),
        ]
        for mask, thing in zip(masks(values), record["annotations"], strict=True):
            expected = np.zeros(mask.shape, np.uint8)
            cv2.fillPoly(expected, [np.array(s, dtype=np.int32) for s in thing["segments"]], 1)
            assert np.array_equal(mask, expected.astype(bool))
        assert not masks(values)[0][10, 12]  # the hole


def test_woodscape_keeps_void_apart_in_native_only(releases: dict[str, Path]) -> None:
    native = read(open_source("woodscape", "native", releases["woodscape"])).rows
    sam = read(open_source("woodscape", "sam", releases["woodscape"])).rows
    for key, values in native.items():
        assert [a["category"] for a in values["annotations"]] == ["car", "sky"]
        everything = masks(sam[key])
        assert [a["category"] for a in sam[key]["annotations"]] == ["car", "void", "sky"]
        assert sam[key]["void_mask"] is None
        assert np.array_equal(void(values), everything[1])
        assert all(map(np.array_equal, masks(values), everything[::2]))


def test_woodscape_as_asam_draws_it_differs(releases: dict[str, Path]) -> None:
    from PIL import Image, ImageDraw

    result = read(open_source("woodscape", "asam", releases["woodscape"]))
    for (_, name), values in result.rows.items():
        scene = Scene(int(Path(name).name[:5]))
        for mask, polygon in zip(masks(values), scene.polygons, strict=True):
            image = Image.new("L", scene.size)
            ImageDraw.Draw(image).polygon(polygon, outline=1, fill=1)
            assert np.array_equal(mask, np.asarray(image).astype(bool))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"all_points_x": [1, 9], "all_points_y": [1, 9]}, "polygon_too_short"),
        ({"all_points_x": [1, 9, 9], "all_points_y": [1, 9]}, "polygon_malformed"),
        ({"all_points_x": [1, 9, 900], "all_points_y": [1, 9, 900]}, "polygon_outside_image"),
        ({"all_points_x": [1, 9, float("nan")], "all_points_y": [1, 9, 5]}, "polygon_not_finite"),
        ({"name": "circle", "cx": 3, "cy": 3, "r": 2}, "shape_unknown"),
        ({"all_points_x": [1, 9, 9]}, "annotation_fields"),
        ({}, "annotation_fields"),
    ],
)
def test_a_region_that_is_no_polygon_is_rejected_alone(
    tmp_path: Path, shape: dict[str, Any], reason: str
) -> None:
    folder = write_fixture("streets", tmp_path)
    document = edit(folder / STREETS)
    first = next(iter(document.values()))
    first["regions"]["1"] = {"shape_attributes": shape}
    save_json(folder / STREETS, document)
    result = read(open_source("streets", "native", folder))
    assert (result.reject().reason, result.reject().annotation_id) == (reason, 1)
    assert sum(len(values["masks"]) for values in result.rows.values()) == 5


@pytest.mark.parametrize("document", [[], {}, {"a": 5}, {"a": {"filename": "x.jpg"}}])
def test_a_json_that_is_not_via_is_an_error(tmp_path: Path, document: Any) -> None:
    folder = write_fixture("streets", tmp_path)
    save_json(folder / STREETS, document)
    with pytest.raises(SourceError, match=r"expected VIA's .* found .*another release"):
        open_source("streets", "native", folder).listing()
    (folder / STREETS).write_text("{")
    with pytest.raises(SourceError, match="expected JSON, found"):
        open_source("streets", "native", folder).listing()


@pytest.mark.parametrize(
    "document",
    [{}, [], {"video_annotations": [{}]}, {"video_annotations": [{"image": {}, "annotations": 1}]}],
)
def test_a_json_that_is_not_visors_is_an_error(tmp_path: Path, document: Any) -> None:
    folder = write_fixture("visor", tmp_path)
    path = folder / "GroundTruth-SparseAnnotations/annotations/val/P01_107.json"
    save_json(path, document)
    with pytest.raises(SourceError, match="expected VISOR's"):
        open_source("visor", "sam", folder).listing()


def test_an_object_of_visor_without_segments_is_rejected(tmp_path: Path) -> None:
    folder = write_fixture("visor", tmp_path)
    path = folder / "GroundTruth-SparseAnnotations/annotations/val/P01_107.json"
    document = edit(path)
    first, second = document["video_annotations"]
    first["annotations"][0]["segments"] = [[]]
    del second["annotations"][1]["segments"]
    save_json(path, document)
    result = read(open_source("visor", "sam", folder))
    assert result.reasons == ["polygon_too_short", "annotation_fields"]
    assert [len(values["masks"]) for values in result.rows.values()] == [1, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "truth_unreadable"),
        ("{}", "truth_unreadable"),
        ('{"a": {"annotation": 5}}', "truth_unreadable"),
        ('{"a": {"annotation": []}, "b": {"annotation": []}}', "truth_unreadable"),
        ('{"a": {"annotation": [], "image_width": 9, "image_height": 9}}', "mask_size"),
    ],
)
def test_a_bad_file_of_woodscape_rejects_its_image(
    tmp_path: Path, content: str, reason: str
) -> None:
    folder = write_fixture("woodscape", tmp_path)
    path = folder / "instance_annotations/instance_annotations/00001_RV.json"
    path.write_text(content)
    result = read(open_source("woodscape", "native", folder))
    assert (result.reject().reason, result.reject().member) == (reason, "rgb_images/00001_RV.png")
    assert len(result.rows) == 3
