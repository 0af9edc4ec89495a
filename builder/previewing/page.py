"""Renders the page: a single HTML file, made by Jinja2 from the template beside this module."""

from __future__ import annotations

import base64
import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from builder.core.console import counted, sized
from builder.core.records import Reject
from builder.previewing.cards import make_cards, undrawn_rows, ways_through
from builder.previewing.charts import Chart, short
from builder.previewing.counts import Counts
from builder.previewing.reading import Config
from builder.previewing.statistics import Statistics
from builder.previewing.views import Mask, View, svg_path

_THUMBNAIL = (120, 80)  # the largest width and height of a small picture, in pixels
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that the page shows. `asked` says that the user has named the rows."""

    config: Config
    views: Sequence[View]
    statistics: Statistics
    charts: Sequence[Chart]
    rejects: Sequence[Reject]
    counts: Counts
    asked: bool = False


class Column(NamedTuple):
    """A column of the list of masks. `falls`: sorting puts its largest numbers first."""

    head: str
    meaning: str
    falls: bool


def render(contents: Contents) -> str:
    """Render the page as HTML. Text from the data is escaped. The page loads no other file."""
    environment = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["short"] = short
    environment.filters["counted"] = counted
    index = contents.config.index
    return environment.get_template("page.html.jinja").render(
        css=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        name=contents.config.name,
        where=contents.config.where,
        index=index,
        counts=contents.counts,
        statistics=contents.statistics,
        totals=list(_totals(contents)),
        cards=list(
            make_cards(contents.config, contents.statistics, contents.views, contents.rejects)
        ),
        ways=list(ways_through(contents.views)),
        undrawn=dict(undrawn_rows(contents.config, contents.statistics, contents.views)),
        columns=_columns(contents.config.kind),
        rows=list(_rows(contents)),
        asked=contents.asked,
        total=len(contents.config),
        charts=[(chart, Markup(chart.svg)) for chart in contents.charts],
        reasons=_reasons(contents.rejects),
        origin=list(_origin(contents.config)),
    )


def _packaged(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _totals(contents: Contents) -> Iterator[str]:
    """The parts of the line at the top: numbers of images, masks and categories, and the size."""
    index, statistics = contents.config.index, contents.statistics
    images, masks = len(contents.config), index.counts.masks
    splits = ", ".join(f"{name} {split.num_rows:,}" for name, split in index.splits.items())
    yield f"{counted(images, 'image')} ({splits})"
    yield counted(masks, "mask") + (f", {masks / images:.1f} an image" if images else "")
    if index.kind == "eval":
        where = "" if statistics.complete else " in the rows counted"
        named = len(statistics.categories)
        categories = counted(named, "category", "categories")
        yield f"{categories} and {counted(statistics.crowds, 'crowd mask')}{where}"
    yield f"{sized(index.num_bytes)} in {counted(len(index.shards), f'{index.format} shard')}"


def _rows(contents: Contents) -> Iterator[dict[str, Any]]:
    """The rows of the page, each with the rejects of its annotations."""
    train = contents.config.kind == "train"
    rejects: dict[str, list[Reject]] = {}
    for reject in contents.rejects:
        if reject.annotation_id is not None:
            rejects.setdefault(_stem(reject.member, bare=train), []).append(reject)
    for place, view in enumerate(contents.views):
        found = rejects.get(_stem(view.row["file_name"], bare=train), [])
        yield _row(view, place, contents.config.kind, found)


def _stem(name: str, *, bare: bool) -> str:
    """A name without its extension, which is the same for an image and its json.

    `bare` also drops the folder. The members of a training source may be in a folder that
    `file_name` does not contain.
    """
    return posixpath.splitext(posixpath.basename(name) if bare else name)[0]


def _row(view: View, place: int, kind: str, rejects: Sequence[Reject]) -> dict[str, Any]:
    row = view.row
    pixels = row["width"] * row["height"]
    return {
        "place": place,
        "view": view,
        "box": (2 * view.size[0], 2 * view.size[1]),
        "photo": _jpeg(view.photo) if view.photo else None,
        "control": _png(view.control) if view.control else None,
        "thumbnail": _thumbnail(view),
        "rejects": rejects,
        "void": svg_path(view.void) if view.void else None,
        "shapes": [(mask, svg_path(mask.outline)) for mask in view.masks],
        "masks": [
            (mask, _label(mask, pixels), _cells(mask, kind))
            for mask in sorted(view.masks, key=lambda mask: mask.number)
        ],
    }


def _columns(kind: str) -> list[Column]:
    """The columns of the list of masks."""
    number = Column(
        "no." if kind == "eval" else "SA-1B no.", "place in the annotations", falls=False
    )
    pixels = Column("pixels", "area in pixels", falls=True)
    if kind == "eval":
        return [number, Column("category", "category", falls=False), pixels]
    return [
        number,
        Column("ASAM no.", "number that ASAM gives the mask: the largest box has 0", falls=False),
        pixels,
        Column("predicted IoU", "predicted_iou", falls=True),
        Column("stability", "stability_score", falls=True),
    ]


def _cells(mask: Mask, kind: str) -> list[str]:
    """The cells of a mask in the list, one for each column."""
    annotation = mask.annotation
    pixels = f"{mask.area:,}"
    if kind == "eval":
        crowd = " (crowd)" if annotation["iscrowd"] else ""
        return [str(mask.number), (annotation["category"] or "no category") + crowd, pixels]
    scores = [annotation.get(name) for name in ("predicted_iou", "stability_score")]
    shown = ["-" if score is None else f"{score:.3f}" for score in scores]
    return [str(mask.number), str(mask.rank), pixels, *shown]


def _label(mask: Mask, pixels: int) -> str:
    """The label of a mask: its cells in words."""
    annotation = mask.annotation
    parts = [f"Mask {mask.number}"]
    if "category" not in annotation:
        parts.append(f"ASAM's number {mask.rank}")
    else:
        parts.append(annotation["category"] or "no category")
        parts += ["crowd"] if annotation["iscrowd"] else []
    parts.append(f"{mask.area:,} pixels, {short(100 * mask.area / pixels)} % of the image")
    for score in ("predicted_iou", "stability_score"):
        if annotation.get(score) is not None:
            parts.append(f"{score} {annotation[score]:.3f}")
    return ", ".join([*parts, f"id {annotation['id']}"])


def _reasons(rejects: Sequence[Reject]) -> list[tuple[str, int, Reject]]:
    """The reasons of rejects, the most frequent first, with their numbers and first cases."""
    cases: dict[str, list[Reject]] = {}
    for reject in rejects:
        cases.setdefault(reject.reason, []).append(reject)
    ranked = sorted(cases.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [(reason, len(found), found[0]) for reason, found in ranked]


def _origin(config: Config) -> Iterator[tuple[str, str]]:
    index = config.index
    for key, value in index.source.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        yield f"source {key}".replace("_", " "), shown
    yield "format", index.format
    yield "annotations only", "yes" if index.annotations_only else "no"
    yield "settings sha256", index.settings_sha256
    yield "index sha256", index.sha256
    yield "made by", f"asam-datasets {index.code_version}"


def _jpeg(image: Image.Image) -> str:
    return _data_uri(image, "JPEG", quality=_QUALITY, optimize=True)


def _png(image: Image.Image) -> str:
    return _data_uri(image, "PNG", optimize=True)


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _thumbnail(view: View) -> str | None:
    picture = view.photo or view.control
    if picture is None:
        return None
    small = picture.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    return _jpeg(small)
