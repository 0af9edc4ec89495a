"""1-bit PNGs: the same pixels through every reader, and small."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asam_datasets import decode_masks
from builder.masks.png import assemble, decode_png, encode_bitmap, encode_masks, read_bits
from builder.masks.rle import RleBatch
from tests.masks.images import Masks, coco_counts, draw, mask_stacks, pil_png, real_records

SIZES = [(1, 1), (1, 3000), (3000, 1), (7, 9), (64, 64), (65, 129), (300, 500), (1500, 2250)]


def encode_stack(masks: Masks) -> list[bytes]:
    return encode_masks(RleBatch.parse(coco_counts(masks), *masks.shape[1:]))


def strictly_decode(png: bytes) -> npt.NDArray[np.bool_]:
    """A PNG read by the letter of its specification, every checksum checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, data = 8, [], b""
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size)[0] == zlib.crc32(kind + body)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, rest) == (1, 0, [0, 0, 0])
        elif kind == b"IDAT":
            data += body
        at += size + 12
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    inflate = zlib.decompressobj()
    rows = np.frombuffer(inflate.decompress(data), np.uint8).reshape(height, -1)
    assert inflate.eof
    assert not inflate.unused_data
    assert not rows[:, 0].any()
    bits = np.unpackbits(rows[:, 1:], axis=1)
    assert not bits[:, width:].any()
    return bits[:, :width].astype(np.bool_)


@settings(deadline=None)
@given(mask_stacks(largest=80))
def test_any_mask_comes_back(masks: Masks) -> None:
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)
        assert np.array_equal(decode_png(png), mask)
        assert np.array_equal(strictly_decode(encode_bitmap(mask)), mask)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_zero_rows_of_any_number_come_back(height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = np.zeros((3, height, int(rng.integers(1, 40))), np.bool_)
    masks[0, rng.integers(height), -1] = True
    masks[1, rng.integers(height) :, 0] = True
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 4097), st.integers(0, 2**32 - 1))
def test_masks_of_any_width_come_back_through_pil(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    side = int(rng.integers(1, 9))
    masks = np.stack(
        [
            np.zeros((height, width)),
            np.ones((height, width)),
            (y // side + x // side) % 2,
            rng.random((height, width)) < rng.random(),
            (np.abs(x - width / 2) < width * rng.random() / 2) & (y >= rng.integers(height)),
        ]
    ).astype(np.bool_)
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(decode_png(png), mask)
        assert np.array_equal(read_bits(png, height, width), np.packbits(mask, axis=1))


def test_rows_that_are_longer_than_the_window_of_deflate_come_back() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2, 4, 8 * (1 << 15) + 5)) < 0.001
    masks[1, :, 100_000:200_000] = True
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)


def test_many_masks_are_encoded_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = draw(3, 60, 90, 40)
    together = encode_stack(masks)
    monkeypatch.setattr("builder.masks.png._MOST_RUNS", 50)
    assert encode_stack(masks) == together
    monkeypatch.setattr("builder.masks.png._MOST_MASKS", 3)
    assert encode_stack(masks) == together


def test_one_byte_that_only_some_codes_have_a_word_for_comes_back() -> None:
    y, x = np.mgrid[:36, :800]
    masks = np.stack([(y + x // 8) % 2 == 0] * 2)  # the code without rare bytes is the best by far
    masks[1, 20, 401:407:2] = False
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)


def test_masks_of_many_changes_come_back() -> None:
    masks = np.random.default_rng(1).random((2, 700, 900)) < 0.5
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)
        assert len(png) < 1.05 * len(pil_png(mask))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_kind_of_mask_at_every_size(height: int, width: int) -> None:
    masks = draw(height + width, height, width, 8)
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(strictly_decode(png), mask)


def test_pil_sees_a_bilevel_image_of_0_and_255() -> None:
    masks = draw(5, 60, 90, 3)
    with Image.open(io.BytesIO(encode_stack(masks)[0])) as image:
        assert image.mode == "1"
        assert np.array_equal(np.asarray(image.convert("L")), masks[0] * np.uint8(255))


def test_opencv_and_skimage_read_the_same_pixels() -> None:
    cv2 = pytest.importorskip("cv2")
    skimage = pytest.importorskip("skimage.io")
    for mask in draw(6, 301, 403, 8):
        png = encode_bitmap(mask)
        flat = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(flat, mask * np.uint8(255))
        assert np.array_equal(skimage.imread(io.BytesIO(png)) != 0, mask)


def test_a_malformed_mask_gives_an_empty_picture() -> None:
    pngs = encode_masks(RleBatch.parse(["/", coco_counts(np.ones((1, 4, 5)))[0]], 4, 5))
    assert [int(decode_png(png).sum()) for png in pngs] == [0, 20]


def test_the_same_mask_has_the_same_bytes_whatever_stands_beside_it() -> None:
    masks = draw(7, 500, 700, 40)
    pngs = encode_stack(masks)
    assert encode_stack(masks[::-1])[::-1] == pngs
    assert [encode_stack(mask[None])[0] for mask in masks] == pngs


def test_no_masks_give_no_pictures() -> None:
    assert encode_masks(RleBatch.parse([], 5, 7)) == []


def test_all_real_masks_come_back() -> None:
    for record in real_records():
        annotations = record["annotations"]
        height, width = annotations[0]["segmentation"]["size"]
        batch = RleBatch.parse([a["segmentation"]["counts"] for a in annotations], height, width)
        packed = decode_masks(annotations, packed=True)
        for png, expected in zip(encode_masks(batch), packed, strict=True):
            assert np.array_equal(read_bits(png, height, width), expected)


def test_real_masks_come_back_and_take_less_room_than_pils() -> None:
    ours = pils = near = number = 0
    for record in real_records():
        annotations = record["annotations"][::7]
        height, width = annotations[0]["segmentation"]["size"]
        batch = RleBatch.parse([a["segmentation"]["counts"] for a in annotations], height, width)
        for png, area in zip(encode_masks(batch), batch.areas, strict=True):
            mask = strictly_decode(png)
            assert mask.sum() == area
            size = len(pil_png(mask))
            ours, pils, number = ours + len(png), pils + size, number + 1
            near += len(png) <= max(1.05 * size, size + 24)
    assert ours < 0.9 * pils
    assert near >= 0.99 * number


@settings(deadline=None)
@given(mask_stacks(largest=80))
def test_the_packed_rows_are_those_of_the_pixels(masks: Masks) -> None:
    for png, mask in zip(encode_stack(masks), masks, strict=True):
        assert np.array_equal(read_bits(png, *mask.shape), np.packbits(mask != 0, axis=1))


def rewritten(png: bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert(options.pop("mode", "1")).save(file, "PNG", **options)
    return file.getvalue()


def with_pixels(png: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The PNG with other bytes of pixels, well packed."""
    start = png.index(b"IDAT")
    rows = zlib.decompress(png[start + 4 : -16])
    return assemble(60, 90, 1, 0, pixels=zlib.compress(change(rows)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda png: b"", "not a PNG"),
        (lambda png: png[1:], "not a PNG"),
        (lambda png: png[:-1], "checksum of chunk b'IEND'"),
        (lambda png: png[:-20], "checksum of chunk b'IDAT'"),
        (lambda png: png[:50] + bytes([png[50] ^ 1]) + png[51:], "checksum of chunk b'IDAT'"),
        (lambda png: png[:-12], "not a 1-bit grayscale PNG of 90 x 60"),
        (lambda png: rewritten(png, mode="L"), "not a 1-bit grayscale PNG of 90 x 60"),
        (lambda png: encode_bitmap(np.zeros((90, 60), np.bool_)), "not a 1-bit grayscale PNG"),
        (lambda png: with_pixels(png, lambda rows: rows[:-1]), "expected 60 rows of 13 bytes"),
        (lambda png: with_pixels(png, lambda rows: rows + b"\0"), "expected 60 rows of 13 bytes"),
        (lambda png: with_pixels(png, lambda rows: b"\2" + rows[1:]), "rows are filtered"),
        (lambda png: assemble(60, 90, 1, 0, pixels=b"no zlib"), "incorrect header check"),
    ],
)
def test_what_is_no_mask_is_told(damage: Callable[[bytes], bytes], message: str) -> None:
    (png,) = encode_stack(draw(5, 60, 90, 1))
    assert read_bits(png, 60, 90).shape == (60, 12)
    with pytest.raises(ValueError, match=message):
        read_bits(damage(png), 60, 90)
