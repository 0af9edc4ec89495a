"""Draws the histograms as SVG with matplotlib. The page gives them its own colours.

For this, the page's style sheet selects the classes `bar` and `median`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from builder.previewing.statistics import Statistics

_SIZE = (4.2, 2.3)  # inches; an inch has 72 units of the SVG
_BINS = 30
_TOP = 10  # the number of names in a chart of the most frequent ones
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "asam-datasets",
    "svg.id": None,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "ytick.major.size": 0,
    "text.parse_math": False,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its SVG, a summary in one sentence, and its bars as pairs of a label and a count."""

    key: str
    title: str
    summary: str
    svg: str
    bars: list[tuple[str, int]]


def draw_charts(statistics: Statistics, kind: str) -> list[Chart]:
    """Draw the charts of a config, "train" or "eval". Charts without data are left out."""
    charts = [
        _histogram("masks", "Masks per image", "masks", statistics.masks_per_image, whole=True),
        _histogram("area", "Mask area", "pixels", statistics.areas, log=True),
    ]
    if kind == "train":
        scores = statistics.scores
        iou = scores.get("predicted_iou", np.zeros(0))
        stability = scores.get("stability_score", np.zeros(0))
        charts += [
            _histogram("iou", "predicted_iou", "", iou),
            _histogram("stability", "stability_score", "", stability),
            _histogram("caption", "Caption length", "words", statistics.caption_words, whole=True),
        ]
    else:
        charts.append(_ranking("categories", "Categories", "instances", statistics.categories))
    sizes = {f"{width} × {height}": n for (width, height), n in statistics.sizes.items()}  # noqa: RUF001
    charts.append(_ranking("sizes", "Image sizes", "images", sizes))
    return [chart for chart in charts if chart is not None]


def _histogram(
    key: str,
    title: str,
    unit: str,
    values: npt.NDArray[np.float64],
    *,
    log: bool = False,
    whole: bool = False,
) -> Chart | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    log = log and bool((values > 0).any())
    drawn = values[values > 0] if log else values  # a logarithmic scale has no place for 0
    edges = _edges(drawn, log=log, whole=whole)
    counts = np.histogram(drawn, edges)[0].astype(int).tolist()
    shift = 0.5 if whole else 0.0  # a bar of a whole number is centred on it
    median = float(np.median(values))
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        bars = axes.bar(edges[:-1] - shift, counts, np.diff(edges), align="edge")
        for bar in bars:
            bar.set_gid("bar")
        if median > 0 or not log:
            axes.axvline(median, linestyle=(0, (4, 3)), linewidth=1.2, gid="median")
        axes.margins(x=0.01)
        # With few bars, make room at the sides: bars stay narrow and ticks stay whole numbers.
        if whole and (lack := 8 - (edges[-1] - edges[0])) > 0:
            left = max(edges[0] - shift - lack / 2, -shift)  # no number of things is below 0
            axes.set_xlim(left, left + lack + edges[-1] - edges[0])
        axes.set_ylim(0, max(counts) * 1.12)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            if edges[-1] < 10 * edges[0]:  # there may be no power of ten between
                axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=whole))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="x")
        svg = _svg(figure, key)
    five, ninety_five = (float(x) for x in np.percentile(values, (5, 95)))
    largest = short(float(values.max()))
    of = f" {_of(unit, largest)}" if unit else ""
    summary = (
        f"median {short(median)}, mean {short(float(values.mean()))}, 90 % from {short(five)} to "
        f"{short(ninety_five)}, smallest {short(float(values.min()))}, largest {largest}{of}"
    )
    rows = list(zip(_ranges(edges, whole), counts, strict=True))
    if zeros := len(values) - len(drawn):
        summary += f"; {zeros:,} of 0 {unit} not drawn, because the scale is logarithmic"
        rows.insert(0, ("0", zeros))
    return Chart(key, title, summary, svg, rows)


def _ranking(key: str, title: str, unit: str, counts: Mapping[str, int]) -> Chart | None:
    """Horizontal bars of the most frequent names."""
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    top = ranked[:_TOP]
    if len(ranked) > _TOP:
        rest = ranked[_TOP - 1 :]
        top = [*ranked[: _TOP - 1], (f"{len(rest)} others", sum(n for _, n in rest))]
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        labels = [name if len(name) <= 24 else name[:23] + "…" for name, _ in top]
        places = np.arange(len(top))
        bars = axes.barh(places, [n for _, n in top], 0.75)
        for bar in bars:
            bar.set_gid("bar")
        axes.set_yticks(places, labels)
        axes.set_ylim(max(len(top), 4) - 0.5, -0.5)  # so that few bars do not become thick
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="y")
        svg = _svg(figure, key)
    name, most = ranked[0]
    total = sum(counts.values())
    share = f"{most:,} of {total:,} {_of(unit, str(total))}"
    summary = f"{len(ranked):,} in all, most often {name} ({share})"
    return Chart(key, title, summary, svg, top)


def _of(unit: str, number: str) -> str:
    """A unit, which is a plural, after a number."""
    return unit.removesuffix("s") if number == "1" else unit


def short(value: float) -> str:
    """Format a number with about three digits: 0.0123, 0.987, 94, 3,140, 1.2M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return np.format_float_positional(value, 3, fractional=False, trim="-")


def _edges(values: npt.NDArray[np.float64], *, log: bool, whole: bool) -> npt.NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    if whole:
        step = max(1, -(-int(high - low + 1) // _BINS))
        return np.arange(int(low), int(high) + step + 1, step, dtype=np.float64)
    if low == high:  # one bar between empty ones
        room = 0.1 * abs(low) or 1.0
        return np.linspace(low - room, low + room, 10)
    return np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)


def _ranges(edges: npt.NDArray[np.float64], whole: bool) -> Sequence[str]:
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    if whole:
        return [f"{a:.0f}" if b - a == 1 else f"{a:.0f} to {b - 1:.0f}" for a, b in pairs]
    return [f"{short(a)} to {short(b)}" for a, b in pairs]


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    for background in (figure.patch, axes.patch):
        background.set_visible(False)
    return figure, axes


def _svg(figure: Figure, key: str) -> str:
    """The figure as an <svg> element whose ids start with `key`.

    It has no size, so that the page can scale it. It is hidden from screen readers, because the
    page gives the same in words and in a table.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The metadata contains a version. The style would apply to the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r'\bid="[\w-]*-(bar|median)"', r'class="\1"', svg)
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        r'\1 aria-hidden="true" focusable="false">',
        svg,
        count=1,
        flags=re.DOTALL,
    )
