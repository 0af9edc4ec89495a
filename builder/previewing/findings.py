"""What to look at first in a config: rows with rejects, without a caption, and extremes.

The rows that were counted give the findings of the whole config, and the rows to put on the page.
The rows on the page give the ways to go through them. Both use the same rules.
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
EXTREMES = 2  # rows at most that are outliers of one order


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings need to know of some rows; every array is float64, (rows,).

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
    """A way to go through rows: all rows in an order, or a part of them.

    Parameters
    ----------
    key
        A word for it that a page can use in attributes.
    title
        What the reader sees.
    partial
        Whether it leaves rows out: those that are not concerned.
    """

    key: str
    title: str
    partial: bool
    _values: Callable[[Facts], _Floats]

    def places(self, facts: Facts) -> list[int]:
        """The places in `facts` of the rows concerned, the most conspicuous first.

        Rows that are equally conspicuous keep their order. Rows without a value are left out.
        """
        values = self._values(facts)
        kept = values > 0 if self.partial else np.isfinite(values)
        return [int(place) for place in np.argsort(-values, kind="stable") if kept[place]]

    def outliers(self, facts: Facts) -> list[int]:
        """The places of the rows to look at first, the most conspicuous first.

        These are all rows concerned of a part, and EXTREMES at most of an order. A row of an order
        that is no more conspicuous than the median row is no outlier.
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
    """The facts of rows that are at hand, by their numbers in the config."""
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

    At most half of them are rows to look at first: of each way in turn the first one, then the
    second, and so on. The others are spread evenly over the rest of the config.

    Parameters
    ----------
    facts
        Of the rows that were counted.
    total
        How many rows the config has.
    count
        How many rows are wanted.

    Returns
    -------
    dict
        The numbers of the rows in rising order, each with the titles of the ways that it was
        chosen for. A row of the evenly spread ones has none.
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
