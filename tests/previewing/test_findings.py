"""Which rows are to be looked at first, and the way through those on the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.captioning.store import read_captions
from builder.core.records import Json, Reject
from builder.previewing.cards import make_cards, undrawn_rows, ways_through
from builder.previewing.counts import compare
from builder.previewing.findings import WAYS, Facts, choose, facts_of_rows
from builder.previewing.page import Contents, render
from builder.previewing.reading import Config
from builder.previewing.sheet import SHEET_ROWS, choose_cards
from builder.previewing.statistics import gather
from builder.previewing.views import View, view_row
from tests.previewing.configs import build_evaluation, build_train


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(str(build_train(tmp_path_factory.mktemp("train"))), "sa_000000")


def facts(masks: list[float], **given: dict[int, float]) -> Facts:
    """Facts of rows with these numbers of masks; other values are given by row, else the same."""

    def values(name: str, usual: float) -> np.ndarray:
        return np.array([given.get(name, {}).get(i, usual) for i in range(len(masks))])

    return Facts(
        np.arange(len(masks), dtype=np.float64),
        values("rejected", 0.0),
        values("uncaptioned", 0.0),
        np.array(masks, np.float64),
        values("largest", 0.5),
        values("smallest", 9.0),
    )


def test_facts_of_a_dist_are_those_of_its_rows(train: Config, tmp_path: Path) -> None:
    for config in (train, Config(str(build_evaluation(tmp_path)), "camo")):
        rows = [row for _, _, row in config.rows(range(len(config)))]
        found, expected = gather(config, None).facts, facts_of_rows(range(len(rows)), rows)
        for name in Facts.__slots__:
            assert np.allclose(getattr(found, name), getattr(expected, name)), name


def test_a_row_without_masks_has_no_largest_and_no_smallest() -> None:
    row: Json = {"width": 10, "height": 10, "num_rejected": 0, "text": None, "annotations": []}
    full = row | {"text": "", "annotations": [{"area": 20}, {"area": 3}]}
    found = facts_of_rows([4, 7], [row, full])
    assert found.uncaptioned.tolist() == [1, 0]
    assert found.masks.tolist() == [0, 2]
    assert np.isnan([found.largest[0], found.smallest[0]]).all()
    assert [found.largest[1], found.smallest[1]] == [0.2, 3]


def test_the_ways_put_the_conspicuous_first() -> None:
    found = facts(
        [5, 0, 5, 9, 5],
        rejected={4: 2.0, 2: 1.0},
        uncaptioned={3: 1.0},
        largest={1: np.nan, 2: 0.99},
        smallest={1: np.nan, 0: 1.0},
    )
    assert {way.key: way.places(found) for way in WAYS} == {
        "rejects": [4, 2],
        "uncaptioned": [3],
        "most": [3, 0, 2, 4, 1],
        "fewest": [1, 0, 2, 4, 3],
        "largest": [2, 0, 3, 4],
        "smallest": [0, 2, 3, 4],
    }
    assert {way.key: way.outliers(found) for way in WAYS} == {
        "rejects": [4, 2],
        "uncaptioned": [3],
        "most": [3],
        "fewest": [1],
        "largest": [2],
        "smallest": [0],
    }


def test_rows_to_look_at_first_are_on_the_page_with_their_reasons() -> None:
    masks = [50.0] * 100
    masks[17], masks[60] = 90, 2
    found = facts(
        masks, rejected=dict.fromkeys(range(30, 50), 1.0), uncaptioned={99: 1.0}, largest={17: 1.0}
    )
    chosen = choose(found, 100, 12)
    assert {n: reasons for n, reasons in chosen.items() if reasons} == {
        17: ["most masks", "largest mask"],
        30: ["with rejected annotations"],
        31: ["with rejected annotations"],
        32: ["with rejected annotations"],
        60: ["fewest masks"],
        99: ["without a caption"],
    }
    assert list(chosen) == sorted(chosen)
    others = [n for n, reasons in chosen.items() if not reasons]
    assert max(np.diff([0, *others, 100])) < 30


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 70), st.integers(0, 20))
def test_as_many_rows_are_chosen_as_are_wanted(masks: list[float], count: int, more: int) -> None:
    total = len(masks) + more  # not all rows were counted
    chosen = choose(facts(masks), total, count)
    assert len(chosen) == min(count, total)
    assert all(0 <= number < total for number in chosen)
    assert sum(bool(reasons) for reasons in chosen.values()) <= count // 2


def test_a_card_leads_to_a_row_only_if_it_is_on_the_page(train: Config) -> None:
    statistics = gather(train, None)
    views = [view_row(*row) for row in train.rows([0, 1])]
    ways = {way.key: way.places for way in ways_through(views)}
    assert ways == {
        "all": [0, 1],
        "most": [1, 0],
        "fewest": [0, 1],
        "largest": ways["largest"],
        "smallest": ways["smallest"],
    }
    cards = {card.title: card for card in make_cards(train, statistics, views, train.rejects())}
    assert cards["rejects"][1:] == (
        "2",
        "1 annotation, 1 record",
        "",
        "#rejects-title",
        True,
    )
    assert cards["captions missing"][1:] == ("1", "4.35 % of the images", "", "", True)
    remark = "in an image; the median image has 3"
    assert cards["most masks"][1:] == ("4", remark, "most", "#row-2", False)
    assert cards["fewest masks"].number == "2"  # one annotation of record 5 was rejected
    assert cards["fewest masks"].target == ""


def test_rejects_are_counted_by_what_they_are_about(train: Config, tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    lines = ['{"img": "a.jpg", "prompt": "one"}', "{", '{"img": "a.jpg", "prompt": "two"}']
    path.write_text("\n".join([*lines, '{"img": "b.jpg", "prompt": ""}']))
    rejects = [*read_captions(path).problems, *train.rejects()]
    rejects.append(Reject("x", "c.jpg", "caption_of_unknown_image", "an image", "no such jpg"))
    cards = {card.title: card for card in make_cards(train, gather(train, None), [], rejects)}
    assert cards["rejects"].remark == "1 annotation, 1 record, 4 lines of the captions file"


def test_rows_without_a_caption_that_are_not_drawn_are_named(tmp_path: Path) -> None:
    config = Config(str(build_train(tmp_path, captions={"sa_1.jpg": "one"})), "sa_000000")
    statistics = gather(config, None)
    numbers = choose(statistics.facts, len(config), 4)
    views = [view_row(*row) for row in config.rows(list(numbers))]
    found = dict(undrawn_rows(config, statistics, views))["uncaptioned"]
    names = [row["file_name"] for _, _, row in config.rows(range(len(config)))]
    drawn = {view.row["file_name"] for view in views} | {"sa_1.jpg"}
    assert found.total == 22
    assert found.names == [name for name in names if name not in drawn]
    assert found.more == 0
    # Most rows are not counted here, but the index knows how many captions are missing.
    found = dict(undrawn_rows(config, gather(config, 1), views))["uncaptioned"]
    assert (found.total, len(found.names) + found.more) == (22, 22 - len(drawn - {"sa_1.jpg"}))
    contents = Contents(config, views, statistics, [], [], compare(config, statistics, []))
    page = render(contents)
    assert f">without a caption ({len(views)} of 22)" in page
    assert ", ".join(name for name in names if name not in drawn) in page


def test_rows_that_could_not_be_drawn_come_first(train: Config) -> None:
    views = [view_row(*row) for row in train.rows([0, 1])]
    views[1].problems.append("image: does not decode")
    assert [way.key for way in ways_through(views)][:2] == ["all", "undrawn"]
    card = next(make_cards(train, gather(train, None), views, []))
    assert card[:5] == ("not drawn", "1", "row on the page", "undrawn", "#row-2")


def test_the_sheet_takes_rows_to_look_at_first_and_others() -> None:
    views = [View(n, "train", {}, (1, 1), reasons=["why"] * (n % 2)) for n in range(60)]
    numbers = [view.number for view in choose_cards(views)]
    assert len(numbers) == SHEET_ROWS
    assert numbers[:8] == [1, 3, 5, 7, 9, 11, 13, 15]
    assert numbers[8:] == sorted(set(numbers[8:]))
    assert numbers[-1] > 50
    assert choose_cards(views[:3]) == [views[1], views[0], views[2]]
