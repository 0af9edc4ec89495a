"""Decodes and resizes an image for a captioning model.

The steps are those of LAVIS (blip_processors.py, BlipImageEvalProcessor): convert to RGB, resize to
a square with bicubic interpolation and without keeping the aspect ratio, normalize with CLIP's mean
and deviation. Pillow resizes the uint8 pixels, so the result is the same for every device. The
device normalizes them later, because uint8 is a quarter of the bytes to copy.
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
MAX_PIXELS = 1 << 28  # the most pixels of an image; a decompression bomb has more


class UndecodableError(Exception):
    """An image can't be decoded. Has a reject's reason, what was expected, and what was found."""

    def __init__(self, reason: str, expected: str, found: str) -> None:
        super().__init__(reason, expected, found)
        self.reason, self.expected, self.found = reason, expected, found


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How images are prepared.

    Parameters
    ----------
    size
        (height, width) in pixels.
    resample
        Pillow's interpolation.
    mean, std
        Of the red, green and blue pixels between 0 and 1.
    dct_scaling
        Let the JPEG decoder scale the image down first, to no less than twice the size. This is
        faster and gives slightly different pixels.
    """

    size: tuple[int, int]
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    dct_scaling: bool = False

    def settings(self) -> Json:
        """These options as JSON values."""
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
    """Decode an image.

    A JPEG for which the decoder emits a warning is treated as undecodable.

    Parameters
    ----------
    data
        An image file's bytes.
    least
        (height, width) in pixels. If given, a JPEG is scaled down while it is decoded, to no less
        than this.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width, 3), RGB.

    Raises
    ------
    UndecodableError
        The image is damaged, too large, or of a format that is not supported.
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
    """Decode a CMYK JPEG or another format with Pillow."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels")
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many types of errors
        found = f"{len(data)} bytes: {what_went_wrong(error)}"
        raise UndecodableError("image_undecodable", "an image that Pillow reads", found) from error
