"""Every protocol of every dataset, read from the fixture of its release."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest

import asam_datasets
from builder.core.errors import SourceError
from builder.core.records import Source
from builder.sources.evaluation import open_source, row
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import Scene, save_photo
from tests.evaluation.reading import masks, read

# (images, masks, images with a void mask) of each split: what the rule makes of the fixture.
EXPECTED: dict[str, dict[str, tuple[int, int, int]]] = {
    "ppdls": {"plant": (4, 12, 0), "tray": (1, 3, 0)},
    "ppdls_sam": {"full": (3, 9, 0)},  # not Ara2013-Canon, no tray
    "ppdls_asam": {"full": (5, 15, 0)},
    "bbbc038v1": {"stage1_train": (3, 9, 0)},
    "bbbc038v1_sam": {"stage1_train": (3, 9, 0)},
    "bbbc038v1_asam": {"stage1_train": (3, 9, 0)},
    "doors": {"ds1": (2, 2, 0), "ds2": (2, 2, 0)},
    "doors_sam": {"ds1": (2, 2, 0)},
    "doors_asam": {"te1": (2, 2, 0), "te2": (2, 2, 0)},
    "timberseg": {"original": (2, 6, 0), "prescaled": (2, 6, 0)},
    "timberseg_sam": {"original": (2, 6, 0)},
    "timberseg_asam": {"prescaled": (2, 6, 0)},
    "ndd20": {"above": (2, 6, 0), "below": (2, 6, 0)},
    "ndd20_sam": {"above": (2, 6, 0), "below": (2, 6, 0)},
    "ndd20_asam": {"above": (2, 6, 0), "below": (2, 6, 0)},
    "lvis": {"train": (1, 3, 0), "val": (2, 6, 0)},
    "lvis_sam": {"val": (1, 3, 0)},
    "lvis_asam": {"val": (1, 3, 0)},  # of the two, the one in val2017
    "streets": {"full": (3, 6, 0)},
    "streets_sam": {"full": (2, 6, 0)},
    "streets_asam": {"full": (2, 6, 0)},
    "zerowaste_f": {"train": (2, 6, 0), "val": (2, 6, 0), "test": (2, 6, 0)},
    "zerowaste_f_sam": {"train": (2, 6, 0)},
    "zerowaste_f_asam": {"train": (2, 6, 2), "val": (2, 6, 2)},
    "ishape": {"train": (6, 18, 0), "val": (6, 18, 0)},
    "ishape_sam": {"val": (6, 18, 0)},
    "ishape_asam": {"val": (1, 3, 0)},
    "ade20k": {"training": (1, 3, 0), "validation": (2, 6, 0)},
    "ade20k_sam": {"validation": (2, 10, 0)},  # 3 objects and 2 parts each
    "ade20k_asam": {"validation": (2, 6, 0)},
    "ovis": {"train": (6, 8, 0)},
    "ovis_sam": {"train": (4, 8, 0)},
    "ovis_asam": {"train": (4, 8, 0)},
    "hypersim": {"full": (2, 6, 0)},
    "hypersim_sam": {"full": (2, 6, 0)},
    "ndispark": {"train": (3, 6, 0), "validation": (2, 6, 0)},
    "ndispark_sam": {"train": (2, 6, 0)},
    "ndispark_asam": {"train": (2, 6, 0)},
    "visor": {"train": (2, 4, 0), "val": (2, 4, 0)},
    "visor_sam": {"val": (2, 4, 0)},
    "visor_asam": {"val": (2, 4, 0)},
    "plittersdorf": {"train": (2, 6, 0), "val": (2, 6, 0), "test": (2, 6, 0)},
    "plittersdorf_sam": {"train": (2, 6, 0), "val": (2, 6, 0), "test": (2, 6, 0)},
    "plittersdorf_asam": {"test": (2, 6, 0)},
    "egohos": {
        "train": (2, 6, 0),
        "val": (2, 6, 0),
        "test_indomain": (2, 6, 0),
        "test_outdomain": (2, 6, 0),
    },
    "egohos_sam": {"train": (2, 6, 0)},
    "egohos_asam": {"val": (2, 6, 0)},
    "ibd": {"train": (2, 6, 0), "val": (2, 6, 0)},
    "ibd_sam": {"train": (2, 6, 0)},
    "ibd_asam": {"val": (2, 6, 0)},
    "woodscape": {"full": (4, 8, 4)},
    "woodscape_sam": {"full": (4, 12, 0)},
    "woodscape_asam": {"full": (4, 12, 0)},
    "cityscapes": {"train": (2, 6, 2), "val": (4, 12, 4)},
    "cityscapes_sam": {"val": (4, 16, 4)},  # and the road
    "cityscapes_asam": {"val": (4, 20, 0)},  # and the ego vehicle
    "pidray": {
        "train": (2, 6, 0),
        "test_easy": (2, 6, 0),
        "test_hard": (2, 6, 0),
        "test_hidden": (2, 6, 0),
    },
    "pidray_sam": {"test_hard": (2, 6, 0)},
    "pidray_asam": {"test_hard": (2, 6, 0)},
    "dram": {"test": (2, 4, 2)},  # the third value is none of the twelve classes
    "dram_sam": {"test": (2, 4, 2)},
    "dram_asam": {"test": (2, 6, 0)},
    "trashcan": {"train": (3, 6, 0), "val": (3, 6, 0)},
    "trashcan_sam": {"train": (2, 6, 0)},
    "trashcan_asam": {"val": (2, 6, 0)},
    "gtea": {"gtea": (2, 6, 0), "gtea_gaze_plus": (1, 3, 0)},
    "gtea_sam": {"gtea": (2, 6, 0)},
    "gtea_asam": {"gtea_gaze_plus": (1, 3, 0)},
    "coco2017": {"train": (3, 6, 0), "val": (3, 6, 0)},
    "coco2017_asam": {"val": (2, 6, 0)},
    "voc2012": {"train": (1, 3, 1), "val": (2, 6, 2)},
    "voc2012_asam": {"val": (2, 6, 2)},
    "big": {"val": (2, 2, 0), "test": (2, 2, 0)},
    "big_asam": {"val": (2, 2, 0)},
    "hrsod_te": {"test": (2, 2, 0)},
    "hrsod_te_asam": {"test": (2, 2, 0)},
    "camo": {"train": (2, 2, 0), "test": (1, 1, 0)},
    "camo_asam": {"test": (1, 1, 0)},
    "kvasir_seg": {"full": (3, 3, 0), "sessile": (1, 1, 0)},
    "kvasir_seg_asam": {"full": (3, 3, 0), "sessile": (1, 1, 0)},
    "cvc_clinicdb": {"full": (2, 2, 0)},
    "cvc_clinicdb_asam": {"full": (2, 2, 0)},
}
CONFIGS = [
    (name, protocol) for name in asam_datasets.EVAL_DATASETS for protocol in row(name).protocols
]


def test_every_config_is_expected() -> None:
    assert [row(name).config(protocol) for name, protocol in CONFIGS] == list(EXPECTED)


@pytest.mark.parametrize(("name", "protocol"), CONFIGS)
def test_a_fixture_gives_what_the_rule_says(
    releases: dict[str, Path], name: str, protocol: str
) -> None:
    source = open_source(name, protocol, releases[name])
    result = read(source)
    assert result.rejects == []
    found: dict[str, tuple[int, int, int]] = {}
    for (split, file_name), values in result.rows.items():
        images, count, voids = found.get(split, (0, 0, 0))
        count += len(masks(values))
        found[split] = images + 1, count, voids + (values["void_mask"] is not None)
        data = (releases[name] / file_name).read_bytes()
        assert values["image"]["bytes"] == data
        assert values["image_sha256"] == hashlib.sha256(data).hexdigest()
        assert values["file_name"] == file_name
        assert values["source"] == name
    assert found == EXPECTED[source.config]


@pytest.mark.parametrize("name", asam_datasets.EVAL_DATASETS)
def test_rows_have_the_evaluation_schema(releases: dict[str, Path], name: str) -> None:
    features = asam_datasets.EVAL_FEATURES
    rows: list[dict[str, Any]] = list(
        read(open_source(name, "native", releases[name])).rows.values()
    )
    assert all(set(values) == set(features) for values in rows)
    plain = datasets.Features({k: v for k, v in features.items() if k not in ("image", "masks")})
    columns = [{key: values[key] for key in plain} for values in rows]
    assert datasets.Dataset.from_list(columns, features=plain).num_rows == len(rows)


@pytest.mark.parametrize(("name", "protocol"), CONFIGS)
def test_an_image_id_is_one_image_of_its_split(
    releases: dict[str, Path], name: str, protocol: str
) -> None:
    items = open_source(name, protocol, releases[name]).listing().items
    ids = [(item.split, item.locator[1].image_id) for item in items]
    assert len(set(ids)) == len(ids)


def test_a_source_travels_to_another_process(releases: dict[str, Path]) -> None:
    for name in ("coco2017", "ovis", "visor", "ade20k"):
        source: Source = open_source(name, "native", releases[name])
        listing = source.listing()
        copy, items = pickle.loads(pickle.dumps((source, listing.items)))
        with copy.open() as theirs, source.open() as ours:
            for mine, their in zip(listing.items, items, strict=True):
                assert ours.read(mine) == theirs.read(their)


def test_listing_twice_gives_the_same(releases: dict[str, Path]) -> None:
    for name in ("lvis", "voc2012", "plittersdorf"):
        first = open_source(name, "native", releases[name]).listing()
        assert first == open_source(name, "native", releases[name]).listing()
        for split in {item.split for item in first.items}:
            keys = [item.key for item in first.items if item.split == split]
            assert keys == sorted(keys)


def test_the_fingerprint_notices_another_annotation_file(tmp_path: Path) -> None:
    folder = write_fixture("streets", tmp_path)
    before = open_source("streets", "native", folder).listing().fingerprint
    path = folder / "vehicleannotations/annotations/vehicle-annotations.json"
    path.write_text(path.read_text().replace("52", "51", 1))
    after = open_source("streets", "native", folder).listing().fingerprint
    assert after["size"] == before["size"]
    assert after["sha256"] != before["sha256"]


@pytest.mark.parametrize(
    ("name", "changed", "count"),
    [
        ("coco2017", "annotations/instances_val2017.json", 3),  # of val, not of train
        ("coco2017", "val2017/000000000139.jpg", 1),
        ("voc2012", "VOCdevkit/VOC2012/SegmentationObject/2007_000027.png", 1),
        ("voc2012", "VOCdevkit/VOC2012/SegmentationClass/2007_000027.png", 1),
        ("bbbc038v1", "stage1_train/00071198d059/masks/1f00c.png", 1),
        ("visor", "GroundTruth-SparseAnnotations/annotations/val/P01_107.json", 2),
    ],
)
def test_a_file_written_anew_changes_the_version_of_what_is_read_from_it(
    tmp_path: Path, name: str, changed: str, count: int
) -> None:
    folder = write_fixture(name, tmp_path)
    before = open_source(name, "native", folder).listing().items
    (folder / changed).touch()
    after = open_source(name, "native", folder).listing().items
    assert [item.key for item in before] == [item.key for item in after]
    different = [a.version != b.version for a, b in zip(before, after, strict=True)]
    assert sum(different) == count


def test_annotations_only_leaves_the_image_out_and_keeps_its_sha256(
    releases: dict[str, Path],
) -> None:
    whole = read(open_source("big", "native", releases["big"]))
    bare = read(open_source("big", "native", releases["big"], annotations_only=True))
    for key, values in bare.rows.items():
        assert values == {**whole.rows[key], "image": None}


def test_splits_and_limit_choose(releases: dict[str, Path]) -> None:
    source = open_source("cityscapes", "native", releases["cityscapes"], splits=["val"], limit=3)
    assert [item.split for item in source.listing().items] == ["val"] * 3
    source = open_source("ppdls", "sam", releases["ppdls"], limit=1)
    assert len(source.listing().items) == 1


def test_settings_tell_protocols_apart(releases: dict[str, Path]) -> None:
    settings = [
        open_source("cityscapes", protocol, releases["cityscapes"]).settings()
        for protocol in asam_datasets.PROTOCOLS
    ]
    assert len({entry["parts_sha256"] for entry in settings}) == 3
    assert set(settings[0]["libraries"]) == {"pillow", "pycocotools"}
    visor = open_source("visor", "native", releases["visor"]).settings()["libraries"]
    assert set(visor) == {"pillow", "pycocotools", "opencv-python-headless"}


def test_counts_that_differ_from_the_release_are_warned_of(releases: dict[str, Path]) -> None:
    listing = open_source("cityscapes", "sam", releases["cityscapes"]).listing()
    assert listing.warnings == ["split val: 4 images; the whole has 500"]
    assert listing.masks is None
    assert open_source("gtea", "sam", releases["gtea"]).listing().masks == 1208
    some = open_source("gtea", "sam", releases["gtea"], limit=1).listing()
    assert (some.warnings, some.masks) == ([], None)


def test_a_missing_split_is_noted_in_native_only(tmp_path: Path) -> None:
    folder = write_fixture("kvasir_seg", tmp_path)
    shutil.rmtree(folder / "sessile-main-Kvasir-SEG")
    notes = open_source("kvasir_seg", "native", folder).listing().notes
    assert f"split sessile is not in {folder}: left out" in notes
    with pytest.raises(SourceError, match="does not hold kvasir_seg_asam, split sessile"):
        open_source("kvasir_seg", "asam", folder).listing()


def test_a_split_whose_images_were_not_fetched_is_left_out_of_native(tmp_path: Path) -> None:
    folder = write_fixture("lvis", tmp_path)
    (folder / "train2017/000000000009.jpg").unlink()
    source = open_source("lvis", "native", folder)
    listing = source.listing()
    assert f"split train: 1 image listed, none of them in {folder}: left out" in listing.notes
    assert {item.split for item in listing.items} == {"val"}
    assert listing.rejects == []
    for name in ("train2017/000000000285.jpg", "val2017/000000000139.jpg"):
        (folder / name).unlink()
    save_photo(folder / "val2017/other.jpg", Scene(0))
    with pytest.raises(SourceError, match=r"nothing of lvis\n  split train: .*\n  split val: 2"):
        open_source("lvis", "native", folder).listing()
    with pytest.raises(SourceError, match="image_missing: expected "):
        open_source("lvis", "sam", folder).listing()
