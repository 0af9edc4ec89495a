"""Where the pixels of a picture lie once it was brought to a size: stretched, cut or padded."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asam_datasets.errors import AsamDatasetsError

FITS = ("stretch", "cover", "contain")
_LONGEST_SIDE = 16_384  # pixels; more is a mistake


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture is resized to `resized`, and a part of the result is shown in a frame.

    The part begins at `cut` and fills the frame's upper left. Where it is smaller than the frame,
    the rest is padding, on the right and below. All are (height, width) or (y, x) in pixels.
    """

    full: tuple[int, int]  # of the picture
    resized: tuple[int, int]  # of the whole picture after resizing
    cut: tuple[int, int]  # where, in the resized picture, the part begins
    shown: tuple[int, int]  # of the part
    size: tuple[int, int]  # of the frame

    @property
    def scale(self) -> tuple[float, float]:
        """The factors of x and of y."""
        return self.resized[1] / self.full[1], self.resized[0] / self.full[0]

    @property
    def offset(self) -> tuple[float, float]:
        """What is added to x and to y after they were scaled."""
        return float(-self.cut[1]), float(-self.cut[0])

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The picture's row that each row of the part shows by nearest neighbour, (h,)."""
        return nearest(self.full[0], self.resized[0], self.cut[0], self.shown[0])

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """The picture's column that each column of the part shows by nearest neighbour, (w,)."""
        return nearest(self.full[1], self.resized[1], self.cut[1], self.shown[1])

    def box(self, extent: tuple[float, float]) -> tuple[float, float, float, float]:
        """The part as (left, upper, right, lower), where the whole picture is (h, w) `extent`."""
        y, x = extent[0] / self.resized[0], extent[1] / self.resized[1]
        bottom, right = self.cut[0] + self.shown[0], self.cut[1] + self.shown[1]
        return self.cut[1] * x, self.cut[0] * y, right * x, bottom * y

    def point(self, x: float, y: float) -> list[float]:
        """A point of the picture in the frame, as SAM's `ResizeLongestSide.apply_coords` moves it.

        It may lie outside of what is shown.
        """
        (sx, sy), (dx, dy) = self.scale, self.offset
        return [x * sx + dx, y * sy + dy]


def nearest(full: int, resized: int, start: int, count: int) -> npt.NDArray[np.int64]:
    """The source index that each of `count` samples of an axis shows, the first being `start`.

    `resized` samples are the whole axis of `full` pixels. Sample i shows the pixel in which its
    centre lies: floor((i + 0.5) * full / resized).
    """
    centres: npt.NDArray[np.int64] = 2 * np.arange(start, start + count, dtype=np.int64) + 1
    return centres * full // (2 * resized)


def frame_of(full: tuple[int, int], size: tuple[int, int], fit: str) -> Frame:
    """How a picture is brought to a size.

    Parameters
    ----------
    full
        (height, width) of the picture in pixels.
    size
        (height, width) of the frame in pixels.
    fit
        - "stretch": both sides become those of the frame, whatever the proportions. ASAM does this
          (ControlNet/tutorial_dataset.py, sam_continue_learning/utils/dataloader.py).
        - "cover": the proportions stay, the frame is filled, and the middle of the picture is
          shown. The longer side is rounded down, and half a pixel of the cut to the even number,
          as `Resize` and `CenterCrop` of torchvision do it, which diffusers' train_controlnet.py
          uses.
        - "contain": the proportions stay and all of the picture is shown, with padding on the right
          or below. The shorter side is rounded as in SAM's `get_preprocess_shape`
          (segment_anything/utils/transforms.py).
    """
    (full_height, full_width), (height, width) = full, size
    if fit == "stretch":
        return Frame(full, size, (0, 0), size, size)
    tall = height * full_width >= width * full_height  # the height needs the larger factor
    if fit == "cover":
        if tall:
            resized = height, height * full_width // full_height
        else:
            resized = width * full_height // full_width, width
        cut = round((resized[0] - height) / 2), round((resized[1] - width) / 2)
        return Frame(full, resized, cut, size, size)
    if tall:
        scaled = int(full_height * (width * 1.0 / full_width) + 0.5)
        resized = min(height, max(1, scaled)), width
    else:
        scaled = int(full_width * (height * 1.0 / full_height) + 0.5)
        resized = height, min(width, max(1, scaled))
    return Frame(full, resized, (0, 0), resized, size)


def frame_size(size: Any) -> tuple[int, int]:
    """The (height, width) that a user asks for: one number for a square, or both.

    Raises
    ------
    AsamDatasetsError
        These are no whole numbers from 1 to 16,384.
    """
    try:
        height, width = size if hasattr(size, "__len__") else (size, size)
        if isinstance(height, bool) or isinstance(width, bool) or isinstance(size, str):
            raise TypeError
        found = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        found = 0, 0
    if not all(1 <= side <= _LONGEST_SIDE for side in found):
        raise AsamDatasetsError(
            f"size must be a whole number of pixels for a square, or (height, width), from 1 to "
            f"{_LONGEST_SIDE:,} each, not {size!r}"
        )
    return found


def check_fit(fit: Any) -> None:
    """Raise AsamDatasetsError unless `fit` is one of FITS."""
    if not isinstance(fit, str) or fit not in FITS:
        names = " or ".join(map(repr, FITS))
        raise AsamDatasetsError(f"fit must be {names}, not {fit!r}")
