"""The sample is what SA-1B would be: pairs by stem, exact masks, and the same bytes every time."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from builder.sources import sample
from builder.sources.sample import scenes
from builder.sources.sample.canvas import Canvas, Layer, Outline

Record = dict[str, Any]


@pytest.fixture(scope="module")
def members(sample_source: sample.SamplePaths) -> dict[str, bytes]:
    with tarfile.open(sample_source.tar) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
            found[member.name] = file.read()
        return found


@pytest.fixture(scope="module")
def records(members: dict[str, bytes]) -> list[Record]:
    return [json.loads(data) for name, data in members.items() if name.endswith(".json")]


@pytest.fixture(scope="module")
def all_annotations(records: list[Record]) -> list[Record]:
    return [annotation for record in records for annotation in record["annotations"]]


def test_jpg_and_json_pair_by_stem_and_are_never_adjacent(members: dict[str, bytes]) -> None:
    stems = [name.rpartition(".")[0] for name in members]
    assert len(stems) == 24
    assert sorted(stems) == sorted(2 * [f"sa_{i}" for i in range(1, 13)])
    assert all(a != b for a, b in itertools.pairwise(stems))


def test_pictures_are_baseline_420_jpegs_of_sa1b_sizes(
    members: dict[str, bytes], records: list[Record]
) -> None:
    shapes = set()
    for record in records:
        info = record["image"]
        data = members[info["file_name"]]
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert image.size == (info["width"], info["height"])
            assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]
            assert not image.info.get("progressive")
        assert min(image.size) == 1500
        assert 1914 <= max(image.size) <= 2650
        assert 200_000 < len(data) < 2_300_000
        shapes.add(image.width > image.height)
    assert shapes == {True, False}


def test_json_is_in_sa1bs_form(members: dict[str, bytes], records: list[Record]) -> None:
    for record in records:
        name = record["image"]["file_name"].replace(".jpg", ".json")
        assert members[name].decode() == json.dumps(record)
        assert list(record) == ["image", "annotations"]
        assert list(record["image"]) == ["image_id", "width", "height", "file_name"]
        for annotation in record["annotations"]:
            assert list(annotation) == [
                *("bbox", "area", "segmentation", "predicted_iou", "point_coords"),
                *("crop_box", "id", "stability_score"),
            ]


def test_masks_decode_to_the_stated_area_box_and_point(records: list[Record]) -> None:
    for record in records:
        height, width = record["image"]["height"], record["image"]["width"]
        rles = [annotation["segmentation"] for annotation in record["annotations"]]
        if not rles:
            continue
        assert coco.area(rles).tolist() == [a["area"] for a in record["annotations"]]
        assert coco.toBbox(rles).tolist() == [a["bbox"] for a in record["annotations"]]
        for i, (rle, annotation) in enumerate(zip(rles, record["annotations"], strict=True)):
            assert rle["size"] == [height, width]
            ((x, y),) = annotation["point_coords"]
            crop = annotation["crop_box"]
            box = annotation["bbox"]
            if i % 5 == 0:  # these are large bitmaps
                assert coco.decode(rle)[int(y), int(x)] == 1
            for axis in range(2):
                assert crop[axis] <= box[axis]
                assert box[axis] + box[axis + 2] <= crop[axis] + crop[axis + 2]


def test_every_kind_of_mask_occurs(records: list[Record], all_annotations: list[Record]) -> None:
    counts = [len(record["annotations"]) for record in records]
    assert counts.count(0) == 1
    assert all(60 <= count <= 120 for count in counts if count)
    areas = np.array([annotation["area"] for annotation in all_annotations])
    assert (areas == 1).any()
    assert areas.max() > 1_000_000
    assert len({annotation["id"] for annotation in all_annotations}) == len(all_annotations)
    assert any(annotation["predicted_iou"] > 1 for annotation in all_annotations)
    edges = {"left": 0, "top": 0, "right": 0, "bottom": 0}
    for annotation in all_annotations:
        x, y, w, h = annotation["bbox"]
        height, width = annotation["segmentation"]["size"]
        edges["left"] += x == 0
        edges["top"] += y == 0
        edges["right"] += x + w == width
        edges["bottom"] += y + h == height
    assert all(edges.values())


def test_masks_overlap_nest_and_have_holes(records: list[Record]) -> None:
    # The second still life: nested parts, and a cup whose handle has a hole.
    record = next(r for r in records if r["image"]["image_id"] == 10)
    masks = [coco.decode(a["segmentation"]).astype(bool)[::4, ::4] for a in record["annotations"]]
    masks.sort(key=np.count_nonzero)
    nested = sum(
        bool(not (a & ~b).any()) for i, a in enumerate(masks) for b in masks[i + 1 : i + 40]
    )
    assert nested > 3
    assert any(_has_hole(mask[::3, ::3]) for mask in masks)


def _has_hole(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether background is left that a flood from outside does not reach."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return False
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = Image.fromarray(np.pad(crop, 1)).convert("L")
    ImageDraw.floodfill(padded, (0, 0), 255)
    return bool((np.asarray(padded) == 0).any())


def test_captions_name_every_picture(
    sample_source: sample.SamplePaths, records: list[Record]
) -> None:
    lines = [json.loads(line) for line in sample_source.captions.read_text().splitlines()]
    assert [set(line) for line in lines] == 12 * [{"img", "prompt"}]
    assert [line["img"] for line in lines] == [r["image"]["file_name"] for r in records]
    assert all(line["prompt"].strip() == line["prompt"] != "" for line in lines)


def test_a_second_run_makes_the_same_bytes(members: dict[str, bytes]) -> None:
    jpeg, record = sample.make_record(9, sample.SCENES[8])
    assert members["sa_9.jpg"] == jpeg
    assert members["sa_9.json"] == json.dumps(record).encode()


def test_every_sample_was_written_at_the_same_time(sample_source: sample.SamplePaths) -> None:
    """So a build of the sample finds what an earlier one did: each makes a tar of its own."""
    assert sample_source.tar.stat().st_mtime_ns == 0


@pytest.mark.parametrize("shape", [(5, 4), (1, 1), (6, 1), (1, 7), (6, 7)])
def test_layers_encode_as_pycocotools_encodes_bitmaps(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    height, width = 6, 7
    scene = sample.Scene(scenes.fog, False, width, height, "")
    for _ in range(30):
        mask = rng.random(shape) < rng.choice([0.2, 0.5, 0.9, 1.0])
        mask[0, 0] = True
        y, x = rng.integers(0, height - shape[0] + 1), rng.integers(0, width - shape[1] + 1)
        whole = np.zeros((height, width), np.uint8, order="F")
        whole[y : y + shape[0], x : x + shape[1]] = mask
        layer = Layer(int(x), int(y), mask)
        assert sample._counts(layer, scene.width, scene.height) == str(
            coco.encode(whole)["counts"], "ascii"
        )


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def test_a_later_shape_hides_an_earlier_one_unless_it_is_its_part() -> None:
    canvas = Canvas(60, 40, np.random.default_rng(0))
    whole = canvas.paint(rectangle(10, 10, 40, 30), (200, 0, 0), rough=0)
    canvas.paint(rectangle(12, 12, 20, 20), (0, 200, 0), part_of=whole, rough=0)
    canvas.paint(rectangle(30, 10, 50, 30), (0, 0, 200), rough=0)
    seen = [np.count_nonzero(layer.mask) for layer in canvas.masks()]
    assert seen[0] == pytest.approx(20 * 20, abs=45)
    assert seen[1] == pytest.approx(8 * 8, abs=20)
    assert seen[2] == pytest.approx(20 * 20, abs=45)
