"""Where runs begin and end, on a device; numpy parses the strings and torch fills the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asam_datasets.rle import parse_rle
from asam_datasets.segmentation import Segmentations

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Edges:
    """Where runs of ones begin and end in turn, on a device.

    An edge is a pixel's number in column-major order. A pixel is 1 if an odd number of its mask's
    edges are at or before it. Mask i has H x W pixels and the edges from start to stop.
    """

    places: torch.Tensor  # (E,) int32, in order
    masks: torch.Tensor  # (N, 4) int64: start, stop, H, W


def parse_on_host(masks: Segmentations, device: torch.device) -> Edges:
    """Parse all strings with numpy, and copy the edges to the device.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed.
    """
    import torch

    places, table, total = [], np.empty((len(masks.counts), 4), np.int64), 0
    for (height, width), which in masks.by_size():
        runs = parse_rle([masks.counts[i] for i in which], height * width)
        masks.refuse(runs.problems, which)
        table[which, 0] = total + 2 * runs.offsets[:-1]
        table[which, 1] = total + 2 * runs.offsets[1:]
        table[which, 2:] = height, width
        places.append(np.stack((runs.starts, runs.ends), axis=1).reshape(-1))
        total += 2 * len(runs.starts)
    flat = np.concatenate(places).astype(np.int32)
    return Edges(torch.from_numpy(flat).to(device), torch.from_numpy(table).to(device))


def fill_by_search(out: torch.Tensor, edges: Edges, width: int, packed: bool) -> None:
    """Set the masks' pixels with torch alone; `out` is as `decode_to_tensor` returns it."""
    import torch

    height = out.shape[1]
    rows = 2 * torch.arange(height, device=out.device) + 1
    columns = 2 * torch.arange(width, device=out.device) + 1
    weights = 128 >> torch.arange(8, device=out.device)
    for i, (start, stop, full_height, full_width) in enumerate(edges.masks.tolist()):
        y = rows * full_height // (2 * height)
        x = columns * full_width // (2 * width)
        pixels = (x * full_height + y[:, None]).to(torch.int32)
        inside = torch.searchsorted(edges.places[start:stop], pixels, right=True) & 1
        if packed:
            inside = torch.nn.functional.pad(inside, (0, -width % 8)).view(height, -1, 8)
            inside = (inside * weights).sum(dim=2)
        out[i] = inside
