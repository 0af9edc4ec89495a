"""Brings images, masks and boxes into SAM's input square, and SAM's masks back to the image's size.

SAM and ASAM do this in different ways. Published numbers can be compared only with numbers that
were made in the same way. `Square` is ASAM's way and `Pad` is SAM's. Both give the results of the
authors' code. They are equal bit for bit if the same version of torch or Pillow interpolates.

Sources: github.com/luckybird1994/ASAM (its folder sam_continue_learning) and
github.com/facebookresearch/segment-anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

# SAM's mean and standard deviation of red, green and blue in 0..255
# (segment_anything/modeling/sam.py, Sam.__init__).
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Masks = npt.NDArray[np.bool_]


class Preprocess(Protocol):
    """A way into the model's square and back. All sizes are (height, width) in pixels."""

    @property
    def side(self) -> int:
        """The square's side in pixels."""

    def image(self, image: Image.Image) -> torch.Tensor:
        """The input of the image encoder, float32 (1, 3, side, side)."""

    def boxes(self, masks: Masks) -> torch.Tensor:
        """A box for each mask (n, height, width), in the square's pixels, float32 (n, 4) XYXY."""

    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The model's masks (n, m, side / 4, side / 4) at the image's size, bool (n, m, *size)."""


@dataclass(frozen=True)
class Square:
    """ASAM's way: each image is squeezed or stretched into the whole square.

    Attributes
    ----------
    side
        The square's side in pixels. It is 1024 for the published models.
    baseline
        How `masks` enlarges. False is how ASAM's code does it for its own model. True is how it
        does it for SAM, with its option `--baseline`.
    """

    side: int
    baseline: bool = False

    def image(self, image: Image.Image) -> torch.Tensor:
        """What the image encoder takes.

        The interpolation is bilinear, without an antialiasing filter, over the image as float32
        (`Resize` in utils/dataloader.py). The result is truncated to whole numbers (`evaluate` in
        main.py), then normalized.

        Parameters
        ----------
        image
            An image of any size and mode.

        Returns
        -------
        torch.Tensor
            float32 (1, 3, side, side).
        """
        # The channels are last in memory, as in ASAM's code, so that torch uses the same kernel.
        pixels = torch.from_numpy(np.array(image.convert("RGB"), np.float32)).permute(2, 0, 1)
        squeezed = F.interpolate(pixels[None], (self.side, self.side), mode="bilinear")
        return normalized(squeezed.to(torch.uint8))

    def resized(self, masks: Masks) -> Masks:
        """Masks in the square.

        A pixel is foreground if its interpolated value is above 128, where foreground is 255
        (`Resize` in utils/dataloader.py, `masks_to_boxes` in utils/misc.py). A small mask can
        vanish.

        Parameters
        ----------
        masks
            bool (n, height, width).

        Returns
        -------
        numpy.ndarray
            bool (n, side, side).
        """
        result = np.zeros((len(masks), self.side, self.side), bool)
        for i, mask in enumerate(masks):  # one at a time, because float32 takes four times as much
            values = torch.from_numpy(mask[None, None].astype(np.float32) * 255)
            small = F.interpolate(values, (self.side, self.side), mode="bilinear")
            result[i] = (small[0, 0] > 128).numpy()
        return result

    def boxes(self, masks: Masks) -> torch.Tensor:
        """The outermost pixels of the resized masks.

        A mask that vanishes in the square has the box (1e8, 1e8, 0, 0), as in ASAM's code
        (`masks_to_boxes` in utils/misc.py). ASAM prompts the model with this box and counts the
        result.

        Parameters
        ----------
        masks
            bool (n, height, width).

        Returns
        -------
        torch.Tensor
            float32 (n, 4), XYXY in the square's pixels.
        """
        small = self.resized(masks)
        boxes = outermost(small)
        boxes[~small.any((1, 2))] = (1e8, 1e8, 0, 0)
        return torch.from_numpy(boxes)

    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The model's masks at the image's size.

        The logits are enlarged to the square, then to the image's size, and those above 0 are
        foreground. With `baseline` they go to the image's size at once. See `evaluate` and
        `compute_iou` in main.py.

        Parameters
        ----------
        logits
            float32 (n, m, side / 4, side / 4).
        size
            The image's height and width in pixels.

        Returns
        -------
        torch.Tensor
            bool (n, m, height, width).
        """
        if not self.baseline:
            logits = F.interpolate(logits, (self.side, self.side), mode="bilinear")
        return F.interpolate(logits, size, mode="bilinear") > 0


@dataclass(frozen=True)
class Pad:
    """SAM's way: the longer side fills the square, and the rest is filled with zeros.

    The zeros are on the right or below.

    Attributes
    ----------
    side
        The square's side in pixels. It is 1024 for the published models.
    """

    side: int

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """How many pixels of the square an image takes.

        Halves are rounded up (`ResizeLongestSide.get_preprocess_shape` in
        segment_anything/utils/transforms.py). An image whose shorter side would get no pixel at all
        keeps one. SAM's code fails there.

        Parameters
        ----------
        size
            The image's height and width in pixels.

        Returns
        -------
        tuple of int
            Height and width within the square, from its upper left corner.
        """
        scale = self.side * 1.0 / max(size)
        height, width = (max(1, int(length * scale + 0.5)) for length in size)
        return height, width

    def image(self, image: Image.Image) -> torch.Tensor:
        """What the image encoder takes.

        Pillow's bilinear filter, which antialiases, scales the 8-bit image (`apply_image` in
        segment_anything/utils/transforms.py; torchvision calls Pillow there). The result is
        normalized, then filled up with zeros (`Sam.preprocess` in
        segment_anything/modeling/sam.py).

        Parameters
        ----------
        image
            An image of any size and mode.

        Returns
        -------
        torch.Tensor
            float32 (1, 3, side, side).
        """
        height, width = self.inner((image.height, image.width))
        scaled = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)[None]
        return F.pad(normalized(pixels), (0, self.side - width, 0, self.side - height))

    def coordinates(
        self, points: npt.NDArray[np.floating], size: tuple[int, int]
    ) -> npt.NDArray[np.float32]:
        """Points of the image in the square's pixels.

        They are multiplied in float64 by the ratio of the two sizes, without a shift by half a
        pixel (`ResizeLongestSide.apply_coords`, called by `SamPredictor.predict`).

        Parameters
        ----------
        points
            XY in the image's pixels, (..., 2).
        size
            The image's height and width in pixels.

        Returns
        -------
        numpy.ndarray
            float32 (..., 2).
        """
        height, width = self.inner(size)
        scaled = points.astype(np.float64) * (width / size[1], height / size[0])
        return scaled.astype(np.float32)

    def boxes(self, masks: Masks) -> torch.Tensor:
        """The outermost pixels of the masks, scaled by `coordinates`.

        The outermost pixels are those of `batched_mask_to_box` in segment_anything/utils/amg.py.

        Parameters
        ----------
        masks
            bool (n, height, width), none empty.

        Returns
        -------
        torch.Tensor
            float32 (n, 4), XYXY in the square's pixels.
        """
        height, width = masks.shape[1:]
        corners = self.coordinates(outermost(masks).reshape(-1, 2, 2), (height, width))
        return torch.from_numpy(corners.reshape(-1, 4))

    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The model's masks at the image's size.

        The logits are enlarged to the square, cut to the image's part of it, then brought to the
        image's size. Those above 0 are foreground (`Sam.postprocess_masks` in
        segment_anything/modeling/sam.py).

        Parameters
        ----------
        logits
            float32 (n, m, side / 4, side / 4).
        size
            The image's height and width in pixels.

        Returns
        -------
        torch.Tensor
            bool (n, m, height, width).
        """
        height, width = self.inner(size)
        square = F.interpolate(logits, (self.side, self.side), mode="bilinear")
        return F.interpolate(square[..., :height, :width], size, mode="bilinear") > 0


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """Normalize uint8 pixels (..., 3, h, w) with SAM's mean and deviation, to float32."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def outermost(masks: npt.NDArray[np.bool_ | np.uint8]) -> npt.NDArray[np.float32]:
    """The outermost pixels of masks.

    Parameters
    ----------
    masks
        bool, or uint8 of 0 and 1, (..., height, width), none empty.

    Returns
    -------
    numpy.ndarray
        float32 (..., 4): the columns and rows of the first and of the last pixel, as XYXY.
    """
    columns, rows = masks.max(-2), masks.max(-1)
    width, height = columns.shape[-1], rows.shape[-1]
    edges = (
        columns.argmax(-1),
        rows.argmax(-1),
        width - 1 - columns[..., ::-1].argmax(-1),
        height - 1 - rows[..., ::-1].argmax(-1),
    )
    return np.stack(edges, -1).astype(np.float32)
