"""SA-1B records: what is read is lossless, what is wrong is rejected with its reason."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from builder.core.errors import SettingsError, SourceError
from builder.core.records import Listing, Outcome
from builder.core.rejects import read_rejects, write_rejects
from builder.sources import checks
from builder.sources.sa1b import Sa1bSource, Selection, open_sources
from tests.factory import Record, jpeg, members, record, write_folder, write_tar

SHARED = Path(__file__).parents[3] / "shared" / "data"


def read(path: Path, **kwargs: Any) -> tuple[Listing, list[Outcome]]:
    (source,) = open_sources([str(path)])
    source = Sa1bSource(source.archive, source.config, **kwargs)
    listing = source.listing()
    with source.open() as reader:
        return listing, [reader.read(item) for item in listing.items]


def read_one(tmp_path: Path, value: Record, jpg: bytes | None = None) -> Outcome:
    image_id = 1
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    files = {"sa_1.jpg": record(image_id)[0] if jpg is None else jpg, "sa_1.json": text}
    (outcome,) = read(write_tar(tmp_path / "sa_000000.tar", files))[1]
    return outcome


def test_a_row_equals_its_source(tmp_path: Path) -> None:
    files = members([3, 1], count=4)
    _, outcomes = read(write_tar(tmp_path / "sa_000000.tar", files), captions={"sa_1.jpg": "one"})
    for outcome, image_id in zip(outcomes, [3, 1], strict=True):
        source = json.loads(files[f"sa_{image_id}.json"])
        row = outcome.row
        assert row is not None
        assert row["image"]["bytes"] == files[f"sa_{image_id}.jpg"]
        assert row["annotations"] == source["annotations"]
        assert {k: row[k] for k in source["image"]} == source["image"]
        assert row["text"] == ("one" if image_id == 1 else None)
        assert row["source"] == "sa_000000.tar"
        for png, annotation in zip(row["masks"], source["annotations"], strict=True):
            with Image.open(io.BytesIO(png["bytes"])) as image:
                assert image.mode == "1"
                np.testing.assert_array_equal(
                    np.asarray(image), coco.decode(annotation["segmentation"]) != 0
                )


def test_integers_and_floats_of_the_source_are_kept_exactly(tmp_path: Path) -> None:
    _, value = record(1)
    value["annotations"][0]["bbox"] = [int(v) for v in value["annotations"][0]["bbox"]]
    value["annotations"][0]["predicted_iou"] = 1.0193537473678589
    value["annotations"][0]["area"] = float(value["annotations"][0]["area"])
    outcome = read_one(tmp_path, value)
    assert outcome.row is not None
    assert outcome.row["annotations"] == value["annotations"]


def test_an_image_without_masks_is_a_row(tmp_path: Path) -> None:
    outcome = read_one(tmp_path, record(1, count=0)[1])
    assert outcome.row is not None
    assert outcome.row["masks"] == []
    with Image.open(io.BytesIO(outcome.row["conditioning_image"]["bytes"])) as image:
        assert image.convert("RGB").getextrema() == ((0, 0),) * 3


def test_undocumented_keys_are_counted_and_named(tmp_path: Path) -> None:
    _, value = record(1)
    value["license"] = 1
    value["image"]["url"] = "x"
    for annotation in value["annotations"]:
        annotation["iscrowd"] = 0
    value["annotations"][0]["segmentation"]["kind"] = "rle"
    assert read_one(tmp_path, value).unknown_keys == {
        "license": 1,
        "image.url": 1,
        "annotations[].iscrowd": 3,
        "annotations[].segmentation.kind": 1,
    }


Change = Callable[[Record], Any]


def put(*path: Any, value: Any) -> Change:
    def change(record: Record) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    return change


def remove(*path: Any) -> Change:
    def change(record: Record) -> None:
        for key in path[:-1]:
            record = record[key]
        del record[path[-1]]

    return change


def counts(edit: Callable[[str], str]) -> Change:
    def change(record: Record) -> None:
        segmentation = record["annotations"][1]["segmentation"]
        segmentation["counts"] = edit(segmentation["counts"])

    return change


A = ("annotations", 1)
BAD_ANNOTATIONS: dict[str, tuple[Change, str]] = {
    "area lies": (put(*A, "area", value=5), "area_mismatch"),
    "bbox lies": (put(*A, "bbox", value=[0.0, 0.0, 90.0, 60.0]), "bbox_mismatch"),
    "bbox of three": (put(*A, "bbox", value=[0, 0, 9]), "wrong_length"),
    "bbox of strings": (put(*A, "bbox", value=["0", 0, 9, 9]), "wrong_type"),
    "NaN": (put(*A, "predicted_iou", value=float("nan")), "not_finite"),
    "infinite box": (put(*A, "crop_box", value=[0, 0, float("inf"), 1]), "not_finite"),
    "null score": (put(*A, "stability_score", value=None), "wrong_type"),
    "true as id": (put(*A, "id", value=True), "wrong_type"),
    "huge id": (put(*A, "id", value=2**64), "number_out_of_range"),
    "huge float": (put(*A, "predicted_iou", value=2**53 + 1), "number_out_of_range"),
    "fractional area": (put(*A, "area", value=1.5), "wrong_type"),
    "no id": (remove(*A, "id"), "missing_key"),
    "no segmentation": (remove(*A, "segmentation"), "missing_key"),
    "point of one number": (put(*A, "point_coords", value=[[1.0]]), "wrong_length"),
    "point that is a number": (put(*A, "point_coords", value=[1.0]), "wrong_type"),
    "not an object": (put(*A, value=[1]), "annotation_wrong_type"),
    "size of another image": (
        put(*A, "segmentation", "size", value=[10, 10]),
        "segmentation_size_mismatch",
    ),
    "uncompressed counts": (put(*A, "segmentation", "counts", value=[1, 2]), "rle_wrong_type"),
    "RLE empty": (counts(lambda c: ""), "rle_empty"),
    "RLE short": (
        counts(lambda c: c[: len(c) // 2].rstrip("PQRSTUVWXYZ[]^_`abcdefghijklmno")),
        "rle_too_short",
    ),
    "RLE long": (counts(lambda c: c + "5"), "rle_too_long"),
    "RLE negative": (counts(lambda c: "N" + c), "rle_negative"),
    "RLE character": (counts(lambda c: "~" + c[1:]), "rle_bad_character"),
    "RLE not ASCII": (counts(lambda c: "é" + c[1:]), "rle_bad_character"),
    "RLE unterminated": (counts(lambda c: c + "o"), "rle_unterminated"),
    "RLE overflow": (counts(lambda c: "o" * 13 + "1" + c), "rle_overflow"),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_a_bad_annotation_is_rejected_and_its_image_kept(tmp_path: Path, case: str) -> None:
    change, reason = BAD_ANNOTATIONS[case]
    _, value = record(1, count=3)
    kept = [copy.deepcopy(value["annotations"][i]) for i in (0, 2)]
    change(value)
    outcome = read_one(tmp_path, value)
    assert outcome.row is not None
    assert outcome.row["annotations"] == kept
    assert len(outcome.row["masks"]) == 2
    assert outcome.row["num_rejected"] == 1
    (reject,) = outcome.rejects
    assert (reject.source, reject.member, reject.reason) == ("sa_000000.tar", "sa_1.json", reason)
    assert reject.expected
    assert reject.found


def test_the_second_annotation_of_an_id_is_rejected(tmp_path: Path) -> None:
    _, value = record(1, count=3)
    value["annotations"][2]["id"] = value["annotations"][0]["id"]
    outcome = read_one(tmp_path, value)
    assert outcome.row is not None
    assert outcome.row["annotations"] == value["annotations"][:2]
    (reject,) = outcome.rejects
    assert (reject.reason, reject.annotation_id) == ("duplicate_annotation_id", 1000)


BAD_JSON: dict[str, tuple[Any, str]] = {
    "no json": (b"<html>", "json_invalid"),
    "half": (b'{"image": {', "json_invalid"),
    "not UTF-8": (b'{"image": "\xff"}', "json_invalid"),
    "nested": (b"[" * 200_000, "json_invalid"),
    "a list": (b"[]", "json_wrong_type"),
    "long integer": (b'{"image": ' + b"9" * 5000 + b"}", "json_invalid"),
    "no image": (remove("image"), "missing_key"),
    "no annotations": (remove("annotations"), "missing_key"),
    "annotations null": (put("annotations", value=None), "wrong_type"),
    "width a string": (put("image", "width", value="96"), "wrong_type"),
    "zero height": (put("image", "height", value=0), "image_size_out_of_bounds"),
    "giant": (put("image", "width", value=30_000), "image_size_out_of_bounds"),
    "other file": (put("image", "file_name", value="sa_2.jpg"), "file_name_mismatch"),
    "other id": (put("image", "image_id", value=2), "image_id_mismatch"),
    "a million": (put("annotations", value=[{}] * 10**6), "too_many_annotations"),
    "size of another": (put("image", "width", value=95), "image_size_mismatch"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_bad_record_is_rejected(tmp_path: Path, case: str) -> None:
    change, reason = BAD_JSON[case]
    value: Any = change
    if callable(change):
        _, value = record(1)
        change(value)
    outcome = read_one(tmp_path, value)
    assert outcome.row is None
    (reject,) = outcome.rejects
    assert reject.reason == reason
    assert reject.annotation_id is None


def giant_header() -> bytes:
    """A small JPEG whose frame header says 30000 x 30000."""
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (30_000).to_bytes(2, "big") * 2
    return bytes(data)


BAD_JPEG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "jpeg_invalid"),
    "no jpeg": (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "jpeg_invalid"),
    "truncated": (jpeg(seed=1)[:-200], "jpeg_corrupt"),
    "end cut off": (jpeg(seed=1)[:-2], "jpeg_corrupt"),
    "1x1": (jpeg(1, 1), "image_size_mismatch"),
    "30000x30000 header": (giant_header(), "image_size_mismatch"),
}


@pytest.mark.parametrize("case", BAD_JPEG)
def test_a_bad_jpeg_is_rejected(tmp_path: Path, case: str) -> None:
    jpg, reason = BAD_JPEG[case]
    outcome = read_one(tmp_path, record(1)[1], jpg)
    assert outcome.row is None
    assert [(r.member, r.reason) for r in outcome.rejects] == [("sa_1.jpg", reason)]


def test_members_beyond_all_bounds_are_not_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "sa_000000", members([1, 2]))
    os.truncate(folder / "sa_1.jpg", checks.MAX_JPEG_BYTES + 1)  # sparse: no such bytes on disk
    os.truncate(folder / "sa_2.json", checks.MAX_JSON_BYTES + 1)
    _, outcomes = read(folder)
    reasons = [reject.reason for outcome in outcomes for reject in outcome.rejects]
    assert reasons == ["jpeg_too_large", "json_too_large"]


def test_a_giant_jpeg_that_its_json_confirms_is_not_decoded(tmp_path: Path) -> None:
    _, value = record(1)
    value["image"] |= {"width": 30_000, "height": 30_000}
    outcome = read_one(tmp_path, value, giant_header())
    assert [r.reason for r in outcome.rejects] == ["image_size_out_of_bounds"]


def test_lonely_and_duplicate_members_are_rejected(tmp_path: Path) -> None:
    files = members([1, 2, 3])
    del files["sa_2.json"], files["sa_3.jpg"]
    path = write_tar(
        tmp_path / "sa_000000.tar", [*files.items(), ("sa_1.jpg", b"again"), ("x.txt", b"")]
    )
    listing, outcomes = read(path)
    assert [o.row["image_id"] for o in outcomes if o.row] == [1]
    assert {(r.member, r.reason) for r in listing.rejects} == {
        ("sa_1.jpg", "duplicate_image"),
        ("sa_2.jpg", "jpg_without_json"),
        ("sa_3.json", "json_without_jpg"),
    }
    assert any("x.txt" in note for note in listing.notes)


def test_ids_limit_and_captions_select_and_report(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([5, 6, 7, 8]))
    selection = Selection(frozenset({6, 8, 99}), None)
    listing, outcomes = read(path, selection=selection, captions={"sa_9.jpg": "none such"})
    assert [o.row["image_id"] for o in outcomes if o.row] == [6, 8]
    assert any("99" in note and "not found" in note for note in listing.notes)
    assert [(r.member, r.reason) for r in listing.rejects] == [
        ("sa_9.jpg", "caption_of_unknown_image")
    ]
    listing, outcomes = read(path, selection=Selection(None, 3))
    assert [o.row["image_id"] for o in outcomes if o.row] == [5, 6, 7]


@pytest.mark.parametrize("wanted", [{98, 99}, set()])
def test_ids_of_which_a_source_holds_none_are_refused(tmp_path: Path, wanted: set[int]) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members([5]))
    with pytest.raises(SettingsError, match=rf"sa_000000.tar: .*none of the {len(wanted)} image"):
        read(path, selection=Selection(frozenset(wanted)))


def test_a_folder_gives_the_same_rows_as_a_tar(tmp_path: Path) -> None:
    files = members([1, 2])
    _, from_tar = read(write_tar(tmp_path / "sa_000000.tar", files))
    _, from_folder = read(write_folder(tmp_path / "sa_000000", files))
    for a, b in zip(from_tar, from_folder, strict=True):
        assert a.row is not None
        assert b.row is not None
        assert a.row | {"source": ""} == b.row | {"source": ""}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_value_anywhere_in_a_record_breaks_the_checks(data: st.DataObject) -> None:
    _, value = record(1)
    targets = [("image",), ("annotations",), ("annotations", 0)]
    targets += [("image", key) for key in value["image"]]
    targets += [("annotations", 0, key) for key in value["annotations"][0]]
    targets += [("annotations", 0, "segmentation", key) for key in ("size", "counts")]
    put(*data.draw(st.sampled_from(targets)), value=data.draw(json_values))(value)
    parsed = checks.parse_json(json.dumps(value).encode())
    assert not isinstance(parsed, checks.Problem)
    if not isinstance(checks.check_image_info(parsed, "sa_1.jpg", 1), checks.Problem):
        for annotation in parsed["annotations"]:
            checks.clean_annotation(annotation, 96, 64)
    checks.unknown_keys(parsed)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared photographs")
def test_real_photographs_pass_every_check() -> None:
    _, outcomes = read(SHARED / "sa1b_images")
    assert len(outcomes) == 10
    for outcome in outcomes:
        assert outcome.rejects == []
        assert outcome.row is not None
        assert len(outcome.row["masks"]) == 100


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared annotations")
@pytest.mark.parametrize("name", ["sa_1", "sa_226381"])
def test_real_annotations_pass_every_check(tmp_path: Path, name: str) -> None:
    value = json.loads((SHARED / "sa1b_annotations" / f"{name}.partial.json").read_text())
    info = value["image"]
    files = {
        info["file_name"]: jpeg(info["width"], info["height"]),
        f"{name}.json": json.dumps(value).encode(),
    }
    (outcome,) = read(write_tar(tmp_path / "sa_000000.tar", files))[1]
    assert outcome.rejects == []
    assert outcome.row is not None
    assert outcome.row["annotations"] == value["annotations"]


@pytest.mark.parametrize("stated", [None, True, [1]])
def test_an_annotation_without_a_usable_id_is_named_by_its_place(
    tmp_path: Path, stated: Any
) -> None:
    _, value = record(1)
    value["annotations"][1]["id"] = stated
    (reject,) = read_one(tmp_path, value).rejects
    assert (reject.reason, reject.annotation_id) == ("wrong_type", "annotations[1]")
    assert read_rejects(write_rejects([reject]), "rejects.jsonl") == [reject]


def test_each_kind_of_wrong_names_is_shown(tmp_path: Path) -> None:
    wrong = {
        name.replace("sa_", "") if name.endswith("json") else name: data
        for name, data in members(range(1, 21)).items()
    }
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", wrong))])
    with pytest.raises(SourceError) as caught:
        source.listing()
    said = str(caught.value)
    assert "found 20 .jpg files: sa_1.jpg, " in said
    assert "; 20 .json files: 1.json, " in said
