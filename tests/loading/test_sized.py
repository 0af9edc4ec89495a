"""load(size=): pictures and masks as arrays of a size, in streams and in Datasets."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from pycocotools import mask as coco
from torch.utils.data import DataLoader

from asam_datasets import (
    EVAL_FEATURES,
    AsamDatasetsError,
    CorruptDataError,
    UnknownNameError,
    decode_control,
    decode_masks,
    load,
    mask_order,
    resizing,
)
from asam_datasets.frames import FITS, frame_of
from tests.loading.conftest import write_config
from tests.loading.sized_rows import (
    Row,
    Size,
    control_png,
    decoded,
    eval_row,
    geometry,
    photo,
    png,
    resized_by_pillow,
    sampled,
    train_row,
)
from tests.photos import encode, stored

CONFIG = "sa_000000"
SIZES: list[Size] = [(32, 32), (20, 48), (150, 130)]  # smaller, of other proportions, larger


@pytest.fixture(scope="module")
def sources() -> list[Row]:
    """Wide, tall, square, turned; the last has no mask."""
    rows = [
        *(train_row(1, 96, 64), train_row(2, 60, 101), train_row(3, 128, 128)),
        *(train_row(4, 90, 70, 6), train_row(5, 70, 90, 3), train_row(6, 5, 9)),
        train_row(7, 33, 40),
    ]
    rows[-1] |= {"masks": [], "annotations": []}
    rows[-1]["conditioning_image"]["bytes"] = control_png([], 40, 33)
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sources: list[Row]) -> Path:
    return write_config(tmp_path_factory.mktemp("sized"), CONFIG, {"train": [sources]})


def loaded(dist: Path, streaming: bool, config: str = CONFIG, **options: Any) -> list[Row]:
    return list(load(config, repo_or_path=dist, streaming=streaming, **options))


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from(FITS),
)
def test_a_frame_is_what_the_sources_do(full: Size, size: Size, fit: str) -> None:
    frame = frame_of(full, size, fit)
    assert (frame.resized, frame.cut, frame.shown) == geometry(full, size, fit)
    assert all(1 <= n <= most for n, most in zip(frame.shown, size, strict=True))
    for indices, side in ((frame.rows, full[0]), (frame.columns, full[1])):
        assert indices.min() >= 0
        assert indices.max() < side


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_pictures_and_masks_are_those_of_a_reference(
    made: Path, sources: list[Row], size: Size, fit: str, streaming: bool
) -> None:
    found = loaded(made, streaming, size=size, fit=fit, exact=True)
    assert len(found) == len(sources)
    for row, source in zip(found, sources, strict=True):
        picture = decoded(source["image"]["bytes"])
        assert picture.size == (source["width"], source["height"])
        wanted = resized_by_pillow(picture, size, fit)
        assert row["image"].shape == (*size, 3)
        assert row["image"].dtype == np.uint8
        difference = np.abs(row["image"].astype(int) - wanted)
        # Pillow takes the cut as float32, so with "cover" some sums are rounded in another way.
        assert difference.max() <= (fit == "cover")
        control = np.asarray(decoded(source["conditioning_image"]["bytes"]).convert("RGB"))
        assert np.array_equal(row["conditioning_image"], sampled(control, size, fit))
        masks = [coco.decode(a["segmentation"]) for a in source["annotations"]]
        assert row["masks"].shape == (len(masks), *size)
        assert row["masks"].dtype == np.uint8
        for mask, full in zip(row["masks"], masks, strict=True):
            assert np.array_equal(mask, sampled(full, size, fit))
        for name in ("text", "image_id", "file_name", "width", "height", "source"):
            assert row[name] == source[name]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_annotations_and_frame_are_of_the_frame(
    made: Path, sources: list[Row], size: Size, fit: str
) -> None:
    some_vanished = 0
    for row, source in zip(loaded(made, True, size=size, fit=fit), sources, strict=True):
        resized, cut, _ = geometry((source["height"], source["width"]), size, fit)
        scale = [resized[1] / source["width"], resized[0] / source["height"]]
        offset = [-float(cut[1]), -float(cut[0])]
        assert row["frame"] == {"scale": scale, "offset": offset, "resized": [*resized]}
        ranks = np.argsort(mask_order(source["annotations"])).tolist()
        assert [a["rank"] for a in row["annotations"]] == ranks
        pairs = zip(row["annotations"], source["annotations"], row["masks"], strict=True)
        for found, before, mask in pairs:
            rle = coco.encode(np.asfortranarray(mask))
            assert found["area"] == coco.area(rle) == mask.sum()
            assert found["bbox"] == coco.toBbox(rle).tolist()
            some_vanished += before["area"] > 0 and found["area"] == 0
            x, y = before["point_coords"][0]
            moved = [x * scale[0] + offset[0], y * scale[1] + offset[1]]
            assert found["point_coords"] == [moved]
            left, top, width, height = before["crop_box"]
            assert found["crop_box"] == [
                *(left * scale[0] + offset[0], top * scale[1] + offset[1]),
                *(width * scale[0], height * scale[1]),
            ]
            for name in ("id", "segmentation", "predicted_iou", "stability_score"):
                assert found[name] == before[name]
    assert some_vanished or size[0] > 100


@pytest.mark.parametrize("fit", FITS)
def test_a_control_image_keeps_its_colours_and_its_masks(
    made: Path, sources: list[Row], fit: str
) -> None:
    """`mask_order` by the boxes of the small masks would be another."""
    orders = []
    for row, source in zip(loaded(made, True, size=24, fit=fit), sources, strict=True):
        full = decode_control(decoded(source["conditioning_image"]["bytes"]), source["annotations"])
        shown = decode_control(row["conditioning_image"], row["annotations"])
        wanted = sampled(full + 1, (24, 24), fit) - 1  # -1 in the padding
        assert np.array_equal(shown, wanted)
        for i, mask in enumerate(row["masks"]):
            assert mask[shown == i].all()
        boxes = [{k: a[k] for k in ("id", "bbox")} for a in row["annotations"]]
        orders.append(np.array_equal(mask_order(boxes), mask_order(row["annotations"])))
    assert not all(orders)


def test_without_crop_masks_are_those_of_decode_masks(made: Path) -> None:
    for row in loaded(made, True, size=(20, 31)):
        again = decode_masks(row["annotations"], size=(20, 31))
        assert np.array_equal(row["masks"], again)


def test_a_control_image_of_many_masks_has_no_palette(tmp_path: Path) -> None:
    row = train_row(1, 40, 30)
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    row["conditioning_image"]["bytes"] = png(pixels)
    dist = write_config(tmp_path, CONFIG, {"train": [[row]]})
    (found,) = loaded(dist, True, size=16, columns=["conditioning_image"])
    assert np.array_equal(found["conditioning_image"], sampled(pixels, (16, 16), "stretch"))


PALETTES = [b"", b"\1\2\3", bytes(range(30))]


@pytest.mark.parametrize("palette", PALETTES)
def test_a_short_palette_gives_what_pillow_gives(palette: bytes) -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image.putpalette(palette or b"\0\0\0")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    found = resizing.colors(buffer.getvalue(), lambda full: frame_of(full, (8, 8), "stretch"))
    assert np.array_equal(found, np.asarray(Image.open(buffer).convert("RGB")))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("jpeg", [True, False])
def test_pictures_are_turned_as_load_dataset_turns_them(
    number: int, exact: bool, jpeg: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sides are no multiples of 8: a decoder at 3/8 gives up to 7/8 of a pixel too much."""
    if not jpeg:
        monkeypatch.setattr(resizing, "_simplejpeg", lambda: None)
    picture = photo(643, 401, 5)
    data = encode(stored(picture, number), number)
    found = resizing.photograph(data, lambda full: frame_of(full, (140, 224), "cover"), exact)
    wanted = resized_by_pillow(decoded(data), (140, 224), "cover")
    assert np.abs(found.astype(int) - wanted).max() <= (1 if exact else 4)


def gray(image: Image.Image) -> bytes:
    return encode(image.convert("L"))


def cmyk(image: Image.Image) -> bytes:
    return encode(image.convert("CMYK"))


def rgba(image: Image.Image) -> bytes:
    return encode(image.convert("RGBA"), fmt="PNG")


@pytest.mark.parametrize("encoding", [gray, cmyk, rgba])
@pytest.mark.parametrize("exact", [True, False])
def test_other_pictures_than_rgb_jpegs(encoding: Any, exact: bool) -> None:
    data = encoding(photo(300, 200, 1))
    found = resizing.photograph(data, lambda full: frame_of(full, (50, 75), "stretch"), exact)
    wanted = resized_by_pillow(decoded(data), (50, 75), "stretch")
    difference = np.abs(found.astype(int) - wanted)
    assert difference.mean() < 1.5
    assert not exact or not difference.any()


@pytest.mark.parametrize("without", [False, True])
def test_dct_scaling_is_near_the_full_decode_with_and_without_simplejpeg(
    without: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's draft offers other sizes, so its pixels differ from simplejpeg's."""
    if without:
        monkeypatch.setattr(resizing, "_simplejpeg", lambda: None)
    drafts: list[Size] = []
    draft = JpegImageFile.draft

    def noted(image: JpegImageFile, mode: str, size: Size) -> object:
        drafts.append(size)
        return draft(image, mode, size)

    monkeypatch.setattr(JpegImageFile, "draft", noted)
    data = encode(photo(900, 600, 2))
    found = resizing.photograph(data, lambda full: frame_of(full, (100, 100), "cover"), False)
    wanted = resized_by_pillow(decoded(data), (100, 100), "cover")
    difference = np.abs(found.astype(int) - wanted)
    assert 0 < difference.mean() < 1.5
    assert drafts == ([(150, 100)] if without else [])


@pytest.mark.parametrize("streaming", [True, False])
def test_features_are_those_of_the_rows(made: Path, streaming: bool) -> None:
    found = load(CONFIG, repo_or_path=made, streaming=streaming, size=(24, 32))
    assert not any(isinstance(feature, datasets.Image) for feature in found.features.values())
    if not streaming:
        return
    features = found.features
    assert features["text"] == datasets.Value("string")
    assert features["image"] == datasets.Array3D((24, 32, 3), "uint8")
    assert features["conditioning_image"] == datasets.Array3D((24, 32, 3), "uint8")
    assert features["masks"] == datasets.Array3D((None, 24, 32), "uint8")
    row = next(iter(found))
    assert [*row] == found.column_names == [*features]
    assert row["annotations"][0].keys() == dict(features["annotations"].feature).keys()
    again = features.decode_example(features.encode_example(row))
    assert np.array_equal(np.array(again["masks"]), row["masks"])


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    "columns",
    [
        *(["image"], ["masks"], ["frame"], ["frame", "text"], ["annotations", "frame"]),
        *(["masks", "image", "text"], ["conditioning_image", "masks", "conditioning_image"]),
    ],
)
def test_only_the_columns_that_were_asked_for(
    made: Path, columns: list[str], streaming: bool
) -> None:
    whole = loaded(made, streaming, size=24)
    some = loaded(made, streaming, size=24, columns=columns)
    for row, every in zip(some, whole, strict=True):
        assert [*row] == [*dict.fromkeys(columns)]
        for name, value in row.items():
            assert np.array_equal(value, every[name])


def test_a_stream_reads_no_png_of_a_mask(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "bitmap", None)
    stream = load(CONFIG, repo_or_path=made, streaming=True, size=24, columns=["masks"])
    assert stream._ex_iterable._sizer.needs == ("annotations",)
    assert all(row["masks"].shape[1:] == (24, 24) for row in stream)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_an_evaluation_config(
    tmp_path: Path, sources: list[Row], fmt: str, streaming: bool
) -> None:
    images = [encode(photo(r["width"], r["height"], 1), fmt="PNG") for r in sources[:2]]
    rows = [
        eval_row(s, image, i == 0)
        for i, (s, image) in enumerate(zip(sources, images, strict=False))
    ]
    dist = write_config(
        tmp_path, "camo", {"test": [rows]}, kind="eval", fmt=fmt, features=EVAL_FEATURES
    )
    options: dict[str, Any] = {"size": (20, 48), "fit": "contain", "cache_dir": tmp_path / "c"}
    found = loaded(dist, streaming, "camo", **options)
    for row, before, source in zip(found, rows, sources, strict=False):
        picture = decoded(before["image"]["bytes"])
        assert np.array_equal(row["image"], resized_by_pillow(picture, (20, 48), "contain"))
        masks = [coco.decode(a["segmentation"]) for a in source["annotations"]]
        for mask, full in zip(row["masks"], masks, strict=True):
            assert np.array_equal(mask, sampled(full, (20, 48), "contain"))
        assert {(a["category"], a["category_id"]) for a in row["annotations"]} == {("cat", 3)}
    void = np.array(Image.open(io.BytesIO(rows[0]["void_mask"]["bytes"])), np.uint8)
    assert np.array_equal(found[0]["void_mask"], sampled(void, (20, 48), "contain"))
    assert found[1]["void_mask"] is None


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_annotations_only(
    tmp_path: Path, sources: list[Row], joined: bool, streaming: bool
) -> None:
    bare = [{**row, "image": None} for row in sources]
    dist = write_config(tmp_path / "dist", CONFIG, {"train": [bare]})
    for row in sources:
        (tmp_path / row["file_name"]).write_bytes(row["image"]["bytes"])
    root: Any = {"image_root": tmp_path / "sa_*.jpg", "cache_dir": tmp_path / "c"} if joined else {}
    columns = ["image", "masks", "frame"]
    found = loaded(dist, streaming, size=24, exact=True, columns=columns, **root)
    for row, source in zip(found, sources, strict=True):
        picture = decoded(source["image"]["bytes"])
        wanted = resized_by_pillow(picture, (24, 24), "stretch")
        assert row["image"] is None if not joined else np.array_equal(row["image"], wanted)
        assert row["masks"].shape == (len(source["masks"]), 24, 24)
        assert row["frame"]["scale"] == [24 / source["width"], 24 / source["height"]]


# Datasets -----------------------------------------------------------------------------------------


def same(a: Row, b: Row) -> bool:
    return [*a] == [*b] and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_dataset_keeps_its_size_through_what_one_does_with_it(made: Path) -> None:
    whole = load(CONFIG, repo_or_path=made, size=24)
    assert isinstance(whole, datasets.Dataset)
    rows = list(whole)
    assert whole[2:4]["masks"][1].shape == rows[3]["masks"].shape
    shuffled = whole.shuffle(seed=3)
    by_id = {row["image_id"]: row for row in rows}
    assert all(same(row, by_id[row["image_id"]]) for row in shuffled)
    assert same(whole.select([4, 1])[1], rows[1])
    assert same(pickle.loads(pickle.dumps(whole))[3], rows[3])
    assert [*whole.select_columns(["image", "text"])[0]] == ["image", "text"]
    without = whole.remove_columns("annotations")  # the masks' PNGs are left
    assert np.array_equal(without[1]["masks"], rows[1]["masks"])
    assert "annotations" not in without[1]
    assert whole.add_column("more", [*range(7)])[2]["more"] == 2
    filtered = whole.filter(lambda row: row["image"].shape == (24, 24, 3))
    assert len(filtered) == 7


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.filterwarnings("ignore:Too many dataloader workers")
def test_a_dataloader_of_two_workers(made: Path, streaming: bool) -> None:
    columns = ["image", "conditioning_image", "text", "image_id"]
    rows = load(CONFIG, repo_or_path=made, size=24, columns=columns, streaming=streaming)
    every = {row["image_id"]: row for row in rows}
    seen = []
    for batch in DataLoader(rows, batch_size=2, num_workers=2):
        assert batch["image"].dtype == torch.uint8
        for i, number in enumerate(batch["image_id"].tolist()):
            seen.append(number)
            assert np.array_equal(batch["image"][i], every[number]["image"])
    assert sorted(seen) == sorted(every)


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"size must be a whole number of pixels .* not 0$"),
        ({"size": (12, -1)}, r"not \(12, -1\)"),
        ({"size": (1, 2, 3)}, r"not \(1, 2, 3\)"),
        ({"size": 3.5}, r"not 3\.5"),
        ({"size": "512"}, r"not '512'"),
        ({"size": "12"}, r"not '12'"),
        ({"size": True}, r"not True"),
        ({"size": 10**9}, r"from 1 to 16,384 each, not 1000000000"),
        ({"size": 9, "fit": "crop"}, r"fit must be 'stretch' or 'cover' or 'contain', not 'crop'"),
        ({"size": 9, "fit": None}, r"fit must be .* not None"),
        ({"fit": "cover"}, r"fit='cover' .* give size="),
        ({"exact": True}, r"exact=True .* give size="),
    ],
)
def test_a_size_or_fit_that_is_none(
    made: Path, options: dict[str, Any], message: str, streaming: bool
) -> None:
    with pytest.raises(AsamDatasetsError, match=message):
        load(CONFIG, repo_or_path=made, streaming=streaming, **options)


def test_unknown_columns_are_named(made: Path) -> None:
    for columns in (["img", "frame"], "frame", ["imag"]):
        with pytest.raises(UnknownNameError, match=r"no column|a list of names"):
            load(CONFIG, repo_or_path=made, size=9, columns=columns)
    with pytest.raises(UnknownNameError, match="no column 'frame'"):
        load(CONFIG, repo_or_path=made, columns=["frame"])


def test_numpys_numbers_are_sizes_too(made: Path) -> None:
    (row, *_) = loaded(made, True, size=np.array([9, 10]), columns=["image"])
    assert row["image"].shape == (9, 10, 3)


def cut_off(row: Row) -> None:
    row["image"]["bytes"] = row["image"]["bytes"][:300]


def no_picture(row: Row) -> None:
    row["conditioning_image"]["bytes"] = b"nothing"


def other_size(row: Row) -> None:
    row["conditioning_image"]["bytes"] = control_png(row["annotations"], 64, 96)[:]
    row["width"], row["height"] = 95, 64


def bad_rle(row: Row) -> None:
    row["annotations"][1]["segmentation"]["counts"] = "1"


def other_mask(row: Row) -> None:
    row["annotations"][1]["segmentation"] = {"size": [2, 3], "counts": "06"}


def postscript(row: Row) -> None:
    row["image"]["bytes"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, r"sa_1.jpg, column image: "),
        (no_picture, r"sa_1.jpg, column conditioning_image: cannot identify image file"),
        (other_size, r"column image: 95 x 64 pixels expected, as of the row, found 96 x 64"),
        (bad_rle, r"sa_1.jpg, column annotations: annotation 101: malformed RLE"),
        (other_mask, r"annotation 101: 96 x 64 pixels expected, as of the row, found 3 x 2"),
        (postscript, r"sa_1.jpg, column image: an EPS file"),
    ],
)
def test_a_row_that_cannot_be_decoded_is_named(
    tmp_path: Path, damage: Any, message: str, streaming: bool
) -> None:
    row = train_row(1, 96, 64)
    damage(row)
    dist = write_config(tmp_path, CONFIG, {"train": [[row]]})
    with pytest.raises(CorruptDataError, match=message):
        loaded(dist, streaming, size=24)


def test_pictures_of_a_name_that_is_not_known_are_refused(tmp_path: Path) -> None:
    row = train_row(1, 40, 30)
    from asam_datasets import TRAIN_FEATURES

    features = datasets.Features({**TRAIN_FEATURES, "depth": datasets.Image()})
    row["depth"] = row["image"]
    dist = write_config(tmp_path, CONFIG, {"train": [[row]]}, features=features)
    with pytest.raises(AsamDatasetsError, match="column depth: size= knows no rule"):
        load(CONFIG, repo_or_path=dist, size=9)
    (found,) = loaded(dist, True, size=9, columns=["image"])
    assert found["image"].shape == (9, 9, 3)


def test_sha256_of_the_source_is_that_of_the_row(sources: list[Row]) -> None:
    for row in sources:
        assert hashlib.sha256(row["image"]["bytes"]).hexdigest() == row["image_sha256"]
