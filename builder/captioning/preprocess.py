"""A photograph's bytes to what a captioning model takes: decode, RGB, resize, normalize.

As LAVIS does it (blip_processors.py, BlipImageEvalProcessor): RGB, bicubic to a square with no
regard to the aspect ratio, then CLIP's mean and deviation. Resizing is Pillow's, on bytes, so it is
the same on every device; normalizing is done on the device, from a quarter of the bytes.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from builder.core.errors import what_went_wrong
from builder.core.records import Json

Pixels = npt.NDArray[np.uint8]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_PIXELS = 1 << 28  # of an image; a decompression bomb has more


class UndecodableError(Exception):
    """An image that can't be decoded: the reason (a short word), what was expected and found."""

    def __init__(self, reason: str, expected: str, found: str) -> None:
        super().__init__(reason, expected, found)
        self.reason, self.expected, self.found = reason, expected, found


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How photographs are made ready.

    Parameters
    ----------
    size
        (height, width) in pixels.
    dct_scaling
        Let the JPEG decoder scale down first, to twice the size or more: less work, other bytes.
    """

    size: tuple[int, int]
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    dct_scaling: bool = False

    def settings(self) -> Json:
        """What decides the pixels, as JSON values."""
        return {
            "size": list(self.size),
            "resample": self.resample.name.lower(),
            "mean": list(self.mean),
            "std": list(self.std),
            "dct_scaling": self.dct_scaling,
        }

    def __call__(self, data: bytes) -> Pixels:
        """Decode and resize: (height, width, 3) uint8, RGB; raises UndecodableError."""
        least = tuple(2 * side for side in self.size) if self.dct_scaling else (0, 0)
        image = Image.fromarray(decode(data, least=least))
        return np.asarray(image.resize(self.size[::-1], self.resample))


def decode(data: bytes, *, least: tuple[int, ...] = (0, 0)) -> Pixels:
    """Decode an image to (height, width, 3) uint8, RGB; raises UndecodableError.

    A JPEG that its decoder warns of is none. With `least` (height, width), a JPEG is scaled down
    while it is decoded, to no less than that.
    """
    if not data.startswith(b"\xff\xd8"):
        return _decode_other(data)
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        found = f"{len(data)} bytes: {error}"
        raise UndecodableError("jpeg_invalid", "a JPEG", found) from error
    if height * width > MAX_PIXELS:
        found = f"{width} x {height}"
        raise UndecodableError("image_too_large", f"at most {MAX_PIXELS} pixels", found)
    if colors in ("CMYK", "YCCK"):
        return _decode_other(data)
    options: dict[str, Any] = {"min_height": least[0], "min_width": least[1]} if any(least) else {}
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, strict=True, **options)
    except ValueError as error:
        expected = "a JPEG that decodes to its end"
        raise UndecodableError("jpeg_corrupt", expected, str(error)) from error
    return pixels


def _decode_other(data: bytes) -> Pixels:
    """What is no ordinary JPEG, by Pillow."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels")
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise what they like
        found = f"{len(data)} bytes: {what_went_wrong(error)}"
        raise UndecodableError("image_undecodable", "an image that Pillow reads", found) from error
