"""The photographs of a release. Their bytes are kept, and decoded once as a check."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image

from builder.core.errors import what_went_wrong
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import decompression_bound

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def scan_images(root: Path, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The image files under `root` that match a pattern, with the values of its names."""
    for path, values in Pattern(pattern).scan(root):
        if path.lower().endswith(SUFFIXES):
            yield path, values


def measure(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of an encoded image, after its EXIF orientation is applied.

    `datasets.Image` applies the orientation when it decodes, so masks must have this size.

    Raises
    ------
    Fault
        The image can't be decoded to its last row, or is too large.
    """
    try:
        with decompression_bound(), Image.open(io.BytesIO(data)) as image:
            image.load()
            width, height = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Fault:
        raise
    except Exception as error:  # Pillow's plugins raise errors of any kind for a damaged file
        found = what_went_wrong(error)
        raise Fault("image_unreadable", "a whole image file", found) from error
    return (height, width) if orientation in _ON_THEIR_SIDE else (width, height)
