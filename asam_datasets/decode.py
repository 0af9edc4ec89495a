"""`decode_masks`: the masks of a row, straight from their RLE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from asam_datasets.arrays import decode_to_array
from asam_datasets.device import decode_to_tensor
from asam_datasets.segmentation import segmentations

if TYPE_CHECKING:
    import torch


@overload
def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    device: None = None,
    *,
    packed: bool = False,
) -> npt.NDArray[Any]: ...


@overload
def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    *,
    device: str | torch.device,
    packed: bool = False,
) -> torch.Tensor: ...


def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    device: str | torch.device | None = None,
    *,
    packed: bool = False,
) -> npt.NDArray[Any] | torch.Tensor:
    """The masks of a row's `annotations` as an array of 0 and 1, straight from their RLE.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `datasets` returns: a list of dicts (values
        plain, numpy or torch), a dict of lists, or pyarrow or pandas, also as the column of one row
        that the formats "arrow" and "pandas" return. The annotations of several rows may be
        concatenated. On a GPU one call for a whole batch is fastest.
    size
        (h, w) to sample to, nearest neighbour at pixel centres: row i shows the source's row
        floor((i + 0.5) * H / h). The full-size bitmaps are never made. Defaults to the masks' own
        size, which must then be the same for all.
    dtype
        A numpy dtype, or with a device also torch's. Defaults to uint8.
    device
        The torch device to decode on, such as "cuda". It needs torch. On CUDA it uses Triton where
        that is installed. Defaults to None: the result is a numpy array.
    packed
        Give bits instead, as `np.packbits(masks, axis=-1)` does: (N, h, ceil(w / 8)) uint8.
        Defaults to False.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        (N, H, W) or (N, h, w). Without annotations (0, h, w), or (0, 0, 0) when no size is known.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed (the annotation's id is named), sizes differ and `size` is None, or the
        device can't be used.

    Examples
    --------
    >>> decode_masks([{"id": 7, "segmentation": {"size": [2, 3], "counts": "114"}}]).tolist()
    [[[0, 0, 0], [1, 0, 0]]]
    """
    masks = segmentations(annotations)
    height, width = masks.output_size(size)
    if device is not None:
        return decode_to_tensor(masks, (height, width), dtype, device, packed)
    return decode_to_array(masks, (height, width), dtype, packed)
