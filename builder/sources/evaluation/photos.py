"""The photographs of a release, decoded once as a check. Their pixels are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from asam_datasets.orientation import upright
from builder.core.errors import what_went_wrong
from builder.core.shown import orientation, show
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import check_hole, decompression_bound

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MasksFit = Literal["shown", "stored"]


def scan_images(root: Path, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The image files under `root` that match a pattern, with the values of its names."""
    for path, values in Pattern(pattern).scan(root):
        if path.lower().endswith(SUFFIXES):
            yield path, values


def published(data: bytes, masks_fit: MasksFit) -> tuple[bytes, tuple[int, int]]:
    """The bytes to publish, and the width and height in pixels that `load_dataset` shows.

    Parameters
    ----------
    data
        The bytes of the release's file.
    masks_fit
        Which picture the masks fit. "shown" is the one turned as its EXIF orientation says: its
        bytes are published as they are. "stored" is the one without turning: its EXIF orientation
        is set to 1.

    Raises
    ------
    Fault
        The image can't be decoded to its last row, is too large, or would be turned although
        "stored" is asked for.
    """
    try:
        with decompression_bound():
            if masks_fit == "stored":
                data = upright(data)
                if (turned := orientation(data)) != 1:
                    expected = "orientation 1 or a JPEG, since the masks fit the stored pixels"
                    raise Fault("orientation_not_reset", expected, f"orientation {turned}")
            check_hole(data)
            return data, show(data).size
    except Fault:
        raise
    except Exception as error:  # Pillow's plugins raise errors of any kind for a damaged file
        found = what_went_wrong(error)
        raise Fault("image_unreadable", "a whole image file", found) from error
