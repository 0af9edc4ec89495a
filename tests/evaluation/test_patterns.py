"""Path patterns."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.sources.evaluation.patterns import Pattern


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "gt/val/bonn/bonn_1_ids.png",
        "gt/val/bonn/bonn_1_color.png",
        "gt/val/aachen/aachen_2_ids.png",
        "gt/train/ulm/ulm_3_ids.png",
        "gt/val/.DS_Store",
        "gt/val/bonn/._bonn_1_ids.png",
        "s/a/images/a.png",
        "s/b/images/c.png",
        "flat.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def scan(tree: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    return list(Pattern(text).scan(tree))


def test_names_stand_for_pieces_of_a_component(tree: Path) -> None:
    assert scan(tree, "gt/val/{city}/{id}_ids.png") == [
        ("gt/val/aachen/aachen_2_ids.png", {"city": "aachen", "id": "aachen_2"}),
        ("gt/val/bonn/bonn_1_ids.png", {"city": "bonn", "id": "bonn_1"}),
    ]


def test_a_path_stands_for_any_depth(tree: Path) -> None:
    found = scan(tree, "gt/{id:path}_ids.png")
    assert [values["id"] for _, values in found] == [
        "train/ulm/ulm_3",
        "val/aachen/aachen_2",
        "val/bonn/bonn_1",
    ]
    assert scan(tree, "s/{folder:path}/{name}")[0][1] == {"folder": "a/images", "name": "a.png"}


def test_a_whole_component_may_stand_for_no_folder(tree: Path) -> None:
    assert scan(tree, "{folder:path}/{name}.json") == [
        ("flat.json", {"folder": "", "name": "flat"})
    ]
    assert Pattern("a/{folder:path}/{name}").fill({"folder": "", "name": "b"}) == "a/b"


def test_a_name_that_occurs_again_is_the_same_text(tree: Path) -> None:
    assert scan(tree, "s/{id}/images/{id}.png") == [("s/a/images/a.png", {"id": "a"})]


def test_what_starts_with_a_dot_never_matches(tree: Path) -> None:
    assert all("/." not in path for path, _ in scan(tree, "{id:path}"))


def test_a_path_without_names_is_that_file(tree: Path) -> None:
    assert scan(tree, "flat.json") == [("flat.json", {})]
    assert not Pattern("gt/val").found(tree)
    assert not Pattern("nothing/{id}.png").found(tree)


def test_filling_leaves_names_without_a_value(tree: Path) -> None:
    assert Pattern("{a}/{b}.png").fill({"b": "x"}) == "{a}/x.png"


@given(st.lists(st.from_regex(r"[a-z ()+\[\]]{1,6}", fullmatch=True), min_size=3, max_size=3))
def test_scanning_finds_what_filling_makes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    values = dict(zip("xyz", texts, strict=True))
    pattern = Pattern("top (1)/{x}/img_{y}/{z}.v2.jpg")
    root = tmp_path_factory.mktemp("tree")
    path = root / pattern.fill(values)
    path.parent.mkdir(parents=True)
    path.touch()
    assert list(pattern.scan(root)) == [(pattern.fill(values), values)]
