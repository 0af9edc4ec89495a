"""Pixels as LAVIS makes them: Pillow's decoder, bicubic to a square."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builder.captioning.preprocess import Preprocess, UndecodableError, decode

SHARED = Path(__file__).parents[3] / "shared" / "data" / "sa1b_images"
PREPROCESS = Preprocess((224, 224))


def encoded(image: Image.Image, kind: str = "jpeg", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode: str = "RGB", width: int = 403, height: int = 301) -> Image.Image:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return image.convert(mode)


def as_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture()),
        encoded(picture(), quality=30, subsampling=0),
        encoded(picture(), progressive=True),
        encoded(picture("L")),
        encoded(picture("CMYK")),
        encoded(picture("RGBA"), "png"),
        encoded(picture("P"), "png"),
        encoded(picture(width=20, height=900)),
    ],
    ids=["plain", "no subsampling", "progressive", "gray", "cmyk", "rgba", "palette", "narrow"],
)
def test_the_pixels_are_pillows(data: bytes) -> None:
    made = PREPROCESS(data)
    assert made.shape == (224, 224, 3)
    assert np.array_equal(made, as_pillow(data))


def test_real_photographs_give_pillows_pixels() -> None:
    if not SHARED.is_dir():
        pytest.skip("no real data here")
    for path in sorted(SHARED.glob("*.jpg"))[:3]:
        data = path.read_bytes()
        assert np.array_equal(PREPROCESS(data), as_pillow(data))
        scaled = replace(PREPROCESS, dct_scaling=True)(data).astype(int)
        assert 0 < np.abs(scaled - as_pillow(data)).mean() < 4


def test_dct_scaling_is_an_option_that_is_off() -> None:
    data = encoded(picture(width=2000, height=1500))
    assert decode(data).shape == (1500, 2000, 3)
    scaled = decode(data, least=(448, 448))
    assert 448 <= min(scaled.shape[:2]) < 1500
    assert PREPROCESS.settings()["dct_scaling"] is False


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(picture())[:-900], "jpeg_corrupt"),
        (encoded(picture())[:50], "jpeg_invalid"),
        (b"", "image_undecodable"),
        (b"<html>404</html>", "image_undecodable"),
        (encoded(picture("RGB"), "png")[:-900], "image_undecodable"),
        (encoded(picture("CMYK"))[:-900], "image_undecodable"),
    ],
)
def test_what_does_not_decode_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError) as caught:
        PREPROCESS(data)
    assert caught.value.reason == reason
    assert caught.value.found
    assert "0x" not in caught.value.found  # an address, which is another one in the next run


def test_a_bomb_is_not_decoded() -> None:
    data = bytearray(encoded(picture()))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xff\xdc\xff\xdc"  # 65500 x 65500
    with pytest.raises(UndecodableError) as caught:
        decode(bytes(data))
    assert caught.value.reason == "image_too_large"
