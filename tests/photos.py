"""A photograph whose masks can be read off it, encoded with any EXIF orientation."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.factory import Record, annotation

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="%d"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
SHAPES = ((slice(8, 24), slice(16, 56)), (slice(32, 40), slice(72, 88)))  # red, green
_INVERSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo() -> Image.Image:
    """96 x 64 pixels, black, with a red and a green rectangle that no turn maps onto themselves."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    for channel, shape in enumerate(SHAPES):
        pixels[(*shape, channel)] = 255
    return Image.fromarray(pixels)


def masks() -> list[np.ndarray]:
    """The rectangles of `photo`, bool (64, 96)."""
    return masks_of(photo())


def masks_of(image: Image.Image) -> list[np.ndarray]:
    """Where a picture of `photo`, turned or not, shows the rectangles."""
    pixels = np.asarray(image.convert("RGB"))
    return [pixels[:, :, channel] > 128 for channel in range(len(SHAPES))]


def stored(image: Image.Image, number: int) -> Image.Image:
    """The pixels to store so that `image` is shown with this orientation."""
    return image.transpose(_INVERSE[number]) if number in _INVERSE else image


def encode(
    image: Image.Image,
    number: int | None = None,
    *,
    fmt: str = "JPEG",
    endian: str = ">",
    xmp: bytes | None = None,
    **options: object,
) -> bytes:
    """The pixels as they are, with an EXIF orientation and XMP."""
    if fmt == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    if fmt == "WEBP":
        options |= {"lossless": True}
    if number is not None:
        exif = Image.Exif()
        exif.endian = endian
        exif[0x0112] = number
        options["exif"] = exif if fmt == "TIFF" else exif.tobytes()
    if xmp is not None:
        options["xmp"] = xmp
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def record(image_id: int) -> Record:
    """SA-1B's record of `photo`."""
    info = {"image_id": image_id, "width": 96, "height": 64, "file_name": f"sa_{image_id}.jpg"}
    annotations = [annotation(mask, 10 * image_id + i) for i, mask in enumerate(masks())]
    return {"image": info, "annotations": annotations}
