"""Reading a whole source, and the masks of a row in both of their forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco

from builder.core.records import Json, Listing, Reject
from builder.masks.png import decode_png
from builder.sources.evaluation import EvalSource

SAMPLES = Path(__file__).parents[3] / "shared/data/eval"


@dataclass
class Read:
    """What became of a source: its listing, rows by (split, file name), and all rejects."""

    listing: Listing
    rows: dict[tuple[str, str], Json] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Why records and annotations were rejected."""
        return [reject.reason for reject in self.rejects]

    def row(self) -> Json:
        """The only row."""
        (row,) = self.rows.values()
        return row

    def reject(self) -> Reject:
        """The only reject."""
        (reject,) = self.rejects
        return reject


def read(source: EvalSource) -> Read:
    """List a source and read all of it."""
    listing = source.listing()
    result = Read(listing, rejects=list(listing.rejects))
    with source.open() as reader:
        for item in listing.items:
            outcome = reader.read(item)
            result.rejects += outcome.rejects
            if outcome.row is not None:
                result.rows[item.split, item.key] = outcome.row
    return result


def masks(row: Json) -> list[npt.NDArray[np.bool_]]:
    """The masks of a row, from the PNGs, checked against the annotations' RLE, bbox and area."""
    decoded = [decode_png(mask["bytes"]) for mask in row["masks"]]
    assert len(decoded) == len(row["annotations"])
    for mask, annotation in zip(decoded, row["annotations"], strict=True):
        rle = annotation["segmentation"]
        assert rle["size"] == [row["height"], row["width"]]
        assert np.array_equal(mask, coco.decode(rle).astype(bool))
        assert annotation["area"] == mask.sum() > 0
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        assert annotation["bbox"] == box
    return decoded


def void(row: Json) -> Any:
    """The void mask of a row."""
    return decode_png(row["void_mask"]["bytes"])


def samples(name: str) -> Path:
    """A folder of real samples; skips the test where they are absent."""
    if not (SAMPLES / name).exists():
        pytest.skip(f"no real samples of {name} here")
    return SAMPLES / name
