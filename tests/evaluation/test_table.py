"""The table itself, and how it is listed."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest

from asam_datasets import EVAL_DATASETS, PROTOCOLS, TRAIN_CONFIG, config_names
from builder.core.errors import SettingsError
from builder.core.layout import SPLIT_NAME
from builder.sources.evaluation import format_list, list_eval, row
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.readers.binary import BinaryOptions
from builder.sources.evaluation.readers.index_map import IndexOptions
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.readers.polygon_json import PolygonOptions
from builder.sources.evaluation.table import Row, rows

HINTS: dict[str, Any] = typing.get_type_hints(Row)
ROWS = list(rows())
PARTS = [
    pytest.param(layout, id=f"{row.config(name)}-{layout.split}-{layout.truth}")
    for row in ROWS
    for name, protocol in row.protocols.items()
    for alternatives in protocol.parts
    for layout in alternatives
]


def test_the_table_has_the_datasets_that_the_loader_knows() -> None:
    assert tuple(row.name for row in ROWS) == EVAL_DATASETS
    assert len(EVAL_DATASETS) == 30


def test_the_configs_of_asam_datasets_are_those_of_the_table() -> None:
    names = {
        row.name if protocol == "native" else f"{row.name}_{protocol}"
        for row in ROWS
        for protocol in row.protocols
    }
    assert {name for name in config_names() if not TRAIN_CONFIG.fullmatch(name)} == names


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.name)
def test_a_row_is_whole(entry: Row) -> None:
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        assert value or field.name == "checked_note", field.name
        _in_literal(field.name, value)
    assert entry.homepage.startswith("http")
    assert entry.licence_url.startswith("http")
    assert entry.bibtex.count("@") >= len(entry.cite) > 0
    for key in entry.cite:
        assert f"{{{key}," in entry.bibtex
    assert "native" in entry.protocols
    for name, protocol in entry.protocols.items():
        assert entry.config(name).isidentifier()
        assert protocol.rule
        splits = {part[0].split for part in protocol.parts}
        assert set(protocol.counts) <= splits
        assert all(len({layout.split for layout in part}) == 1 for part in protocol.parts)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_consistent(part: Options) -> None:
    assert SPLIT_NAME.fullmatch(part.split)
    assert part.split != "all"
    names = Pattern(part.images).names
    if isinstance(part, IndexOptions | BinaryOptions) or (
        isinstance(part, PolygonOptions) and part.dialect == "woodscape"
    ):
        shared = set(names) & set(Pattern(part.truth).names)
        assert shared
        assert shared == set(names) - {"ext"} or part.reader == "polygon_json"
        assert set(Pattern(part.image_id).names) <= set(names)
    else:
        assert "name" in names
    if isinstance(part, IndexOptions) and part.classes:
        assert set(Pattern(part.classes).names) <= set(names)


def _in_literal(name: str, value: object) -> None:
    hint = HINTS[name]
    if typing.get_origin(hint) is typing.Literal:
        assert value in typing.get_args(hint), f"{name}: {value}"


def test_references_hold_no_entry_that_nobody_cites() -> None:
    from builder.sources.evaluation.table import _references

    assert sorted(_references()) == sorted(key for entry in ROWS for key in entry.cite)


def test_a_row_is_found_by_its_name_and_by_its_configs() -> None:
    assert row("cityscapes_sam") is row("cityscapes") is row("cityscapes_asam")
    assert row("kvasir_seg").name == "kvasir_seg"


@pytest.mark.parametrize("name", ["cityscape", "coco2017_sam", "", "big_native"])
def test_an_unknown_name_lists_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError, match=r"no evaluation dataset .* ppdls, .*cvc_clinicdb"):
        row(name)


def test_a_protocol_that_no_paper_defines_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"SAM's Table 7 does not evaluate on it.*native, asam"):
        row("coco2017").protocol("sam")
    with pytest.raises(SettingsError, match=r"ASAM's code does not evaluate on it.*native, sam"):
        row("hypersim").protocol("asam")
    with pytest.raises(SettingsError, match="choose from native, sam, asam"):
        row("coco2017").protocol("paper")


def test_sams_suite_has_23_datasets() -> None:
    assert sum("sam" in entry.protocols for entry in ROWS) == 23
    assert sum("asam" in entry.protocols for entry in ROWS) == 29


def test_sets_that_may_not_be_redistributed_are_marked() -> None:
    assert {r.name for r in ROWS if r.redistribution == "forbidden"} == {"ppdls", "cityscapes"}
    assert {r.name for r in ROWS if r.redistribution == "allowed"} == {
        *("bbbc038v1", "doors", "timberseg", "ndd20", "zerowaste_f", "ishape", "hypersim", "visor")
    }


def test_sets_run_on_samples_are_marked() -> None:
    assert {r.name for r in ROWS if r.checked != "fixture"} == {
        *("ppdls", "bbbc038v1", "lvis", "ade20k", "cityscapes", "coco2017", "voc2012"),
        *("camo", "kvasir_seg"),
    }
    assert all(row.checked_note for row in ROWS if row.checked != "fixture")


def test_a_sam_rule_says_what_its_sampling_is() -> None:
    for entry in ROWS:
        if "sam" in entry.protocols:
            rule = entry.protocols["sam"].rule
            assert (
                any(words in rule for words in ("publish", "all ", "All ", "taken to be"))
                or (entry.name == "egohos" and "sampled" in rule)
                or entry.name == "plittersdorf"
            ), rule


def test_the_list_as_json_has_every_config() -> None:
    listed = json.loads(json.dumps(list_eval()))
    configs = [p["config"] for entry in listed for p in entry["protocols"].values()]
    assert len(configs) == len(set(configs)) == 23 + 29 + 30
    assert {entry["checked"] for entry in listed} == {
        "run on real samples",
        "run only on a fixture in the documented layout",
    }
    assert set(PROTOCOLS) >= {name for entry in listed for name in entry["protocols"]}


def test_the_list_as_text_says_what_to_download_and_under_which_terms() -> None:
    text = format_list()
    for entry in ROWS:
        assert f"{entry.name}: {entry.title}" in text
        assert entry.homepage in text
    lines = [line for line in text.splitlines() if line.startswith(" ")]
    assert all(len(line) <= 100 or len(line.split()) <= 2 for line in lines)
    assert "redistribution forbidden" in text
    assert "run only on a fixture" in text
