"""The page: one HTML file with everything in it, made by Jinja2 from the files beside this one."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from builder.core.records import Json
from builder.previewing.charts import Chart, short
from builder.previewing.counts import Counts
from builder.previewing.reading import Config, shards
from builder.previewing.statistics import Statistics
from builder.previewing.views import Mask, View, svg_path

_THUMBNAIL = (120, 80)  # pixels that a small picture has to fit in
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Contents:
    """All that the page shows."""

    config: Config
    views: Sequence[View]
    statistics: Statistics
    charts: Sequence[Chart]
    rejects: Sequence[Json]
    counts: Counts


def render(contents: Contents) -> str:
    """The page. Text from the data is escaped; nothing in it reaches outside the file."""
    environment = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["short"] = short
    index = contents.config.json
    return environment.get_template("page.html.jinja").render(
        css=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        name=contents.config.name,
        where=contents.config.where,
        index=index,
        counts=contents.counts,
        statistics=contents.statistics,
        tiles=list(_tiles(contents)),
        rows=[_row(view, i) for i, view in enumerate(contents.views)],
        total=len(contents.config),
        charts=[(chart, Markup(chart.svg)) for chart in contents.charts],
        reasons=_reasons(contents.rejects),
        origin=list(_origin(contents.config)),
    )


def _packaged(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _tiles(contents: Contents) -> Iterator[tuple[str, str, str]]:
    """The numbers at the top: what, how many, and a remark."""
    index, statistics = contents.config.json, contents.statistics
    counts = index["counts"]
    images, masks = len(contents.config), counts["masks"]
    splits = ", ".join(f"{name} {split['num_rows']:,}" for name, split in index["splits"].items())
    yield "images", f"{images:,}", splits
    yield "masks", f"{masks:,}", f"{masks / images:.1f} an image" if images else ""
    if index["kind"] == "train":
        missing = counts["captions_missing"]
        yield (
            "captions missing",
            f"{missing:,}",
            _share(missing, images, "of the images", "every image has one"),
        )
    else:
        named = len(statistics.categories)
        where = "" if statistics.complete else " in the rows counted"
        yield "categories", f"{named:,}", f"{statistics.crowds:,} crowd masks{where}"
    rejects = index["rejects"]["rows"]
    yield (
        "rejects",
        f"{rejects:,}",
        _share(rejects, masks + rejects, "of what was read", "all was used"),
    )
    size = sum(shard["bytes"] for shard in shards(index))
    number = len(shards(index))
    yield index["format"], _bytes(size), f"{number:,} shard" + ("s" if number != 1 else "")


def _share(part: int, whole: int, of: str, none: str) -> str:
    return f"{short(100 * part / whole)} % {of}" if whole and part else none


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _row(view: View, place: int) -> dict[str, Any]:
    row = view.row
    pixels = row["width"] * row["height"]
    return {
        "place": place,
        "view": view,
        "box": (2 * view.size[0], 2 * view.size[1]),
        "photo": _jpeg(view.photo) if view.photo else None,
        "control": _png(view.control) if view.control else None,
        "thumbnail": _thumbnail(view),
        "void": svg_path(view.void) if view.void else None,
        "shapes": [(mask, svg_path(mask.outline)) for mask in view.masks],
        "masks": [
            (mask, _label(mask, pixels), list(_cells(mask)))
            for mask in sorted(view.masks, key=lambda mask: mask.number)
        ],
    }


def _cells(mask: Mask) -> Iterator[str]:
    """What the list says of a mask: its category, its area, its scores."""
    annotation = mask.annotation
    if "category" in annotation:
        crowd = " (crowd)" if annotation["iscrowd"] else ""
        yield (annotation["category"] or "no category") + crowd
    yield f"{mask.area:,}"
    for score in ("predicted_iou", "stability_score"):
        if annotation.get(score) is not None:
            yield f"{annotation[score]:.3f}"


def _label(mask: Mask, pixels: int) -> str:
    """The same in words."""
    annotation = mask.annotation
    parts = [f"Mask {mask.number}"]
    if "category" in annotation:
        parts.append(annotation["category"] or "no category")
        parts += ["crowd"] if annotation["iscrowd"] else []
    parts.append(f"{mask.area:,} pixels, {short(100 * mask.area / pixels)} % of the image")
    for score in ("predicted_iou", "stability_score"):
        if annotation.get(score) is not None:
            parts.append(f"{score} {annotation[score]:.3f}")
    return ", ".join([*parts, f"id {annotation['id']}"])


def _reasons(rejects: Sequence[Json]) -> list[tuple[str, int, Json]]:
    """Rejects by reason, most first, each with its first case."""
    cases: dict[str, list[Json]] = {}
    for reject in rejects:
        cases.setdefault(reject["reason"], []).append(reject)
    ranked = sorted(cases.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [(reason, len(found), found[0]) for reason, found in ranked]


def _origin(config: Config) -> Iterator[tuple[str, str]]:
    index = config.json
    source = index["source"]
    for key, value in source.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        yield f"source {key}".replace("_", " "), shown
    yield "format", index["format"]
    yield "annotations only", "yes" if index["annotations_only"] else "no"
    yield "settings sha256", index["settings_sha256"]
    yield "index sha256", config.index.sha256
    yield "made by", f"asam-datasets {index['code_version']}"


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
