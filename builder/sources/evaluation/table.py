"""The table of the evaluation suite, read from table.toml and references.bib beside this file.

Row          a dataset: what it is, where it comes from, under which terms
 └ Protocol  native, sam or asam: a rule in words, and
    └ Part   one split and the reader that reads it, in one or more alternative layouts
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from asam_datasets import EVAL_DATASETS, PROTOCOLS
from builder.core.errors import SettingsError

Redistribution = Literal["allowed", "forbidden", "unclear"]
Checked = Literal["real release", "real samples", "fixture"]


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a release and the way it is read; patterns are relative to the source folder.

    Parameters
    ----------
    split
        The split its rows go to.
    reader
        `index` (maps of ids: PNG, TIFF or HDF5), `binary` (rasters of one mask each), `coco_json`,
        `youtube_vis` or `polygon_json`.
    images, truth, more_truth
        Patterns (patterns.py) of the images, their ground truth, and ground truth that is read
        after it where it is there.
    image_id
        Template of the image's id, for rasters.
    empty
        `drop` leaves out images without an instance.
    strays
        `ignore` says nothing of files that another split uses: ground truth without its image, and
        images that the JSON does not list.
    missing
        `ignore` says nothing of images that a JSON lists and the folder lacks.
    category
        The category of every instance: a constant, or a placeholder of the image's pattern.
    names
        Category names by id.
    ids
        A text file with one id per line: only these are read.
    classes
        Pattern of a map of category ids beside the map of instances.
    names_json
        Pattern of an ADE20K json that names the categories.
    background, void, known
        Values of an index map that are no instance; that are excluded from evaluation; the only
        ones that are neither (any other is void), where given.
    colour
        Whether an index map may be, or must be, a 24-bit id, R + 256 G + 65536 B.
    bits
        Bits per value that an index map must have at least.
    rule
        What a value of an index map means (readers/index_map.py).
    key
        What names an image in a JSON: `file_name`, its `basename`, or the end of its `coco_url`.
    dialect, fill, category_key, void_tags
        The kind of polygon JSON, the rule that fills a polygon (raster.py), the region attribute
        that holds the category, the tags that make the void mask.
    """

    split: str
    reader: Literal["index", "binary", "coco_json", "youtube_vis", "polygon_json"]
    images: str
    truth: str
    more_truth: str | None = None
    image_id: str = "{id}"
    empty: Literal["keep", "drop"] = "keep"
    strays: Literal["reject", "ignore"] = "reject"
    missing: Literal["reject", "ignore"] = "reject"
    category: str | None = None
    names: tuple[str, ...] = ()
    ids: str | None = None
    classes: str | None = None
    names_json: str | None = None
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
    key: Literal["file_name", "basename", "coco_url"] = "file_name"
    dialect: Literal["via", "visor", "woodscape"] | None = None
    fill: Literal["coco", "opencv", "pillow", "skimage"] = "coco"
    category_key: str | None = None
    void_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to evaluate on a dataset: `parts` holds, for each part, its alternatives in order."""

    name: str
    rule: str
    parts: tuple[tuple[Part, ...], ...]
    same_as: str | None = None
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A dataset of the suite; the fields are described at the top of table.toml."""

    name: str
    title: str
    about: str
    homepage: str
    download: tuple[str, ...]
    unpacked: str
    licence: str
    licence_url: str
    redistribution: Redistribution
    terms: str
    cite: tuple[str, ...]
    checked: Checked
    checked_note: str
    protocols: Mapping[str, Protocol]

    @property
    def bibtex(self) -> str:
        """The BibTeX entries to cite."""
        entries = _references()
        return "\n\n".join(entries[key] for key in self.cite)

    def config(self, protocol: str) -> str:
        """The name of a protocol's config."""
        return self.name if protocol == "native" else f"{self.name}_{protocol}"

    def protocol(self, name: str) -> Protocol:
        """A protocol of this dataset.

        Raises
        ------
        SettingsError
            There is no such protocol, or its paper does not define it for this dataset.
        """
        if name in self.protocols:
            return self.protocols[name]
        if name not in PROTOCOLS:
            raise SettingsError(f"no protocol {name!r}: choose from {', '.join(PROTOCOLS)}")
        suite = {"sam": "SAM's Table 7 does not", "asam": "ASAM's code does not"}[name]
        raise SettingsError(
            f"{self.name} has no protocol {name!r}, since {suite} evaluate on it: "
            f"choose from {', '.join(self.protocols)}"
        )


def row(name: str) -> Row:
    """The row of a dataset, or of one of its configs: `row("cityscapes_sam")` is Cityscapes'.

    Raises
    ------
    SettingsError
        No dataset of the suite has that name.
    """
    table = _table()
    if name in table:
        return table[name]
    base, _, protocol = name.rpartition("_")
    if base in table and protocol in table[base].protocols and protocol != "native":
        return table[base]
    raise SettingsError(f"no evaluation dataset {name!r}: choose from {', '.join(table)}")


def rows() -> Iterable[Row]:
    """All rows, in the order of `asam_datasets.EVAL_DATASETS`."""
    return _table().values()


@cache
def _table() -> dict[str, Row]:
    text = (files(__package__) / "table.toml").read_text("utf-8")
    table = tomllib.loads(text)
    ordered = [*EVAL_DATASETS, *(name for name in table if name not in EVAL_DATASETS)]
    return {name: _row(name, table[name]) for name in ordered if name in table}


@cache
def _references() -> dict[str, str]:
    text = (files(__package__) / "references.bib").read_text("utf-8")
    entries = [entry.strip() for entry in re.split(r"^(?=@)", text, flags=re.MULTILINE)]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries if entry}


def _row(name: str, table: Mapping[str, Any]) -> Row:
    fields = {k: v for k, v in table.items() if k not in (*PROTOCOLS, "names")}
    names = tuple(table.get("names", ()))
    protocols: dict[str, Protocol] = {}
    for protocol in (p for p in PROTOCOLS if p in table):
        entry = table[protocol]
        like = protocols[entry["same_as"]] if "same_as" in entry else None
        protocols[protocol] = Protocol(
            name=protocol,
            rule=entry["rule"],
            parts=like.parts if like else tuple(_part(part, names) for part in entry["parts"]),
            same_as=entry.get("same_as"),
            counts=entry.get("counts", like.counts if like else {}),
        )
    fields |= {key: tuple(fields[key]) for key in ("download", "cite")}
    return Row(name=name, protocols=protocols, **{"checked_note": "", **fields})


def _part(table: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Part, ...]:
    """The alternatives of a part; an unknown key is a TypeError of the dataclass."""
    common = {key: value for key, value in table.items() if key != "layouts"}
    alternatives = []
    for layout in table.get("layouts", [{}]):
        merged = {"names": names, **common, **layout}
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in merged.items()
        }
        alternatives.append(Part(**fields))
    return tuple(alternatives)
