"""Are a row's PNGs what this version's encoders make of its RLEs?

The encoders depend on the RLEs alone, so equal bytes show equal pixels, and nothing has to be
inflated. Bytes that differ show nothing: another version may have made them.
"""

from __future__ import annotations

from collections.abc import Sequence

from asam_datasets import mask_order
from builder.core.records import Json
from builder.masks.control import paint
from builder.masks.png import encode_masks
from builder.masks.rle import RleBatch


def are_encoded_masks(batch: RleBatch, pngs: Sequence[Json]) -> list[bool]:
    """Whether each mask's PNG has the bytes that the encoder gives.

    Parameters
    ----------
    batch
        The masks' RLEs, without a problem in one of them.
    pngs
        The row's `masks`, as many.
    """
    return [made == stated["bytes"] for made, stated in zip(encode_masks(batch), pngs, strict=True)]


def is_encoded_control(row: Json) -> bool:
    """Whether a train row's control image has the bytes that the encoder gives.

    The row's RLEs have no problem.
    """
    annotations = row["annotations"]
    counts = [annotation["segmentation"]["counts"] for annotation in annotations]
    batch = RleBatch.parse(counts, row["height"], row["width"])
    return bool(paint(batch, mask_order(annotations)) == row["conditioning_image"]["bytes"])
