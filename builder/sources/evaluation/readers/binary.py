"""Binary rasters: each file is one mask (one file per image, or a folder of them)."""

from __future__ import annotations

from pathlib import Path

from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import check_size, read_binary, rle_of_mask
from builder.sources.evaluation.readers.base import Annotation, Entry, Found, Truth, pair
from builder.sources.evaluation.table import Part


class BinaryMasks:
    """Reads the part's masks one at a time; see `builder.sources.evaluation.readers.base.Reader`.

    Where an image has one mask, a mask of the wrong size rejects the image; where it has many,
    the mask.
    """

    def __init__(self, root: Path, part: Part, source: str) -> None:
        self.root, self.part, self.source = root, part, source

    def listing(self) -> Found:
        return pair(self.root, self.part, self.source)

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        category = self.part.category and Pattern(self.part.category).fill(entry.values)
        truth = Truth()
        for i, path in enumerate(entry.truth):
            try:
                mask = read_binary(self.root / path)
                check_size(mask, height, width, path)
            except Fault as fault:
                if len(entry.truth) == 1:
                    raise
                truth.faults.append((i, fault))
                continue
            truth.annotations.append(Annotation(i, rle_of_mask(mask), category))
        return truth
