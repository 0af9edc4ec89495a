"""Finds the rows of a config to look at first: with rejects, without a caption, or extreme.

The same rules are used twice. Applied to the rows that the statistics count, they choose the rows
for the page. Applied to the rows on the page, they give the orders in which to page through them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from builder.core.records import Json
from builder.previewing.reading import spread

_Floats = npt.NDArray[np.float64]
EXTREMES = 2  # the most rows that count as outliers of one order


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers that the rules need of some rows. Every array is float64 (rows,).

    Parameters
    ----------
    numbers
        The numbers of the rows in the config.
    rejected
        How many annotations of the row were rejected.
    uncaptioned
        1 where the caption is missing, else 0.
    masks
        How many masks the row has.
    largest
        The area of the row's largest mask as a share of the image, NaN without masks.
    smallest
        The area of the row's smallest mask in pixels, NaN without masks.
    """

    numbers: _Floats
    rejected: _Floats
    uncaptioned: _Floats
    masks: _Floats
    largest: _Floats
    smallest: _Floats


@dataclass(frozen=True, slots=True)
class Way:
    """A way to page through rows: all rows in some order, or only some of the rows.

    Parameters
    ----------
    key
        Its name in attributes of the page.
    title
        Its name for the reader.
    partial
        Whether it shows only the rows with a value above 0.
    """

    key: str
    title: str
    partial: bool
    _values: Callable[[Facts], _Floats]

    def places(self, facts: Facts) -> list[int]:
        """The indices in `facts` of the rows to show, those with the highest value first.

        Rows with the same value keep their order. Rows without a value are left out.
        """
        values = self._values(facts)
        kept = values > 0 if self.partial else np.isfinite(values)
        return [int(place) for place in np.argsort(-values, kind="stable") if kept[place]]

    def outliers(self, facts: Facts) -> list[int]:
        """The indices in `facts` of the rows to look at first, in the order of `places`.

        A partial way gives all of its rows. Another way gives at most EXTREMES rows, and only rows
        whose value is above that of the median row.
        """
        places = self.places(facts)
        if self.partial or not places:
            return places
        values = self._values(facts)
        return [place for place in places[:EXTREMES] if values[place] > np.nanmedian(values)]


WAYS = (
    Way("rejects", "with rejected annotations", True, lambda facts: facts.rejected),
    Way("uncaptioned", "without a caption", True, lambda facts: facts.uncaptioned),
    Way("most", "most masks first", False, lambda facts: facts.masks),
    Way("fewest", "fewest masks first", False, lambda facts: -facts.masks),
    Way("largest", "largest mask first", False, lambda facts: facts.largest),
    Way("smallest", "smallest mask first", False, lambda facts: -facts.smallest),
)


def facts_of_rows(numbers: Sequence[int], rows: Sequence[Json]) -> Facts:
    """Compute the facts of rows; `numbers` are those of the rows in the config."""
    areas = [[annotation["area"] for annotation in row["annotations"]] for row in rows]
    pixels = [row["width"] * row["height"] for row in rows]
    columns: list[Sequence[float]] = [
        numbers,
        [row["num_rejected"] for row in rows],
        ["text" in row and row["text"] is None for row in rows],
        [len(found) for found in areas],
        [max(found, default=np.nan) / size for found, size in zip(areas, pixels, strict=True)],
        [min(found, default=np.nan) for found in areas],
    ]
    return Facts(*(np.array(column, np.float64) for column in columns))


def choose(facts: Facts, total: int, count: int) -> dict[int, list[str]]:
    """Choose the rows for the page.

    At most half of them are rows to look at first. The first row of each way is taken, then the
    second row of each way, and so on. The other rows are spread evenly over the rest of the config.

    Parameters
    ----------
    facts
        The facts of the rows that were counted.
    total
        The number of rows in the config.
    count
        The number of rows to choose.

    Returns
    -------
    dict
        The numbers of the rows in rising order, each with the titles of the ways that chose it. An
        evenly spread row has no titles.
    """
    found: dict[int, list[str]] = {}
    lists = [[(int(facts.numbers[place]), way) for place in way.outliers(facts)] for way in WAYS]
    for step, candidates in enumerate(zip_longest(*lists), start=1):
        for number, way in filter(None, candidates):
            if number in found or len(found) < count // 2:
                rank = f", no. {step}" if step > 1 and not way.partial else ""
                found.setdefault(number, []).append(way.title.removesuffix(" first") + rank)
    rest = [number for number in range(total) if number not in found]
    found |= {rest[place]: [] for place in spread(len(rest), count - len(found))}
    return dict(sorted(found.items()))
