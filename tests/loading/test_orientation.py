"""`upright`: a JPEG's orientation becomes 1, its pixels stay, and nothing hostile gets through."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import Image as ImageFeature
from PIL import Image

from asam_datasets import ImageRoot, ImageRootError
from asam_datasets.orientation import upright
from builder.core.shown import orientation, picture_size, show
from builder.sources.checks import check_jpeg
from tests.photos import XMP, encode, photo

ORIENTATIONS = range(1, 9)
TURNING = range(2, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"DDS |\0\0\0" + bytes(200),  # Pillow raises NotImplementedError
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        b"no picture",
    ],
)
def test_what_pillow_cant_open_or_lets_others_draw_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(OSError, match=r"pixel format|EPS|identify"):
        show(data)


def decoded(data: bytes) -> np.ndarray:
    """What `load_dataset` gives for the bytes."""
    return np.asarray(ImageFeature().decode_example({"bytes": data, "path": None}))


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("number", ORIENTATIONS)
def test_only_the_value_changes(number: int, endian: str) -> None:
    data = encode(photo(), number, endian=endian)
    found = upright(data)
    differing = [i for i, (a, b) in enumerate(zip(data, found, strict=True)) if a != b]
    assert len(differing) == (number != 1)
    assert np.array_equal(decoded(found), np.asarray(Image.open(io.BytesIO(data))))
    assert upright(found) is found
    assert check_jpeg(found, *photo().size) is None
    wrong = check_jpeg(data, *photo().size)
    assert (wrong and (wrong.reason, wrong.found)) == (
        None if number == 1 else ("orientation_not_reset", str(number))
    )


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_a_value_that_is_not_defined_turns_nothing_and_stays(number: int) -> None:
    data = encode(photo(), number)
    assert upright(data) is data
    assert orientation(data) == 1
    assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_xmp_counts_where_exif_says_nothing(number: int) -> None:
    data = encode(photo(), xmp=XMP % number)
    assert orientation(data) == number
    assert len(upright(data)) == len(data)
    assert np.array_equal(decoded(upright(data)), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("number", TURNING)
def test_what_only_pillow_accepts_is_reset_too(number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    doubled = encode(photo(), exif=b"Exif\0\0" + exif.tobytes())
    usual = encode(photo(), number)
    short = [b"\xff\xd8\xff\xe0\0%c" % length + usual[2:] for length in (0, 1)]
    for data in (doubled, *short):
        assert orientation(data) == number
        assert orientation(upright(data)) == 1


def test_what_is_no_jpeg_is_given_back() -> None:
    for data in (b"", b"\xff", b"\xff\xd8", b"{}", encode(photo(), 6, fmt="PNG"), encode(photo())):
        assert upright(data) is data


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("number", [0, *ORIENTATIONS, 9])
def test_pictures_are_shown_as_load_dataset_shows_them(number: int, fmt: str) -> None:
    data = encode(photo(), number, fmt=fmt)
    expected = decoded(data)
    assert np.array_equal(np.asarray(show(data)), expected)
    assert picture_size(data) == expected.shape[1::-1] == show(data).size


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_a_jpeg_is_decoded_no_larger_than_needed(number: int) -> None:
    data = encode(photo().resize((960, 640)), number)
    width, height = picture_size(data)
    assert show(data, (width // 2, height // 2)).size == (width // 2, height // 2)


# Fields of a TIFF structure in the JPEG: the directory's offset, its count, and its first entry,
# which is the orientation.
def at(place: int, layout: str, *values: float | bytes) -> Callable[[bytearray, int], None]:
    return lambda data, start: struct.pack_into(f"<{layout}", data, start + place, *values)


HOSTILE = {
    "offset behind the end": at(4, "L", 2**32 - 1),
    "offset at the last byte": at(4, "L", 25),
    "offset into its own header": at(4, "L", 0),
    "offset to itself": at(4, "L", 4),
    "directories in a loop": at(22, "L", 8),
    "huge count of entries": at(8, "H", 65535),
    "no entries": at(8, "H", 0),
    "huge count of values": at(14, "L", 2**32 - 1),
    "values behind the end": at(12, "HLL", 3, 900, 2**31),
    "a float": at(12, "HLf", 11, 1, 6.0),
    "a long": at(12, "HLL", 4, 1, 6),
    "two values": at(12, "HLHH", 3, 2, 6, 8),
    "a type that is not defined": at(12, "HL", 99, 1),
    "another byte order": at(0, "2s", b"MM"),
    "no byte order": at(0, "2s", b"XX"),
    "a big TIFF": at(2, "H", 43),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_exif_is_reset_or_refused(change: Callable[[bytearray, int], None]) -> None:
    data = bytearray(encode(photo(), 6, endian="<"))
    change(data, data.index(b"Exif\0\0") + 6)
    found = upright(bytes(data))
    assert len(found) == len(data)
    assert found[data.index(b"\xff\xdb") :] == data[data.index(b"\xff\xdb") :]
    wrong = check_jpeg(found, *photo().size)
    if wrong is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert np.array_equal(decoded(found), np.asarray(Image.open(io.BytesIO(found))))
    else:
        assert wrong.reason in ("jpeg_not_shown", "orientation_not_reset")


def test_a_jpeg_that_load_dataset_can_not_show_is_refused() -> None:
    """Without a dpi in JFIF, Pillow reads EXIF twice, and finds none the second time."""
    data = encode(photo(), 6, dpi=(72, 72)).replace(b"Exif\0\0MM", b"Exif\0\0XX")
    with pytest.raises(SyntaxError):
        decoded(data)
    assert check_jpeg(data, *photo().size) == (
        "jpeg_not_shown",
        "a JPEG that load_dataset can show",
        r"EXIF data that Pillow can't read (SyntaxError: not a TIFF file (header "
        r"b'XX\x00*\x00\x00\x00\x08' not valid))",
    )


def test_every_cut_and_many_mutations_keep_their_length_and_raise_nothing() -> None:
    whole = [encode(photo(), 6, endian=endian, xmp=XMP % 8) for endian in "<>"]
    random_bytes = random.Random(12)
    for data in whole:
        header = data.index(b"\xff\xdb")
        for end in range(header):
            assert len(upright(data[:end])) == end
        for _ in range(2000):
            changed = bytearray(data)
            for _ in range(random_bytes.choice((1, 1, 2, 5))):
                changed[random_bytes.randrange(header)] = random_bytes.choice((0, 1, 255, 6))
            found = upright(bytes(changed))
            assert len(found) == len(data)
            assert found[header:] == data[header:]
    for filler in (b"\xff", b"\xff\x00", b"\xff\xe1\0\2", b"\xff\xe1\0\x08Exif\0\0"):
        data = b"\xff\xd8" + filler * 300_000
        assert upright(data) is data


def test_image_root_makes_the_same_change(tmp_path: Path) -> None:
    data = encode(photo(), 6)
    (tmp_path / "sa_1.jpg").write_bytes(data)
    root = ImageRoot(tmp_path)
    for wanted in (data, upright(data)):
        assert root.read("sa_1.jpg", hashlib.sha256(wanted).hexdigest()) == wanted
    with pytest.raises(ImageRootError, match=hashlib.sha256(data).hexdigest()):
        root.read("sa_1.jpg", "0" * 64)
