"""The numbers for the histograms. They are computed from the annotations and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.previewing.findings import Facts
from builder.previewing.reading import Block, Config

_Floats = npt.NDArray[np.float64]
_COLUMNS = {
    "train": ["text", "width", "height", "annotations", "num_rejected"],
    "eval": ["width", "height", "annotations", "num_rejected"],
}
_SCORES = ("predicted_iou", "stability_score")
_FACTS = ("numbers", "rejected", "uncaptioned", "largest", "smallest")


@dataclass(slots=True)
class Statistics:
    """The statistics of `rows` of the `total` rows.

    Parameters
    ----------
    captions_missing, rejected, crowds
        The numbers of rows without a caption, of rejected annotations, and of crowd masks.
    masks_per_image
        float64 (rows,).
    areas
        float64 (masks,), in pixels.
    scores
        predicted_iou and stability_score, each float64 (masks,), without nulls.
    caption_words
        The number of words of each caption, float64 (captions,).
    sizes
        How many images have each (width, height).
    categories
        How many instances have each category.
    facts
        What `findings` needs of each row.
    """

    rows: int = 0
    total: int = 0
    captions_missing: int = 0
    rejected: int = 0
    crowds: int = 0
    masks_per_image: _Floats = field(default_factory=lambda: np.zeros(0))
    areas: _Floats = field(default_factory=lambda: np.zeros(0))
    scores: dict[str, _Floats] = field(default_factory=dict)
    caption_words: _Floats = field(default_factory=lambda: np.zeros(0))
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    facts: Facts = field(default_factory=lambda: Facts(*[np.zeros(0)] * 6))

    @property
    def masks(self) -> int:
        """How many masks there are in those rows."""
        return len(self.areas)

    @property
    def complete(self) -> bool:
        """Whether every row was counted."""
        return self.rows == self.total


def gather(
    config: Config, rows: int | None, on_rows: Callable[[int], None] = lambda rows: None
) -> Statistics:
    """Compute the statistics over all rows, or over evenly spread blocks.

    Parameters
    ----------
    config
        The config.
    rows
        How many rows to count at least; None for all.
    on_rows
        Called with the number of rows of each block that is done.
    """
    result = Statistics(total=len(config))
    parts: dict[str, list[_Floats]] = {}
    for block in config.some_blocks(rows):
        for name, values in _count(config, block, result).items():
            parts.setdefault(name, []).append(values)
        on_rows(block.rows)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    result.scores = {name: joined.pop(name) for name in _SCORES if name in joined}
    if joined:
        named = {name: joined.pop(name) for name in _FACTS}
        result.facts = Facts(masks=joined["masks_per_image"], **named)
    for name, values in joined.items():
        setattr(result, name, values)
    return result


def _count(config: Config, block: Block, result: Statistics) -> dict[str, _Floats]:
    """Add a block's counts to `result`; returns its values."""
    table = config.read(block, _COLUMNS[config.kind]).combine_chunks()
    lists = _whole(table["annotations"])
    masks = _floats(pc.fill_null(pc.list_value_length(lists), 0))
    annotations = lists.flatten()
    areas = _floats(pc.struct_field(annotations, "area"))
    values = {"masks_per_image": masks, "areas": areas, **_facts(block, table, masks, areas)}
    result.rows += len(table)
    result.rejected += pc.sum(table["num_rejected"]).as_py() or 0
    sizes = zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True)
    result.sizes.update(sizes)
    if config.kind == "train":
        values |= {name: _floats(pc.struct_field(annotations, name)) for name in _SCORES}
        texts = table["text"].to_pylist()
        result.captions_missing += texts.count(None)
        words = [len(text.split()) for text in texts if text is not None]
        values["caption_words"] = np.array(words, np.float64)
    else:
        result.crowds += pc.sum(pc.struct_field(annotations, "iscrowd")).as_py() or 0
        names = pc.value_counts(pc.struct_field(annotations, "category").drop_null())
        result.categories.update({pair["values"]: pair["counts"] for pair in names.to_pylist()})
    return values


def _facts(block: Block, table: pa.Table, masks: _Floats, areas: _Floats) -> dict[str, _Floats]:
    """What the findings need to know of each row of a block."""
    pixels = table["width"].to_numpy().astype(np.float64) * table["height"].to_numpy()
    largest, smallest = np.full((2, len(table)), np.nan)
    some = masks > 0  # reduceat gives nonsense for an empty part
    starts = (np.cumsum(masks) - masks)[some].astype(np.int64)
    if len(starts):
        largest[some] = np.maximum.reduceat(areas, starts) / pixels[some]
        smallest[some] = np.minimum.reduceat(areas, starts)
    missing = np.zeros(len(table))
    if "text" in table.column_names:
        missing = table["text"].is_null().to_numpy().astype(np.float64)
    return {
        "numbers": np.arange(block.first, block.first + len(table), dtype=np.float64),
        "rejected": _floats(pc.fill_null(table["num_rejected"], 0)),
        "uncaptioned": missing,
        "largest": largest,
        "smallest": smallest,
    }


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _floats(column: pa.Array | pa.ChunkedArray) -> _Floats:
    """A column without its nulls."""
    numbers: _Floats = column.drop_null().to_numpy().astype(np.float64)
    return numbers
