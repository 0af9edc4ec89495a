"""Reading the arrays of a JSON object without holding it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.core.errors import SourceError
from builder.sources.evaluation import json_stream
from builder.sources.evaluation.json_stream import Element, elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "annotations.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


@given(
    document=st.dictionaries(st.text(), VALUES, max_size=5),
    window=st.integers(1, 64),
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
)
@settings(deadline=None)
def test_every_element_is_found_at_its_place(
    folder: Path, document: dict[str, Any], window: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # lone surrogates have no UTF-8
    path = write(folder, text)
    found = list(with_window(path, window))
    expected = [
        (key, value)
        for key, array in document.items()
        if isinstance(array, list)
        for value in array
    ]
    assert [(element.key, element.value) for element in found] == expected
    for element in found:
        assert json.loads(text[element.offset : element.offset + element.length]) == element.value


def with_window(path: Path, window: int) -> list[Element]:
    """The elements as read with a small window, so that values lie across its edge."""
    with path.open("rb") as file:
        scanner = json_stream._Scanner(path, file, window)
        return list(scanner.elements())


def test_nan_is_read_as_python_writes_it(tmp_path: Path) -> None:
    (element,) = elements(write(tmp_path, '{"annotations": [[1.5, NaN]]}'))
    assert math.isnan(element.value[1])


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (element,) = elements(write(tmp_path, b'\xef\xbb\xbf{"a": ["\xc3\xa9"]}'))
    assert (element.value, element.offset, element.length) == ("é", 10, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected { at byte 0, but the file ends at byte 0"),
        ("[1, 2]", "expected { at byte 0, but the file has '[1, 2]'"),
        ("<html>", "expected { at byte 0, but the file has '<html>'"),
        ('{"a": [1, 2', "expected , or ] at byte 11, but the file ends"),
        ('{"a": [{"b": 1}, {"b"', "expected a JSON value at byte 17"),
        ('{"a": [1 2]}', "expected , or ] at byte 9"),
        ('{"a" [1]}', "expected : at byte 5"),
        ("{1: []}", "expected a key in quotes"),
        ('{"a": ' + "[" * 100_000, "expected a JSON value"),
    ],
)
def test_what_is_no_json_object_is_named_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SourceError, match=re.escape(message)) as caught:
        list(elements(path))
    assert str(path) in str(caught.value)


def test_text_that_is_no_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected UTF-8 text"):
        list(elements(write(tmp_path, b'{"a": ["\xff"]}')))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        list(elements(tmp_path / "none.json"))


def test_an_element_is_bounded_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB of empty lists took 1.6 GB."""
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1 << 12)
    path = write(tmp_path, '{"a": [1, [' + "[]," * 4000 + "[]]]}")
    with pytest.raises(SourceError, match=r"expected an element of at most 4096 bytes"):
        list(with_window(path, 1 << 10))
