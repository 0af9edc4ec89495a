"""Binary rasters: each file is one mask (one file per image, or a folder of them)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.raster import check_size, read_binary, rle_of_mask
from builder.sources.evaluation.readers.base import Annotation, Entry, Found, Truth, pair
from builder.sources.evaluation.readers.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryOptions(Options):
    """Options of `BinaryMasks`.

    Parameters
    ----------
    image_id
        Template of the image's id.
    category
        The category of every instance: a constant, or a placeholder of the image's pattern.
    foreground
        `threshold` reads the first channel above 127. `any` also reads masks of 0 and 1 and masks
        in another channel. It is for releases that say only that their masks are binary.
    """

    reader: ClassVar[str] = "binary"

    image_id: str = "{id}"
    category: str | None = None
    foreground: Literal["threshold", "any"] = "threshold"

    def open(self, root: Path, source: str) -> BinaryMasks:
        return BinaryMasks(root, self, source)


class BinaryMasks:
    """Reads the part's masks one at a time; see `builder.sources.evaluation.readers.base.Reader`.

    A mask that can't be used is rejected. If it is the image's only one, the image is rejected.
    """

    def __init__(self, root: Path, part: BinaryOptions, source: str) -> None:
        self.root, self.part, self.source = root, part, source

    def listing(self) -> Found:
        return pair(self.root, self.part, self.source, image_id=self.part.image_id)

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        category = self.part.category and Pattern(self.part.category).fill(entry.values)
        truth = Truth()
        for i, path in enumerate(entry.truth):
            try:
                lenient = self.part.foreground == "any"
                mask = read_binary(self.root / path, lenient=lenient)
                check_size(mask, height, width, path)
            except Fault as fault:
                if len(entry.truth) == 1:
                    raise
                truth.faults.append((i, fault))
                continue
            truth.annotations.append(Annotation(i, rle_of_mask(mask), category))
        return truth
