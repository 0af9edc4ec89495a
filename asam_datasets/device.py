"""Masks become a torch tensor on a device.

Where Triton is installed, two kernels do this on CUDA. Elsewhere numpy parses the RLE strings and
torch fills the masks.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from asam_datasets.arrays import decode_to_array
from asam_datasets.edges import Edges, fill_by_search, parse_on_host
from asam_datasets.errors import AsamDatasetsError
from asam_datasets.segmentation import Segmentations

if TYPE_CHECKING:
    import torch


def decode_to_tensor(
    masks: Segmentations,
    size: tuple[int, int],
    dtype: Any,
    device: str | torch.device,
    packed: bool,
) -> torch.Tensor:
    """Decode masks into a tensor on a device.

    Parameters
    ----------
    masks, size, packed
        As for `decode_to_array`.
    dtype
        A torch or numpy dtype; unused when `packed`.
    device
        Such as "cuda".

    Returns
    -------
    torch.Tensor
        (N, h, w) of 0 and 1, or (N, h, ceil(w / 8)) uint8 when `packed`.

    Raises
    ------
    AsamDatasetsError
        torch is not installed, the device is not there, or an RLE is malformed.
    """
    try:
        import torch
    except ImportError as error:
        raise AsamDatasetsError(
            "decode_masks with a device needs the package torch: pip install torch"
        ) from error
    where = torch.device(device)
    if not isinstance(dtype, torch.dtype):
        dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    if where.type == "cpu":  # numpy is the fastest way there
        kind = np.uint8 if packed else torch.empty(0, dtype=dtype).numpy().dtype
        return torch.from_numpy(decode_to_array(masks, size, kind, packed))
    if where.type == "cuda" and not torch.cuda.is_available():
        raise AsamDatasetsError(f"decode_masks: no CUDA device here for device={str(device)!r}")
    height, width = size
    shape = (len(masks.counts), height, (width + 7) // 8 if packed else width)
    # This comes first: the GPU writes the zeros while this thread collects the strings.
    out = torch.zeros(shape, dtype=torch.uint8 if packed else dtype, device=where)
    if out.numel():
        parse, fill = parser_and_filler(where)
        fill(out, parse(masks, where), width, packed)
    return out


def parser_and_filler(
    device: torch.device,
) -> tuple[
    Callable[[Segmentations, torch.device], Edges],
    Callable[[torch.Tensor, Edges, int, bool], None],
]:
    """The two functions that decode on a device.

    The first parses the RLE strings into edges. The second takes a tensor of zeros, (N, h, w), and
    sets the pixels of the masks to 1.
    """
    if (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and (kernels := _kernels()) is not None
    ):
        return kernels.parse_by_kernel, kernels.fill_by_kernel
    return parse_on_host, fill_by_search


@functools.cache
def _kernels() -> Any:
    """The module of the Triton kernels; None in the published file, which has no such module."""
    if __package__ == "asam_datasets":
        return importlib.import_module("asam_datasets.kernels")
    logging.getLogger("asam_datasets").warning(
        "decode_masks: this single file has no Triton kernels, so torch alone fills the masks, "
        "which takes longer. The project's package has them: run `pip install .` in its checkout"
    )
    return None
