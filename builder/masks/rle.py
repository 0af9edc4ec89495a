"""Parses, checks and measures the compressed COCO RLEs of all masks of one image at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from asam_datasets import MaskRuns, mask_boxes, parse_rle

Problem = tuple[str, str, str]


@dataclass(frozen=True)
class RleBatch:
    """The masks of one image as runs of ones; see `MaskRuns`.

    A mask whose RLE is malformed has a `problem`. Everywhere else it counts as empty.
    """

    height: int
    width: int
    runs: MaskRuns

    @classmethod
    def parse(cls, counts: Sequence[str | bytes], height: int, width: int) -> RleBatch:
        """Parse one compressed RLE per mask; never raises on a malformed one."""
        return cls(height, width, parse_rle(counts, height * width))

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def problem(self) -> list[Problem | None]:
        """What is wrong with each mask's RLE: (reason, expected, found), or None."""
        return [self.runs.problems.get(i) for i in range(len(self))]

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """The number of ones of each mask, (N,)."""
        total = np.concatenate(([0], np.cumsum(self.runs.ends - self.runs.starts)))
        areas: npt.NDArray[np.int64] = np.diff(total[self.runs.offsets])
        return areas

    @cached_property
    def bboxes(self) -> npt.NDArray[np.float64]:
        """The box of each mask as COCO has it, XYWH in pixels, (N, 4); zeros for empty masks."""
        boxes = mask_boxes(self.runs, self.height).astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        return boxes

    def select(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> RleBatch:
        """The masks at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        begins = self.runs.offsets[:-1][chosen]
        sizes = self.runs.offsets[1:][chosen] - begins
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        take = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], sizes)
        known = self.runs.problems
        problems = {i: known[int(j)] for i, j in enumerate(chosen) if int(j) in known}
        runs = MaskRuns(self.runs.starts[take], self.runs.ends[take], offsets, problems)
        return RleBatch(self.height, self.width, runs)


def encode(mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> str:
    """The compressed COCO RLE of a mask (H, W); what is not 0 is foreground."""
    counts: bytes = coco.encode(np.asfortranarray(mask != 0, dtype=np.uint8))["counts"]
    return counts.decode("ascii")
