"""The table of the evaluation suite, from table.toml and references.bib beside this file.

Row          a dataset: what it is, where it comes from, under which terms
 └ Protocol  native, sam or asam: a rule in words, and
    └ Options   one split and what its reader is told, in one or more alternative layouts
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from asam_datasets import EVAL_DATASETS, PROTOCOLS
from builder.core.errors import SettingsError
from builder.sources.evaluation.photos import MasksFit
from builder.sources.evaluation.readers import OPTIONS
from builder.sources.evaluation.readers.options import Options

Redistribution = Literal["allowed", "forbidden", "unclear"]
Checked = Literal["real release", "real samples", "fixture"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to evaluate on a dataset.

    Each item of `parts` is one part: its alternative layouts, in the order they are tried.
    `counts` has the published numbers of images by split, and `masks` that of all masks.
    """

    name: str
    rule: str
    parts: tuple[tuple[Options, ...], ...]
    same_as: str | None = None
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    masks: int | None = None


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
    masks_fit: MasksFit = "shown"

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
            parts=like.parts if like else _parts(entry["parts"], names, f"row {name}.{protocol}"),
            same_as=entry.get("same_as"),
            counts=entry.get("counts", like.counts if like else {}),
            masks=entry.get("masks"),
        )
    fields |= {key: tuple(fields[key]) for key in ("download", "cite")}
    if fields.get("masks_fit", "shown") not in (known := get_args(MasksFit)):
        found = fields["masks_fit"]
        raise SettingsError(f"table.toml: {name}: masks_fit {found!r}: choose from {known}")
    return Row(name=name, protocols=protocols, **{"checked_note": "", **fields})


def _parts(
    tables: Iterable[Mapping[str, Any]], names: tuple[str, ...], where: str
) -> tuple[tuple[Options, ...], ...]:
    return tuple(_part(table, names, f"{where}, part {i}") for i, table in enumerate(tables, 1))


def _part(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> tuple[Options, ...]:
    """The alternatives of a part: the options of its reader, once for each layout.

    Raises
    ------
    SettingsError
        There is no such reader. Or a key is unknown, missing, or has a wrong value.
    """
    common = {key: value for key, value in table.items() if key != "layouts"}
    alternatives = []
    for layout in table.get("layouts", [{}]):
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in {**common, **layout}.items()
        }
        reader = values.pop("reader", None)
        if reader not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise SettingsError(f"table.toml: {where}: no reader {reader!r}: choose from {known}")
        if reader == "index":
            values = {"names": names, **values}
        alternatives.append(OPTIONS[reader].parse(values, where))
    return tuple(alternatives)
