"""The top of the page: cards that each show a number, and the ways to page through the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from builder.core.records import Reject
from builder.previewing.charts import short
from builder.previewing.findings import WAYS, facts_of_rows
from builder.previewing.reading import Config
from builder.previewing.statistics import Statistics
from builder.previewing.views import View

_ALL, _UNDRAWN = "all", "undrawn"


class Card(NamedTuple):
    """A number to look at first.

    `way` is the key of the way that shows the rows of this number, or "". `target` is the card's
    link when scripts are off, or "". `bad` says that the number may be a fault and not only an
    extreme.
    """

    title: str
    number: str
    remark: str
    way: str = ""
    target: str = ""
    bad: bool = False


class PageWay(NamedTuple):
    """A way to page through the rows: their places on the page, in the order of display."""

    key: str
    title: str
    places: list[int]


def ways_through(views: Sequence[View]) -> Iterator[PageWay]:
    """The ways to page through the rows: first all rows, then each way that shows at least one."""
    yield PageWay(_ALL, "all rows", list(range(len(views))))
    undrawn = [place for place, view in enumerate(views) if view.problems]
    if undrawn:
        yield PageWay(_UNDRAWN, "that could not be drawn", undrawn)
    facts = facts_of_rows([view.number for view in views], [view.row for view in views])
    for way in WAYS:
        places = way.places(facts)
        if places:
            yield PageWay(way.key, way.title, places)


def make_cards(
    config: Config, statistics: Statistics, views: Sequence[View], rejects: Sequence[Reject]
) -> Iterator[Card]:
    """The cards of a config: possible faults first, then the extremes.

    Parameters
    ----------
    config
        The config. Its index gives the counts.
    statistics
        The statistics. They give the extremes.
    views
        The rows on the page. A card links to the first row that shows what it says.
    rejects
        The rejects table.
    """
    places = {way.key: way.places for way in ways_through(views)}
    on_page = {view.number for view in views}

    def link(key: str) -> tuple[str, str]:
        return (key, f"#row-{places[key][0] + 1}") if key in places else ("", "")

    if _UNDRAWN in places:
        number = f"{len(places[_UNDRAWN]):,}"
        yield Card("not drawn", number, "rows on the page", *link(_UNDRAWN), bad=True)
    counts, facts = config.index.counts, statistics.facts
    if rejects:
        parts = sum(reject.annotation_id is not None for reject in rejects)
        remark = f"{parts:,} of annotations, {len(rejects) - parts:,} of records"
        key, target = link("rejects")
        yield Card(
            "rejects", f"{len(rejects):,}", remark, key, target or "#rejects-title", bad=True
        )
    else:
        yield Card("rejects", "0", "everything was used")
    if config.kind == "train":
        missing = counts.captions_missing
        share = f"{short(100 * missing / len(config))} % of the images" if missing else ""
        remark = share or "every image has one"
        yield Card("captions missing", f"{missing:,}", remark, *link("uncaptioned"), missing > 0)
    ways = {way.key: way for way in WAYS}
    for key, title, values, unit in (
        ("most", "most masks", facts.masks, "in an image"),
        ("fewest", "fewest masks", facts.masks, "in an image"),
        ("largest", "largest mask", 100 * facts.largest, "% of its image"),
        ("smallest", "smallest mask", facts.smallest, "pixels"),
    ):
        found = ways[key].outliers(facts)
        if found:
            remark = f"{unit}; median image {short(float(np.nanmedian(values)))}"
            to = link(key) if int(facts.numbers[found[0]]) in on_page else ("", "")
            yield Card(title, short(float(values[found[0]])), remark, *to)
