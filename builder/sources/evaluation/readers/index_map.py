"""Maps of ids: an image each of whose values is an instance, a class, or background.

What a value means (`IndexOptions.rule`):

    values                an instance, or a class where the row has names
    colours               an instance or class that only its colour names
    ade20k                a 24-bit id: class R // 10 * 256 + G, instance B
    cityscapes_instances  class * 1000 + k is instance k of a class; the value class, for a class
                          with instances, is a group of them (a crowd); classes that evaluation
                          ignores are void
    cityscapes_panoptic   the same, and every other class is one segment
    cityscapes_values     each value is a segment, nothing is void
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from builder.core import strict_json
from builder.sources.evaluation.faults import Fault, optional
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import (
    HDF5,
    Ids,
    check_labels,
    check_size,
    read_ids,
    rle_of_ids,
)
from builder.sources.evaluation.readers.base import Annotation, Entry, Found, Truth, pair
from builder.sources.evaluation.readers.options import Options

# cityscapesscripts/helpers/labels.py: ignoreInEval, hasInstances
CITYSCAPES_IGNORED = frozenset((*range(7), 9, 10, 14, 15, 16, 18, 29, 30))
CITYSCAPES_THINGS = frozenset((*range(24, 29), *range(31, 34)))


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions(Options):
    """Options of `IndexMaps`.

    Parameters
    ----------
    image_id
        Template of the image's id.
    more_truth
        Pattern of maps that are read after `truth` where they are there.
    ids
        A text file with one id per line. Only these images are read.
    category
        The category of every instance: a constant, or a placeholder of the image's pattern.
    names
        Category names by id.
    names_json
        Pattern of an ADE20K json that names the categories.
    classes
        Pattern of a map of category ids beside the map of instances. It needs `names`.
    background
        Values that are no instance.
    void
        Values that are excluded from evaluation.
    known
        The only values that are neither background nor void. Any other is void. Empty: no limit.
    colour
        Whether a map may (`accept`) or must (`require`) hold 24-bit ids, R + 256 G + 65536 B.
    bits
        Bits per value that a map must have at least.
    rule
        What a value means: see the top of this module.
    """

    reader: ClassVar[str] = "index"

    image_id: str = "{id}"
    more_truth: str | None = None
    ids: str | None = None
    category: str | None = None
    names: tuple[str, ...] = ()
    names_json: str | None = None
    classes: str | None = None
    background: tuple[int, ...] = (0,)
    void: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    colour: Literal["refuse", "accept", "require"] = "refuse"
    bits: int = 8
    rule: Literal[
        "values",
        "colours",
        "ade20k",
        "cityscapes_instances",
        "cityscapes_panoptic",
        "cityscapes_values",
    ] = "values"

    def __post_init__(self) -> None:
        if self.classes is not None and not self.names:
            raise ValueError("the key 'classes' needs the row's 'names'")

    def open(self, root: Path, source: str) -> IndexMaps:
        return IndexMaps(root, self, source)


class IndexMaps:
    """Reads the part's maps; see `builder.sources.evaluation.readers.base.Reader`."""

    def __init__(self, root: Path, part: IndexOptions, source: str) -> None:
        self.root, self.part, self.source = root, part, source
        if part.truth.endswith(HDF5):
            optional("h5py", f"reading {source}")

    def listing(self) -> Found:
        part = self.part
        return pair(
            self.root,
            part,
            self.source,
            image_id=part.image_id,
            more_truth=part.more_truth,
            beside=filter(None, (part.classes, part.names_json)),
            ids=part.ids,
        )

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        names = self._names(entry)
        truth = Truth()
        for path in entry.truth:
            self._read_map(path, entry, names, height, width, truth)
        return truth

    def _read_map(
        self,
        path: str,
        entry: Entry,
        names: Mapping[int, str],
        height: int,
        width: int,
        truth: Truth,
    ) -> None:
        part = self.part
        ids = read_ids(self.root / path, colour=part.colour, bits=part.bits)
        check_size(ids, height, width, path)
        check_labels(ids, path)
        classes = self._classes(entry, ids)
        void = []
        for value, counts in rle_of_ids(ids):
            if value in part.background:
                continue
            if self._is_void(value):
                void.append(value)
                continue
            meaning = self._meaning(value)
            if meaning is None:
                continue
            category_id, crowd = meaning
            if classes is not None:
                category_id = classes.get(value)
            try:
                category = self._category(entry, names, category_id)
            except Fault as fault:
                truth.faults.append((value, fault))
                continue
            truth.annotations.append(Annotation(value, counts, category, category_id, crowd))
        if void:
            mask = np.isin(ids, void)
            truth.void = mask if truth.void is None else truth.void | mask

    def _is_void(self, value: int) -> bool:
        part = self.part
        if part.rule in ("cityscapes_instances", "cityscapes_panoptic"):
            return (value if value < 1000 else value // 1000) in CITYSCAPES_IGNORED
        return value in part.void or bool(part.known and value not in part.known)

    def _meaning(self, value: int) -> tuple[int | None, bool] | None:
        """The category id of a value, and whether it is a crowd; None if it is no instance."""
        rule = self.part.rule
        if rule == "ade20k":
            return (value % 256) // 10 * 256 + value // 256 % 256, False
        if rule.startswith("cityscapes"):
            category = value if value < 1000 else value // 1000
            thing = category in CITYSCAPES_THINGS
            if rule == "cityscapes_instances" and not thing:
                return None
            return category, thing and value < 1000 and rule != "cityscapes_values"
        if rule == "colours" or not self.part.names:
            return None, False
        return value, False

    def _category(
        self, entry: Entry, names: Mapping[int, str], category_id: int | None
    ) -> str | None:
        if self.part.category is not None:
            return Pattern(self.part.category).fill(entry.values)
        if category_id is None or not names:
            return None
        if category_id not in names:
            if self.part.rule == "ade20k":
                return None
            raise Fault(
                "category_unknown", f"one of {min(names)} to {max(names)}", str(category_id)
            )
        return names[category_id]

    def _names(self, entry: Entry) -> Mapping[int, str]:
        """The category names by id, for this image."""
        if self.part.names_json is None:
            return dict(enumerate(self.part.names))
        path = self.root / Pattern(self.part.names_json).fill(entry.values)
        try:
            data = path.read_bytes()
        except OSError:
            return {}
        try:
            record = strict_json.loads(data.decode("utf-8", "replace"))
            objects = record["annotation"]["object"]
            return {int(thing["name_ndx"]): str(thing["name"]) for thing in objects}
        except (ValueError, KeyError, TypeError) as error:
            found = f"{path.name}: {error!r}"
            raise Fault("names_unreadable", "ADE20K's annotation.object list", found) from error

    def _classes(self, entry: Entry, ids: Ids) -> dict[int, int] | None:
        """The most frequent class of each value's pixels; None without a map of classes.

        Pixels that are background or void in the map of classes are not counted.
        """
        if self.part.classes is None:
            return None
        path = self.root / Pattern(self.part.classes).fill(entry.values)
        if not path.is_file():
            return {}
        classes = read_ids(path)
        check_size(classes, ids.shape[0], ids.shape[1], path.name)
        check_labels(classes, path.name)
        pairs = ids.astype(np.int64) << 32 | (classes.astype(np.int64) & 0xFFFFFFFF)
        best: dict[int, tuple[int, int]] = {}
        found, counts = np.unique(pairs, return_counts=True)
        for joined, count in zip(found.tolist(), counts.tolist(), strict=True):
            value, category = joined >> 32, joined & 0xFFFFFFFF
            known = 0 < category < len(self.part.names) and category not in self.part.void
            if known and count > best.get(value, (0, 0))[0]:
                best[value] = (count, category)
        return {value: category for value, (_, category) in best.items()}
