"""The checks of one SA-1B record: the type of every field, and whether it fits image and mask.

A failed check gives a `Problem`: a short reason, what was expected, and what was found.
The format is that of SA-1B's own json (https://ai.meta.com/datasets/segment-anything-downloads/):
`{"image": {image_id, width, height, file_name}, "annotations": [...]}`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import simplejpeg

from builder.core import strict_json
from builder.core.errors import what_went_wrong
from builder.core.records import Json
from builder.core.shown import orientation
from builder.core.text import brief

MAX_SIDE = 16_384  # pixels; SA-1B's longest side is 2650, the largest evaluation set's 5000
MAX_PIXELS = 100_000_000
# Both bounds are far above SA-1B's files. A worker may use 1 GiB: parsed, a json of empty lists
# takes 25 times its bytes, and an RLE 60 times its own.
MAX_JPEG_BYTES = 64 * 2**20
MAX_JSON_BYTES = 16 * 2**20
MAX_ANNOTATIONS = 10_000  # of one image; SA-1B's mean is 100
BBOX_TOLERANCE = 1.0  # pixels; SA-1B's own boxes differ by no more

_INT64 = range(-(2**63), 2**63)


class Problem(NamedTuple):
    """Why something can't be used."""

    reason: str
    expected: str
    found: str


class Bad(Exception):
    """Raised and caught within this module, to leave a nested check."""

    def __init__(self, reason: str, expected: str, found: str) -> None:
        super().__init__(reason)
        self.problem = Problem(reason, expected, found)


def parse_json(data: bytes) -> Json | Problem:
    """Parse a record's json.

    NaN is accepted here. A later check rejects the annotation that holds it, not the whole image.
    """
    try:
        value = strict_json.loads(data)
    except strict_json.DuplicateKeyError as error:
        return Problem("json_duplicate_key", "each key once in an object", brief(str(error)))
    except UnicodeDecodeError as error:
        return Problem("json_invalid", "UTF-8 JSON", str(error))
    except json.JSONDecodeError as error:
        return Problem("json_invalid", "a JSON document", str(error))
    except RecursionError:
        return Problem("json_invalid", "SA-1B's nesting", "JSON nested too deeply")
    except ValueError as error:  # an integer of more digits than Python converts
        return Problem("json_invalid", "a JSON document", brief(str(error)))
    if not isinstance(value, dict):
        return Problem("json_wrong_type", "an object", brief(value))
    return value


def check_image_info(record: Json, file_name: str, image_id: int) -> tuple[int, int] | Problem:
    """Check the record's `image`.

    Parameters
    ----------
    record
        The parsed json.
    file_name, image_id
        Those of the jpg. The record must state the same.

    Returns
    -------
    tuple or Problem
        Width and height in pixels, or the first failed check.
    """
    try:
        info = _key(record, "image", dict)
        annotations = _key(record, "annotations", list)
        width, height = _integer(info, "width"), _integer(info, "height")
        stated_id, stated_name = _integer(info, "image_id"), _key(info, "file_name", str)
    except Bad as bad:
        return bad.problem
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        expected = f"1 to {MAX_SIDE} pixels a side, {MAX_PIXELS} in all"
        return Problem("image_size_out_of_bounds", expected, f"{width} x {height}")
    if stated_name != file_name:
        return Problem("file_name_mismatch", file_name, brief(stated_name))
    if stated_id != image_id:
        return Problem("image_id_mismatch", f"{image_id}, as in the file's name", str(stated_id))
    if len(annotations) > MAX_ANNOTATIONS:
        found = f"{len(annotations)} annotations"
        return Problem("too_many_annotations", f"at most {MAX_ANNOTATIONS}", found)
    return width, height


def check_jpeg(data: bytes, width: int, height: int) -> Problem | None:
    """Check that a JPEG has the stated size, decodes without a warning, and is not turned.

    The whole entropy-coded stream is decoded, at an eighth of the size and without colour. Every
    fault that a decoder can notice is in that stream. libjpeg's warnings count as faults.
    `load_dataset` turns a picture whose orientation is not 1, and then the masks don't fit.

    Parameters
    ----------
    data
        The file's bytes.
    width, height
        The size that the json states, in pixels.
    """
    try:
        found_height, found_width, _, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        return Problem("jpeg_invalid", "a JPEG", f"{len(data)} bytes: {error}")
    if (found_width, found_height) != (width, height):
        found = f"{found_width} x {found_height}"
        return Problem("image_size_mismatch", f"{width} x {height}, as in the json", found)
    try:
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8
        )
    except ValueError as error:
        return Problem("jpeg_corrupt", "a JPEG that decodes to its end", str(error))
    try:
        if (turned := orientation(data)) != 1:
            expected = "an EXIF orientation that can be set to 1"
            return Problem("orientation_not_reset", expected, str(turned))
    except Exception as error:  # Pillow's plugins raise errors of any kind for a damaged file
        expected = "a JPEG that load_dataset can show"
        return Problem("jpeg_not_shown", expected, what_went_wrong(error))
    return None


def clean_annotation(value: Any, width: int, height: int) -> Json | Problem:
    """Check an annotation's fields, and leave out the undocumented ones.

    Parameters
    ----------
    value
        One item of the json's list.
    width, height
        The image's size in pixels. The segmentation must have the same.

    Returns
    -------
    dict or Problem
        The documented fields, of the documented types and with finite numbers, or the first failed
        check.
    """
    try:
        if not isinstance(value, dict):
            raise Bad("annotation_wrong_type", "an object", brief(value))
        segmentation = _key(value, "segmentation", dict)
        size = _numbers(segmentation, "size", 2)
        if size != [height, width]:
            raise Bad("segmentation_size_mismatch", str([height, width]), brief(size))
        counts = segmentation.get("counts")
        if not isinstance(counts, str):
            raise Bad("rle_wrong_type", "a compressed RLE string", brief(counts))
        points = _key(value, "point_coords", list)
        return {
            "id": _integer(value, "id"),
            "segmentation": {"size": [height, width], "counts": counts},
            "bbox": _numbers(value, "bbox", 4),
            "area": _integer(value, "area"),
            "predicted_iou": _number(value, "predicted_iou"),
            "point_coords": [_numbers({"point_coords": p}, "point_coords", 2) for p in points],
            "crop_box": _numbers(value, "crop_box", 4),
            "stability_score": _number(value, "stability_score"),
        }
    except Bad as bad:
        return bad.problem


def check_geometry(annotation: Json, area: int, bbox: list[float]) -> Problem | None:
    """Compare an annotation's area and box with those of its decoded mask.

    Parameters
    ----------
    annotation
        As `clean_annotation` returns it.
    area
        The mask's area in pixels, which must be equal.
    bbox
        The mask's box [x, y, width, height] in pixels. The corners may differ by BBOX_TOLERANCE.
    """
    if annotation["area"] != area:
        return Problem("area_mismatch", f"{area}, the mask's own", str(annotation["area"]))
    stated = annotation["bbox"]
    if min(stated[2:]) < 0 or box_distance(stated, bbox) > BBOX_TOLERANCE:
        return Problem("bbox_mismatch", f"{bbox} within 1 px, the mask's own", str(stated))
    return None


def box_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """How far the corners of two boxes [x, y, width, height] are apart, in pixels, at the most.

    The corners are compared, so that an offset and a size can't cancel out.
    """
    return max(
        max(abs(a - b), abs(a + a_length - b - b_length))
        for a, b, a_length, b_length in zip(one[:2], other[:2], one[2:], other[2:], strict=True)
    )


_KEYS: dict[str, frozenset[str]] = {
    "": frozenset({"image", "annotations"}),
    "image.": frozenset({"image_id", "width", "height", "file_name"}),
    "annotations[].": frozenset(
        {
            *("id", "segmentation", "bbox", "area", "predicted_iou"),
            *("point_coords", "crop_box", "stability_score"),
        }
    ),
    "annotations[].segmentation.": frozenset({"size", "counts"}),
}


def unknown_keys(record: Json) -> Counter[str]:
    """Count the keys that SA-1B does not document, by their path."""
    found: Counter[str] = Counter()

    def look(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            found.update(f"{prefix}{key}"[:200] for key in value.keys() - _KEYS[prefix])

    look("", record)
    look("image.", record.get("image"))
    annotations = record.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else ():
        look("annotations[].", annotation)
        if isinstance(annotation, dict):
            look("annotations[].segmentation.", annotation.get("segmentation"))
    return found


def _key(value: Json, key: str, kind: type | tuple[type, ...]) -> Any:
    if key not in value:
        raise Bad("missing_key", key, f"keys {brief(sorted(value))}")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        name = kind.__name__ if isinstance(kind, type) else "number"
        raise Bad("wrong_type", f"{key}: {name}", brief(found))
    return found


def _number(value: Json, key: str) -> float:
    number = _key(value, key, (int, float))
    return _finite(number, key)


def _finite(number: int | float, key: str) -> float:
    if isinstance(number, float) and not math.isfinite(number):
        raise Bad("not_finite", f"{key}: a finite number", str(number))
    if isinstance(number, int) and (number not in _INT64 or float(number) != number):
        raise Bad("number_out_of_range", f"{key}: a number that float64 holds", brief(number))
    return float(number)


def _integer(value: Json, key: str) -> int:
    number = _key(value, key, (int, float))
    if isinstance(number, float) and not number.is_integer():
        raise Bad("wrong_type", f"{key}: a whole number", str(number))
    if int(number) not in _INT64:
        raise Bad("number_out_of_range", f"{key}: a number that int64 holds", brief(number))
    return int(number)


def _numbers(value: Json, key: str, length: int) -> list[float]:
    found = _key(value, key, list)
    if len(found) != length:
        raise Bad("wrong_length", f"{key}: {length} numbers", brief(found))
    for number in found:
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise Bad("wrong_type", f"{key}: {length} numbers", brief(found))
    return [_finite(number, key) for number in found]
