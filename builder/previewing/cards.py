"""The top of the page: cards that each show a number, and the ways to page through the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from builder.core.records import Reject
from builder.core.rejects import ANNOTATION, CAPTION_LINE, RECORD, subject
from builder.previewing.charts import short
from builder.previewing.findings import WAYS, facts_of_rows
from builder.previewing.reading import Config
from builder.previewing.statistics import Statistics
from builder.previewing.views import View

_NAMED = 50  # the most rows that are named because they are not drawn
_ALL, _UNDRAWN, _UNCAPTIONED = "all", "undrawn", "uncaptioned"


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


class Undrawn(NamedTuple):
    """The rows of a way that are not on the page.

    `total` counts all rows of the way, also those on the page. `names` are the file names of the
    first of the others. `more` says how many others are not named.
    """

    title: str
    total: int
    names: list[str]
    more: int


def undrawn_rows(
    config: Config, statistics: Statistics, views: Sequence[View]
) -> Iterator[tuple[str, Undrawn]]:
    """The rows with rejects, and those without a caption, that the page has no room for.

    They are found among the rows that the statistics counted. The number of rows without a caption
    is that of the index. Only file names are read.

    Parameters
    ----------
    config
        The config.
    statistics
        The statistics. They say which rows there are.
    views
        The rows on the page.

    Returns
    -------
    iterator
        The key of each such way, and its rows.
    """
    drawn = facts_of_rows([view.number for view in views], [view.row for view in views])
    for way in WAYS:
        if not way.partial:
            continue
        on_page = {int(drawn.numbers[place]) for place in way.places(drawn)}
        counted = {int(statistics.facts.numbers[i]) for i in way.places(statistics.facts)}
        total = len(counted | on_page)
        if way.key == _UNCAPTIONED:  # the index counts these in all rows
            total = max(total, config.index.counts.captions_missing)
        if others := total - len(on_page):
            names = config.file_names(sorted(counted - on_page)[:_NAMED])
            yield way.key, Undrawn(way.title, total, names, others - len(names))


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
        number = len(places[_UNDRAWN])
        remark = f"{'row' if number == 1 else 'rows'} on the page"
        yield Card("not drawn", f"{number:,}", remark, *link(_UNDRAWN), bad=True)
    counts, facts = config.index.counts, statistics.facts
    if rejects:
        remark = _subjects(rejects)
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
        yield Card("captions missing", f"{missing:,}", remark, *link(_UNCAPTIONED), missing > 0)
    ways = {way.key: way for way in WAYS}
    for key, title, values, unit in (
        ("most", "most masks", facts.masks, "in an image"),
        ("fewest", "fewest masks", facts.masks, "in an image"),
        ("largest", "largest mask", 100 * facts.largest, "% of its image"),
        ("smallest", "smallest mask", facts.smallest, "pixels"),
    ):
        found = ways[key].outliers(facts)
        if found:
            remark = f"{unit}; the median image has {short(float(np.nanmedian(values)))}"
            to = link(key) if int(facts.numbers[found[0]]) in on_page else ("", "")
            yield Card(title, short(float(values[found[0]])), remark, *to)


def _subjects(rejects: Sequence[Reject]) -> str:
    """What rejects are about, in words, such as "12 annotations, 1 record"."""
    found = Counter(map(subject, rejects))
    named = {
        ANNOTATION: ("annotation", "annotations"),
        RECORD: ("record", "records"),
        CAPTION_LINE: ("line of the captions file", "lines of the captions file"),
    }
    return ", ".join(
        f"{found[key]:,} {one if found[key] == 1 else many}"
        for key, (one, many) in named.items()
        if found[key]
    )
