"""COCO JSON: polygons, run lengths, compressed RLE and crowds, by pycocotools' rules.

The JSON is scanned once, for the listing. Each image then knows where its annotations are in the
file, so a worker reads only those.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from builder.core.errors import SourceError
from builder.core.records import Reject
from builder.core.text import brief
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.json_stream import Element, elements
from builder.sources.evaluation.readers.base import (
    Annotation,
    Entry,
    Found,
    Images,
    Truth,
    integer,
    missing_fields,
    note_dropped,
    reject_repeated,
)
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.readers.segmentation import to_counts

_IMAGE_FIELDS = ("id", "width", "height")


@dataclass(frozen=True, slots=True)
class Places:
    """Where an image's annotations are in the JSON.

    `spans` holds an offset and a length for each annotation, in bytes, as int64. `categories` is
    one object that all images share.
    """

    spans: bytes
    categories: dict[Any, str]

    def read(self, file: Path) -> list[Any]:
        """The annotations."""
        spans = array("q", self.spans)
        records = []
        with file.open("rb") as stream:
            for offset, length in zip(spans[::2], spans[1::2], strict=True):
                stream.seek(offset)
                records.append(json.loads(stream.read(length)))
        return records


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoOptions(Options):
    """Options of `CocoJson`.

    Parameters
    ----------
    key
        What names an image in the JSON: `file_name`, its `basename`, or the end of its
        `coco_url`.
    missing
        `reject` reports each image that the JSON lists and the folder lacks. `ignore` counts them
        in one note.
    """

    reader: ClassVar[str] = "coco_json"

    key: Literal["file_name", "basename", "coco_url"] = "file_name"
    missing: Literal["reject", "ignore"] = "reject"

    def open(self, root: Path, source: str) -> CocoJson:
        return CocoJson(root, self, source)


class CocoJson:
    """Reads the part's JSON; see `builder.sources.evaluation.readers.base.Reader`."""

    def __init__(self, root: Path, part: CocoOptions, source: str) -> None:
        self.root, self.part, self.source = root, part, source

    def listing(self) -> Found:
        found = Found()
        files = (self.part.truth,)
        images: dict[Any, tuple[str, dict[str, str], tuple[int, int]] | None] = {}
        on_disk = Images(
            self.root,
            self.part,
            self.source,
            basename=self.part.key == "basename",
            quiet=self.part.missing == "ignore",
        )
        categories: dict[Any, str] = {}
        places: dict[Any, array[int]] = {}
        for element in elements(self.root / self.part.truth):
            record = element.value
            if element.repeated is not None:
                reject_repeated(element, self.source, self.part.truth, found)
            elif element.key == "images":
                self._image(record, images, on_disk, found)
            elif element.key == "categories":
                add_category(record, categories, self.source, self.part.truth, found)
            elif element.key == "annotations":
                self._place(element, places, found)
        if not images:
            raise SourceError(
                f"{self.root / self.part.truth}: expected COCO JSON with a list of images, found "
                "none: is it the file of another release?"
            )
        on_disk.finish(found)
        for image_id in (i for i in places if i not in images):
            expected = "the id of an image in the list"
            self._reject(found, "image_unknown", expected, f"image_id {brief(image_id)}")
        dropped = 0
        for image_id, image in images.items():
            spans = places.get(image_id, array("q"))
            if image is None:
                continue
            if not spans and self.part.empty == "drop":
                dropped += 1
                continue
            path, values, size = image
            truth = Places(spans.tobytes(), categories)
            length = sum(spans[1::2])
            found.entries.append(Entry(path, str(image_id), truth, files, values, size, length))
        note_dropped(found, self.part, dropped)
        return found

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        truth = Truth()
        places: Places = entry.truth
        for i, record in enumerate(places.read(self.root / self.part.truth)):
            number = integer(record.get("id"), i)
            try:
                counts = to_counts(record.get("segmentation"), height, width)
                category, category_id = category_of(record, places.categories)
            except Fault as fault:
                truth.faults.append((number, fault))
                continue
            crowd = bool(record.get("iscrowd", 0))
            truth.annotations.append(Annotation(number, counts, category, category_id, crowd))
        return truth

    def _image(
        self,
        record: Any,
        images: dict[Any, tuple[str, dict[str, str], tuple[int, int]] | None],
        on_disk: Images,
        found: Found,
    ) -> None:
        key = "coco_url" if self.part.key == "coco_url" else "file_name"
        if key == "file_name" and isinstance(record, dict) and "file_name" not in record:
            key = "coco_url"  # LVIS v1
        if lacking := missing_fields(record, (*_IMAGE_FIELDS, key)):
            self._reject(found, "image_fields", f"the fields {lacking}", brief(record))
            return
        image_id, name = record["id"], str(record[key])
        if not isinstance(image_id, (int, str)) or image_id in images:
            self._reject(found, "image_id", "an id of its own", brief(image_id))
            return
        if key == "coco_url":
            name = "/".join(name.rsplit("/", 2)[-2:])
        path = on_disk.find(name, found)
        size = (integer(record["width"], -1), integer(record["height"], -1))
        images[image_id] = path and (*path, size)

    def _place(self, element: Element, places: dict[Any, array[int]], found: Found) -> None:
        record = element.value
        image_id = record.get("image_id") if isinstance(record, dict) else None
        if not isinstance(image_id, (int, str)):
            self._reject(found, "annotation_fields", "an object with image_id", brief(record))
            return
        places.setdefault(image_id, array("q")).extend((element.offset, element.length))

    def _reject(self, found: Found, reason: str, expected: str, what: str) -> None:
        found.rejects.append(Reject(self.source, self.part.truth, reason, expected, what))


def add_category(
    record: Any, categories: dict[Any, str], source: str, file: str, found: Found
) -> None:
    """Add an entry of the list of categories. A malformed one, or a second of its id, is rejected.

    Parameters
    ----------
    record
        The entry.
    categories
        The names by id so far.
    source, file
        The dataset and its JSON, for the reject.
    found
        It gets the reject.
    """
    expected = ""
    if missing_fields(record, ("id", "name")) or not isinstance(record["id"], (int, str)):
        expected = "a category with id and name"
    elif categories.setdefault(record["id"], str(record["name"])) != str(record["name"]):
        expected = f"one name of category {record['id']}, {categories[record['id']]!r}"
    if expected:
        what = str(record)[:80]
        found.rejects.append(Reject(source, file, "category_invalid", expected, what))


def category_of(record: Any, categories: dict[Any, str]) -> tuple[str | None, int | None]:
    """The name and id of an annotation's category, both None if it has none.

    Raises Fault if the category is not in the list.
    """
    category_id = record.get("category_id")
    if category_id is None:
        return None, None
    if not isinstance(category_id, (int, str)) or category_id not in categories:
        known = f"one of the {len(categories)} categories listed"
        raise Fault("category_unknown", known, brief(category_id))
    return categories[category_id], category_id if isinstance(category_id, int) else None
