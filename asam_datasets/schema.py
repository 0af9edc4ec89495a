"""The columns of a row, for training and for evaluation."""

from __future__ import annotations

from typing import Any

import datasets

_SEGMENTATION = {"size": [datasets.Value("int32")], "counts": datasets.Value("string")}

# Column order matters: diffusers' ControlNet scripts default to the names image, text and
# conditioning_image, and fall back to the positions 0, 1 and 2.
TRAIN_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "conditioning_image": datasets.Image(mode="RGB"),
        "image_id": datasets.Value("int64"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "predicted_iou": datasets.Value("float64"),
                "point_coords": [[datasets.Value("float64")]],
                "crop_box": [datasets.Value("float64")],
                "stability_score": datasets.Value("float64"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)
EVAL_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "image_id": datasets.Value("string"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "void_mask": datasets.Image(decode=False),
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "category": datasets.Value("string"),
                "category_id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "iscrowd": datasets.Value("bool"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)


def features_of(kind: str) -> datasets.Features:
    """The features of a config's kind, "train" or "eval"."""
    return {"train": TRAIN_FEATURES, "eval": EVAL_FEATURES}[kind]


def legacy_metadata(features: datasets.Features) -> dict[str, Any]:
    """The Hugging Face schema metadata of `features`, with lists as `[X]`.

    datasets 4 and later write `{"_type": "List", "feature": X}`, which 3.x refuses; all of them
    read the older form (datasets/features/features.py, `generate_from_dict`).
    """

    def legacy(node: Any) -> Any:
        if isinstance(node, list):
            return [legacy(x) for x in node]
        if isinstance(node, dict) and node.get("_type") in ("List", "Sequence"):
            return [legacy(node["feature"])]
        if isinstance(node, dict):
            return {key: legacy(value) for key, value in node.items()}
        return node

    return {"info": {"features": legacy(features.to_dict())}}
