"""The control image, and the order in which ASAM numbers and paints the masks of an image.

Both are as in utils/sam_uncover_mask.py and utils/sam_control_signal.py of
github.com/hkxiao/ASAM. They were in github.com/luckybird1994/ASAM too, until its commit 22c1221.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from asam_datasets.boxes import box_areas, stated_ranks
from asam_datasets.errors import AsamDatasetsError
from asam_datasets.segmentation import UNREADABLE, host_array

_COLORS = 2**24 - 1  # of RGB, without black: more masks would share colours


def mask_order(annotations: Any) -> npt.NDArray[np.int64]:
    """The order in which ASAM numbers the masks of an image: the largest box first.

    The rank of a mask is its place in this order. ASAM writes the mask of rank j as
    `segmentation_j.png`, and gives it the j-th colour of the control image. The order is descending
    by `bbox[2] * bbox[3]`. Annotations whose boxes are equally large keep their order.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `decode_masks` takes. Of each annotation only
        `bbox` is read: [x, y, width, height] in pixels. `datasets` returns float32 with the formats
        "numpy" and "torch". Such boxes are taken if they are whole numbers. Where each annotation
        has a `rank`, as in rows of `load(size=...)`, only that is read: the boxes of such rows are
        those of a small picture, and could be in another order.

    Returns
    -------
    numpy.ndarray
        (N,) int64. Element j is the position in `annotations` of the mask of rank j, so
        `decode_masks(annotations)[mask_order(annotations)]` holds the masks as ASAM numbers them.
        `numpy.argsort(mask_order(annotations))` is the inverse: the rank of each annotation.

    Raises
    ------
    AsamDatasetsError
        A `rank` is no whole number. Or an annotation has no `bbox` of four finite numbers, or its
        `bbox` is of float32 or less and not of whole numbers. Such a box was rounded, and the order
        could be another.

    Examples
    --------
    >>> mask_order([{"bbox": [0, 0, 2, 3]}, {"bbox": [5, 5, 9, 9]}]).tolist()
    [1, 0]
    """
    if (ranks := stated_ranks(annotations)) is not None:
        return np.argsort(ranks, kind="stable")
    return np.argsort(-box_areas(annotations), kind="stable")


def control_colors(n: int) -> npt.NDArray[np.uint8]:
    """The colours of n masks in a control image, by rank (see `mask_order`).

    Rank j has pos = int((2**24 - 1) * (j + 1) / n) and the colour
    (pos % 256, pos // 256 % 256, pos // 65536), as in ASAM's sam_control_signal.py.

    Parameters
    ----------
    n
        How many masks the image has: a whole number from 0 to 2**24 - 1.

    Returns
    -------
    numpy.ndarray
        (n, 3) uint8, RGB.

    Raises
    ------
    AsamDatasetsError
        `n` is no such number.

    Examples
    --------
    >>> control_colors(2).tolist()
    [[255, 255, 127], [255, 255, 255]]
    """
    try:
        number = operator.index(n)
    except TypeError:
        number = -1
    if not 0 <= number <= _COLORS:
        raise AsamDatasetsError(f"n must be a whole number from 0 to {_COLORS}, not {n!r}")
    # Integers are exact. The recipe divides floats, which gives the same for n below 2**28: the
    # quotient is at least 1 / n below the next integer, and rounding changes it by less than that.
    positions = _COLORS * np.arange(1, number + 1, dtype=np.int64) // max(number, 1)
    return np.stack([positions >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def decode_control(rgb: Any, annotations: Any) -> npt.NDArray[np.int32]:
    """The annotation that each pixel of a control image shows.

    Where masks overlap, a control image shows the one of the highest rank: that with the smallest
    box (see `mask_order`).

    Parameters
    ----------
    rgb
        The control image: a PIL image of any mode, such as `row["conditioning_image"]`, or an array
        or tensor (H, W, 3) of integers from 0 to 255.
    annotations
        The same row's `annotations` column in any form that `decode_masks` takes: all of them, in
        the row's order.

    Returns
    -------
    numpy.ndarray
        (H, W) int32: the position in `annotations`, or -1 for pixels of no mask.

    Raises
    ------
    AsamDatasetsError
        The control image is none of these, a colour belongs to none of the masks, or `mask_order`
        refuses a `bbox`.

    Examples
    --------
    A row of three pixels: the background, then the mask of the smaller box, then the other one.

    >>> annotations = [{"bbox": [1, 0, 1, 1]}, {"bbox": [0, 0, 3, 1]}]
    >>> larger, smaller = control_colors(2)
    >>> decode_control([[(0, 0, 0), smaller, larger]], annotations).tolist()
    [[-1, 0, 1]]
    """
    order = mask_order(annotations)
    pixels = _rgb(rgb)
    values = pixels[..., 0].astype(np.int32)
    values |= np.left_shift(pixels[..., 1], 8, dtype=np.int32)
    values |= np.left_shift(pixels[..., 2], 16, dtype=np.int32)
    flat = values.reshape(-1)  # as runs of one colour, of which there are few
    begins = np.flatnonzero(np.diff(flat, prepend=-1))
    positions = np.append(order, -1)[_ranks(flat[begins], len(order))].astype(np.int32)
    lengths = np.diff(begins, append=len(flat))
    return np.repeat(positions, lengths).reshape(values.shape)


def _rgb(image: Any) -> npt.NDArray[np.uint8]:
    """The pixels of a control image, (H, W, 3) uint8."""
    try:
        pixels = host_array(image.convert("RGB") if isinstance(image, Image.Image) else image)
    except (*UNREADABLE, OSError) as error:
        raise AsamDatasetsError(f"the control image can't be read: {error!r}") from error
    found = None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind not in "iu":
        found = f"{type(image).__name__}, {pixels.dtype} of shape {pixels.shape}"
    elif (low := pixels.min(initial=0)) < 0 or (high := pixels.max(initial=0)) > 255:
        found = f"a value of {low if low < 0 else high}"
    if found:
        raise AsamDatasetsError(
            "the control image must be (H, W, 3) RGB, integers from 0 to 255: "
            f"image.convert('RGB'); found {found}"
        )
    return pixels.astype(np.uint8, copy=False)


def _ranks(shown: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int64]:
    """The rank of each colour among those of n masks; -1 for black.

    Raises
    ------
    AsamDatasetsError
        A colour belongs to none of them.
    """
    ranks = -(shown.astype(np.int64) * -n // _COLORS) - 1  # rounded up: undoes the rounding
    colors = control_colors(n).astype(np.int64) @ [1, 256, 65536]
    known = (ranks >= 0) & (ranks < n)
    known[known] = colors[ranks[known]] == shown[known]
    if len(wrong := shown[~known & (shown != 0)]):
        color = tuple(int(wrong[0]) >> shift & 255 for shift in (0, 8, 16))
        raise AsamDatasetsError(f"the colour {color} belongs to none of {n} masks")
    return ranks
