"""Polygon JSON in its dialects.

via        VGG Image Annotator: `{key: {filename, regions}}`, regions a list (VIA 2) or a dict
           (VIA 1) of `{shape_attributes: {all_points_x, all_points_y}, region_attributes}`
visor      `{video_annotations: [{image: {name}, annotations: [{name, class_id, segments}]}]}`
woodscape  one file per image: `{file: {annotation: [{tags, segmentation: [[x, y], ...]}]}}`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pycocotools import mask as coco

from builder.core import strict_json
from builder.core.errors import SourceError
from builder.core.text import brief
from builder.sources.evaluation import polygons
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import Mask
from builder.sources.evaluation.readers.base import (
    Annotation,
    Entry,
    Found,
    Images,
    Truth,
    load_json,
    missing_fields,
    note_dropped,
    pair,
)
from builder.sources.evaluation.readers.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonOptions(Options):
    """Options of `PolygonJson`.

    Parameters
    ----------
    dialect
        Which JSON it is: see the top of this module.
    fill
        The rule that fills a polygon: see `builder.sources.evaluation.polygons`.
    image_id
        Template of the image's id; woodscape only.
    category
        The category of an instance that has none of its own; via only.
    category_key
        The region attribute that holds the category; via only.
    void_tags
        Tags of the objects that make the void mask; woodscape only.
    """

    reader: ClassVar[str] = "polygon_json"

    dialect: Literal["via", "visor", "woodscape"]
    fill: polygons.Fill = "coco"
    image_id: str = "{id}"
    category: str | None = None
    category_key: str | None = None
    void_tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        of_dialect = {
            "image_id": ("woodscape", self.image_id != "{id}"),
            "category": ("via", self.category is not None),
            "category_key": ("via", self.category_key is not None),
            "void_tags": ("woodscape", bool(self.void_tags)),
        }
        for key, (dialect, given) in of_dialect.items():
            if given and dialect != self.dialect:
                raise ValueError(f"the key {key!r} is of dialect {dialect}, not {self.dialect}")

    def open(self, root: Path, source: str) -> PolygonJson:
        return PolygonJson(root, self, source)

    def libraries(self) -> dict[str, str]:
        return polygons.library(self.fill)


class Shape(NamedTuple):
    """An object of any dialect: its polygons, id, category and tags."""

    polygons: list[Any]
    id: int
    category: str | None = None
    category_id: int | None = None
    tags: tuple[str, ...] = ()


class PolygonJson:
    """Reads the part's JSON; see `builder.sources.evaluation.readers.base.Reader`.

    `Entry.truth` is the JSON text of one image's objects, or the path of its file (woodscape).
    """

    def __init__(self, root: Path, part: PolygonOptions, source: str) -> None:
        self.root, self.part, self.source = root, part, source
        part.libraries()  # raises now when the package is not installed

    def listing(self) -> Found:
        if self.part.dialect == "woodscape":
            return pair(self.root, self.part, self.source, image_id=self.part.image_id)
        found = Found()
        on_disk = Images(self.root, self.part, self.source)
        dropped = 0
        for path, _ in Pattern(self.part.truth).scan(self.root):
            for name, objects in self._images(path):
                image = on_disk.find(name, found)
                if image is None:
                    continue
                if self.part.empty == "drop" and not objects:
                    dropped += 1
                    continue
                text = json.dumps(objects)
                image_id = name.rpartition(".")[0] or name
                found.entries.append(
                    Entry(image[0], image_id, text, (path,), image[1], truth_bytes=len(text))
                )
        on_disk.finish(found)
        note_dropped(found, self.part, dropped)
        return found

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        truth = Truth()
        void: list[bytes] = []
        for shape in self._shapes(entry, height, width, truth):
            try:
                checked = polygons.checked(shape.polygons, height, width)
            except Fault as fault:
                truth.faults.append((shape.id, fault))
                continue
            counts = polygons.fill(checked, height, width, self.part.fill)
            if any(tag in self.part.void_tags for tag in shape.tags):
                void.append(counts)
                continue
            truth.annotations.append(
                Annotation(shape.id, counts, shape.category, shape.category_id)
            )
        if void:
            truth.void = _union(void, height, width)
        return truth

    def _images(self, path: str) -> Iterator[tuple[str, list[Any]]]:
        """The images of a JSON, each as its name and its list of objects."""
        data = load_json(self.root / path)
        if self.part.dialect == "visor":
            records = data.get("video_annotations") if isinstance(data, dict) else None
            if not isinstance(records, list):
                raise self._not(path, "VISOR's list video_annotations", data)
            for record in records:
                if missing_fields(record, ("image", "annotations")):
                    raise self._not(path, "VISOR's image and annotations", record)
                if missing_fields(record["image"], ["name"]):
                    raise self._not(path, "VISOR's name of an image", record["image"])
                if not isinstance(record["annotations"], list):
                    raise self._not(path, "VISOR's list of annotations", record["annotations"])
                yield str(record["image"]["name"]), record["annotations"]
            return
        if not isinstance(data, dict) or not data:
            raise self._not(path, "VIA's object of images", data)
        for record in data.values():
            if missing_fields(record, ("filename", "regions")):
                raise self._not(path, "VIA's filename and regions", record)
            regions = record["regions"]
            if not isinstance(regions, (dict, list)):
                raise self._not(path, "VIA's regions, a list or an object", regions)
            objects = list(regions.values()) if isinstance(regions, dict) else regions
            yield str(record["filename"]), objects

    def _shapes(self, entry: Entry, height: int, width: int, truth: Truth) -> Iterator[Shape]:
        dialect = self.part.dialect
        if dialect == "woodscape":
            objects = self._woodscape(entry.truth[0], height, width)
        else:
            objects = json.loads(entry.truth)
        make = {"via": self._via_shape, "visor": _visor_shape, "woodscape": _woodscape_shape}
        for i, record in enumerate(objects):
            try:
                yield make[dialect](record, i)
            except Fault as fault:
                truth.faults.append((i, fault))
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                expected = f"a {dialect} object"
                truth.faults.append((i, Fault("annotation_fields", expected, repr(error))))

    def _via_shape(self, region: Any, i: int) -> Shape:
        shape = region["shape_attributes"]
        if shape.get("name", "polygon") != "polygon":
            raise Fault("shape_unknown", "a polygon", brief(shape.get("name")))
        xs, ys = shape["all_points_x"], shape["all_points_y"]
        if len(xs) != len(ys):
            raise Fault("polygon_malformed", "as many x as y", f"{len(xs)} x, {len(ys)} y")
        category = self.part.category
        if self.part.category_key is not None:
            category = region.get("region_attributes", {}).get(self.part.category_key) or category
        return Shape([list(zip(xs, ys, strict=True))], i, category)

    def _woodscape(self, path: str, height: int, width: int) -> list[Any]:
        try:
            data = strict_json.loads((self.root / path).read_bytes())
            (record,) = data.values()  # a second image would be lost
            objects = list(record["annotation"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            expected = "WoodScape's object with a list annotation"
            raise Fault("truth_unreadable", expected, f"{path}: {error!r}") from error
        size = (record.get("image_height", height), record.get("image_width", width))
        if size != (height, width):
            expected = f"{width} x {height} pixels, as the image"
            raise Fault("mask_size", expected, f"{path}: {size[1]} x {size[0]}")
        return objects

    def _not(self, path: str, expected: str, found: Any) -> SourceError:
        return SourceError(
            f"{self.root / path}: expected {expected}, found {brief(found)}: is it the file "
            "of another release?"
        )


def _visor_shape(record: Any, i: int) -> Shape:
    segments = [segment for segment in record["segments"] if segment]
    class_id = record.get("class_id")
    category_id = class_id if isinstance(class_id, int) else None
    return Shape(segments, i, str(record["name"]), category_id)


def _woodscape_shape(record: Any, i: int) -> Shape:
    tags = tuple(str(tag) for tag in record["tags"])
    return Shape([record["segmentation"]], i, tags[0] if tags else None, tags=tags)


def _union(counts: list[bytes], height: int, width: int) -> Mask:
    rles = [{"size": [height, width], "counts": c} for c in counts]
    mask: Mask = coco.decode(coco.merge(rles)).astype(bool)
    return mask
