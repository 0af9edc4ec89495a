"""Evaluation configs come out as imgs/ and gts/, or as imgs/ and a COCO file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
from pycocotools.coco import COCO

from builder.core.errors import ShardError
from builder.core.records import Item, Json, Listing, Outcome
from builder.exporting.evaluation import coco, has_one_mask
from builder.exporting.origin import Origin
from builder.exporting.result import Exported
from builder.exporting.tree import export_config
from builder.masks.png import encode_bitmap
from builder.shards.config import build_config
from builder.shards.plan import Settings
from tests.factory import annotation, jpeg, masks

WIDTH, HEIGHT = 50, 40


@dataclass(frozen=True)
class MadeSource:
    """An evaluation release made as it is read: `counts` masks in the image of each name."""

    config: str
    counts: dict[str, int]
    split: str = "val"
    splits: dict[str, str] = field(default_factory=dict)
    kind: str = "eval"
    name: str = "made"

    def listing(self) -> Listing:
        items = [
            Item(name, 5000, number, self.splits.get(name, self.split))
            for number, name in enumerate(self.counts)
        ]
        return Listing(items, {"name": self.name, "size": 0, "members": len(items), "sha256": ""})

    def settings(self) -> Json:
        return {}

    @contextmanager
    def open(self) -> Iterator[MadeSource]:
        yield self

    def inputs(self, item: Item) -> str:
        return item.key

    def read(self, item: Item) -> Outcome:
        return Outcome(make_row(item.key, item.locator, self.counts[item.key]))


def shapes(number: int, count: int) -> Sequence[Any]:
    return masks(WIDTH, HEIGHT, count, seed=number)


def make_row(name: str, number: int, count: int) -> Json:
    made = [annotation(mask, i + 1) for i, mask in enumerate(shapes(number, count))]
    keys = ("id", "segmentation", "bbox", "area")
    annotations = [
        {
            **{key: one[key] for key in keys},
            "category": "boat" if i else None,
            "category_id": 7 if i else None,
            "iscrowd": i == 2,
        }
        for i, one in enumerate(made)
    ]
    image = jpeg(WIDTH, HEIGHT, number)
    return {
        "image": {"bytes": image, "path": name},
        "image_id": name.rpartition(".")[0],
        "file_name": name,
        "width": WIDTH,
        "height": HEIGHT,
        "masks": [{"bytes": encode_bitmap(mask), "path": None} for mask in shapes(number, count)],
        "void_mask": None,
        "annotations": annotations,
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "source": "made",
        "num_rejected": 0,
    }


def export(tmp_path: Path, source: MadeSource) -> Exported:
    build_config(source, tmp_path / "dist", Settings("arrow", 8_000), quiet=True)
    return export_config(Origin(str(tmp_path / "dist"), source.config), tmp_path / "out")


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("b/c.JPG", "d.jpg", "b/c.jpg")])
def test_two_images_that_want_one_mask_file_are_named(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    wanted = rf"{names[0]} and {names[-1]} would have the same mask file"
    with pytest.raises(ShardError, match=wanted):
        export(tmp_path, MadeSource("camo_asam", dict.fromkeys(names, 1)))
    export(tmp_path / "coco", MadeSource("ade20k", dict.fromkeys(names, 1)))  # it has one file


def test_one_mask_sets_become_imgs_and_gts(tmp_path: Path) -> None:
    counts = {"a.jpg": 1, "b/c.jpg": 1, "b/d.JPG": 1, "empty.jpg": 0}
    exported = export(tmp_path, MadeSource("camo_asam", counts))
    folder = tmp_path / "out" / "CAMO_ASAM"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        *(f"imgs/{name}" for name in counts),
        *("gts/a.png", "gts/b/c.png", "gts/b/d.png", "gts/empty.png"),
    }
    for number, name in enumerate(counts):
        assert (folder / "imgs" / name).read_bytes() == jpeg(WIDTH, HEIGHT, number)
        mask = skimage.io.imread((folder / "gts" / name).with_suffix(".png"))[..., 0]
        expected = shapes(number, 1)[0] if counts[name] else np.zeros((HEIGHT, WIDTH))
        assert np.array_equal(mask, np.where(expected, 255, 0))
    assert [loader["im_ext"] for loader in exported.loaders] == [".JPG", ".jpg"]
    assert {loader["name"] for loader in exported.loaders} == {"camo"}
    for loader in exported.loaders:
        # ASAM's get_im_gt_name_dict finds the ground truth of an image by these replacements.
        for name in counts:
            image = f"{loader['im_dir']}/{name}"
            if name.endswith(loader["im_ext"]):
                truth = image.replace(loader["im_ext"], loader["gt_ext"])
                assert Path(truth.replace(loader["im_dir"], loader["gt_dir"])).exists()


@pytest.mark.parametrize("name", ["imgs/a.jpg", "gts/a.png"])
def test_a_cut_file_is_written_again(tmp_path: Path, name: str) -> None:
    path = export(tmp_path, MadeSource("camo_asam", {"a.jpg": 1})).folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    export(tmp_path, MadeSource("camo_asam", {"a.jpg": 1}))
    assert path.read_bytes() == whole


def test_other_sets_become_imgs_and_a_coco_file(tmp_path: Path) -> None:
    counts = {f"{i:012d}.jpg": i % 4 for i in range(1, 9)}
    exported = export(tmp_path, MadeSource("coco2017", counts))
    (loader,) = exported.loaders
    assert loader["name"] == "coco2017_coco"
    read = COCO(loader["annotation_file"])
    assert sorted(read.imgs) == list(range(1, 9))
    for number, (name, count) in enumerate(counts.items()):
        info = read.imgs[int(name.removesuffix(".jpg"))]
        assert info["file_name"] == name
        assert (Path(loader["im_dir"]) / name).read_bytes() == jpeg(WIDTH, HEIGHT, number)
        annotations = read.loadAnns(read.getAnnIds(imgIds=info["id"]))
        assert len(annotations) == count
        for one, mask in zip(annotations, shapes(number, count), strict=True):
            assert np.array_equal(read.annToMask(one), mask)
            assert one["area"] == mask.sum()
    assert {c["id"]: c["name"] for c in read.cats.values()} == {0: "object", 7: "boat"}
    assert {a["iscrowd"] for a in read.anns.values()} == {0, 1}


def test_several_splits_have_a_folder_each(tmp_path: Path) -> None:
    source = MadeSource("lvis", {"a.jpg": 2, "b.jpg": 1}, splits={"a.jpg": "train"})
    exported = export(tmp_path, source)
    folder = tmp_path / "out" / "LVIS"
    assert (folder / "train" / "imgs" / "a.jpg").exists()
    assert (folder / "val" / "imgs" / "b.jpg").exists()
    assert exported.files == [folder / split / "instances.json" for split in ("train", "val")]
    assert len(json.loads(exported.files[0].read_bytes())["annotations"]) == 2


def test_ids_that_are_no_numbers_are_numbered_and_kept(tmp_path: Path) -> None:
    exported = export(tmp_path, MadeSource("ade20k", {"x/a.jpg": 1, "x/b.jpg": 1}))
    images = json.loads(exported.files[0].read_bytes())["images"]
    assert [(i["id"], i["release_id"]) for i in images] == [(1, "x/a"), (2, "x/b")]


def test_a_category_0_of_the_release_stays_apart_from_none() -> None:
    entry = make_row("1.jpg", 0, 3)
    entry["annotations"][1].update(category="sky", category_id=0)
    document = coco([entry])
    assert [a["category_id"] for a in document["annotations"]] == [8, 0, 7]
    assert document["categories"] == [
        {"id": 0, "name": "sky"},
        {"id": 7, "name": "boat"},
        {"id": 8, "name": "object"},
    ]


def test_two_masks_where_one_is_due_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"big/val-.*arrow, b\.jpg: expected one mask, found 2"):
        export(tmp_path, MadeSource("big", {"a.jpg": 1, "b.jpg": 2}))


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "b/../../a.jpg", "b\\a.jpg", "."])
def test_a_file_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ShardError, match="expected a relative path"):
        export(tmp_path, MadeSource("lvis", {name: 1}))
    assert not list(tmp_path.rglob("a.jpg"))


def test_only_asams_single_mask_sets_have_one_mask() -> None:
    assert has_one_mask("doors")
    assert has_one_mask("cvc_clinicdb_asam")
    assert not has_one_mask("bigger")
    assert not has_one_mask("cityscapes_sam")
