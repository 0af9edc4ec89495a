"""Each reader's options: what table.toml may say, and the error that names what it may not."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from builder.core.errors import SettingsError
from builder.sources.evaluation.readers import OPTIONS
from builder.sources.evaluation.table import _row

FILES = {"split": "val", "images": "{name}", "truth": "b.json"}
NEEDED: dict[str, dict[str, Any]] = {
    "binary": {},
    "coco_json": {},
    "index": {},
    "polygon_json": {"dialect": "via"},
    "youtube_vis": {},
}


def _parse(**part: Any) -> Any:
    table = {"download": [], "cite": [], "native": {"rule": "All.", "parts": [part]}}
    rest = dict.fromkeys(
        ("title", "about", "homepage", "unpacked", "licence", "licence_url", "terms"), "text"
    )
    rest |= {"redistribution": "allowed", "checked": "fixture"}
    return _row("mine", {**table, **rest}).protocols["native"].parts[0]


def test_every_reader_is_here() -> None:
    assert OPTIONS.keys() == NEEDED.keys()


@pytest.mark.parametrize("reader", NEEDED)
def test_a_part_becomes_the_options_of_its_reader(reader: str) -> None:
    (options,) = _parse(reader=reader, **FILES, **NEEDED[reader])
    assert type(options) is OPTIONS[reader]
    assert (options.split, options.images, options.truth) == ("val", "{name}", "b.json")


@pytest.mark.parametrize("reader", NEEDED)
def test_an_unknown_key_is_named_with_row_and_reader(reader: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"row mine.native, part 1: reader {reader} has no key 'colur'"
    ):
        _parse(reader=reader, **FILES, **NEEDED[reader], colur=1)


@pytest.mark.parametrize("reader", NEEDED)
@pytest.mark.parametrize("key", ["split", "images", "truth", "dialect"])
def test_a_missing_key_is_named_with_row_and_reader(reader: str, key: str) -> None:
    part = {**FILES, **NEEDED[reader]}
    if key not in part:
        assert key not in {field.name for field in fields(OPTIONS[reader])}
        return
    del part[key]
    with pytest.raises(
        SettingsError, match=rf"row mine.native, part 1: reader {reader} needs the key '{key}'"
    ):
        _parse(reader=reader, **part)


@pytest.mark.parametrize(
    ("reader", "key", "value", "expected"),
    [
        ("binary", "empty", "maybe", "one of 'keep', 'drop'"),
        ("binary", "category", 3, "str"),
        ("coco_json", "key", "name", "one of 'file_name', 'basename', 'coco_url'"),
        ("coco_json", "missing", True, "one of 'reject', 'ignore'"),
        ("index", "bits", "16", "int"),
        ("index", "bits", True, "int"),
        ("index", "void", 255, "a list of int"),
        ("index", "void", ["255"], "a list of int"),
        ("index", "rule", "colors", "one of 'values', 'colours'"),
        ("polygon_json", "fill", "cairo", "one of 'coco', 'opencv', 'pillow', 'skimage'"),
        ("youtube_vis", "images", None, "str"),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(
    reader: str, key: str, value: object, expected: str
) -> None:
    with pytest.raises(
        SettingsError, match=rf"row mine.native, part 1: reader {reader}: key '{key}': expected "
    ) as error:
        _parse(reader=reader, **{**FILES, **NEEDED[reader], key: value})
    assert f"expected {expected}" in str(error.value)


@pytest.mark.parametrize(
    ("dialect", "key", "value"),
    [
        ("via", "void_tags", ["void"]),
        ("via", "image_id", "{name}"),
        ("visor", "category", "hand"),
        ("woodscape", "category_key", "species"),
    ],
)
def test_a_key_of_another_dialect_is_an_error(dialect: str, key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"polygon_json: the key '{key}' .* not {dialect}"):
        _parse(reader="polygon_json", dialect=dialect, **FILES, **{key: value})


def test_a_map_of_classes_needs_their_names() -> None:
    with pytest.raises(SettingsError, match=r"reader index: the key 'classes' needs .* 'names'"):
        _parse(reader="index", **FILES, classes="{name}.png")


def test_an_unknown_reader_lists_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"mine.native, part 1: no reader 'maps': .*index"):
        _parse(reader="maps", **FILES)


def test_a_layout_may_choose_another_reader_with_its_own_keys() -> None:
    layouts = [{"reader": "index", "bits": 16}, {"reader": "polygon_json", "dialect": "via"}]
    first, second = _parse(**FILES, layouts=layouts)
    assert (first.reader, first.bits) == ("index", 16)
    assert (second.reader, second.dialect) == ("polygon_json", "via")
    with pytest.raises(SettingsError, match=r"reader index has no key 'dialect'"):
        _parse(**FILES, dialect="via", layouts=layouts)
