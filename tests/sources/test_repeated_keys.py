"""A key that stands twice in a JSON object is named, wherever JSON comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.captioning.store import read_captions
from builder.core.errors import SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.json_stream import elements
from builder.sources.sa1b import open_sources
from tests.evaluation.reading import read
from tests.factory import members, write_tar


def repeat(text: str, key: str, value: str) -> str:
    """The JSON with a key put before its first place once more."""
    at = text.index(f'"{key}"')
    return f'{text[:at]}"{key}": {value}, {text[at:]}'


@pytest.mark.parametrize("key", ["annotations", "image_id", "counts", "bbox"])
def test_a_record_of_sa1b_is_rejected(tmp_path: Path, key: str) -> None:
    files = members([1, 2])
    files["sa_1.json"] = repeat(files["sa_1.json"].decode(), key, "[]").encode()
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", files))])
    with source.open() as reader:
        first, second = (reader.read(item) for item in source.listing().items)
    assert [(r.member, r.reason) for r in first.rejects] == [("sa_1.json", "json_duplicate_key")]
    assert f"the key '{key}' twice" in first.rejects[0].found
    assert second.row is not None


def test_an_element_of_coco_is_rejected_with_its_place(tmp_path: Path) -> None:
    folder = write_fixture("coco2017", tmp_path)
    path = folder / "annotations/instances_val2017.json"
    before = read(open_source("coco2017", "native", folder))
    text = path.read_text()
    text = repeat(text, "segmentation", "[]")
    path.write_text(text)
    after = read(open_source("coco2017", "native", folder))
    (reject,) = after.rejects
    assert reject.reason == "json_duplicate_key"
    assert reject.found.startswith("'segmentation' twice in an element of annotations, byte ")
    place = int(reject.found.rsplit(" ", 1)[1])
    assert text[place] == "{"
    assert '"segmentation": []' in text[place:][: text[place:].index("}")]
    count = sum(len(row["annotations"]) for row in before.rows.values())
    assert sum(len(row["annotations"]) for row in after.rows.values()) == count - 1


@pytest.mark.parametrize("text", ['{"a": [1], "a": [2]}', '{"a": 1, "b": [], "\\u0061": [2]}'])
def test_a_key_twice_at_the_top_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match=r"expected one key 'a', not another at byte \d+"):
        list(elements(tmp_path / "a.json"))


def test_elements_without_and_with_a_repeated_key_are_told_apart(tmp_path: Path) -> None:
    document = '{"a": [{"x": 1}, {"x": {"y": 1, "y": 2}}, {"x": 1}, {"y": 1, "x": {"y": 2}}]}'
    (tmp_path / "a.json").write_text(document)
    assert [e.repeated for e in elements(tmp_path / "a.json")] == [None, "y", None, None]


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("ndd20", "ABOVE_LABELS.json", "regions"),
        ("streets", "vehicleannotations/annotations/vehicle-annotations.json", "all_points_x"),
    ],
)
def test_a_polygon_json_is_refused(tmp_path: Path, name: str, file: str, key: str) -> None:
    folder = write_fixture(name, tmp_path)
    path = folder / file
    path.write_text(repeat(path.read_text(), key, "[]"))
    with pytest.raises(SourceError, match=rf"{path.name}: .*the key '{key}' twice"):
        open_source(name, "native", folder).listing()


def test_an_image_that_stands_twice_in_a_via_json_is_named(tmp_path: Path) -> None:
    folder = write_fixture("ndd20", tmp_path)
    path = folder / "ABOVE_LABELS.json"
    document = json.loads(path.read_text())
    key = next(iter(document))
    path.write_text(repeat(path.read_text(), key, json.dumps(document[key])))
    with pytest.raises(SourceError, match="twice in an object"):
        open_source("ndd20", "native", folder).listing()


def test_a_line_of_captions_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(
        '{"img": "sa_1.jpg", "prompt": "one", "prompt": "two"}\n'
        '{"img": "sa_2.jpg", "prompt": "x"}\n'
    )
    captions = read_captions(path)
    assert list(captions) == ["sa_2.jpg"]
    (problem,) = captions.problems
    assert (problem.member, problem.reason) == ("line 1", "captions_broken_line")
    assert problem.found == "the key 'prompt' twice in an object"
