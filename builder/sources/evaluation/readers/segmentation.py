"""COCO's `segmentation`: polygons, an RLE's run lengths, or its compressed string."""

from __future__ import annotations

from typing import Any

from builder.core.text import brief
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.polygons import checked, fill
from builder.sources.evaluation.raster import compress


def to_counts(segmentation: Any, height: int, width: int) -> bytes:
    """The compressed RLE of a segmentation, by pycocotools' own rules.

    A compressed string is returned as it is. `builder.masks.rle.RleBatch` checks it later.

    Parameters
    ----------
    segmentation
        The value of the JSON.
    height, width
        Of the image, in pixels.

    Raises
    ------
    Fault
        The value has none of the three forms, or another size than the image.
    """
    if isinstance(segmentation, list) and segmentation:
        return fill(checked(segmentation, height, width), height, width, "coco")
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        found = type(segmentation).__name__ if segmentation else repr(segmentation)
        raise Fault("segmentation_missing", "polygons or an RLE", found)
    size = segmentation.get("size")
    if size != [height, width]:
        raise Fault("rle_size", f"size [{height}, {width}], as the image", f"size {brief(size)}")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        if not counts.isascii():
            raise Fault("rle_bad_character", "ASCII characters", ascii(counts[:60]))
        return counts.encode("ascii")
    if isinstance(counts, list) and len(counts) > (most := 2 * (height * width + 1)):
        raise Fault("rle_counts", f"at most {most} run lengths", str(len(counts)))
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise Fault("rle_counts", "a string or run lengths", brief(counts))
    if sum(counts) != height * width:
        raise Fault("rle_size", f"runs of {height * width} pixels", str(sum(counts)))
    return compress(counts, height, width)
