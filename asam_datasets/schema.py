"""The columns of a row, for training and for evaluation."""

from __future__ import annotations

from typing import Any

import datasets

from asam_datasets.contract import Node

KINDS = ("train", "eval")
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "string", "binary"),
)
_MODES = (None, "1", "L", "P", "RGB", "RGBA")
_DEEPEST = 16  # lists and structs within each other
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


def features_to_json(features: datasets.Features) -> dict[str, Any]:
    """Features as an index holds them: the library's own form, with lists as `[X]`."""
    found: dict[str, Any] = legacy_metadata(features)["info"]["features"]
    return found


def features_from_json(node: Node) -> datasets.Features:
    """The features that an index states.

    Only plain values, images, lists and structs are accepted. The library itself would create an
    object of any class that `_type` names. Raises ContractError for anything else.
    """
    columns = {name: _feature(column, 0) for name, column in _named(node).items()}
    if not columns:
        node.fail("at least one column")
    return datasets.Features(columns)


def _named(node: Node) -> dict[str, Node]:
    """The members of an object, whose names Arrow can hold."""
    members = node.members()
    for name, member in members.items():
        if not name.isprintable():  # half of a surrogate pair is not printable either
            member.fail("a column or field with a printable name")
    return members


def check_columns(node: Node, features: datasets.Features, kind: str) -> None:
    """Check that the columns of an index have the types that its kind gives columns of their names.

    Columns of other names may stand beside them. Raises ContractError.
    """
    known = features_to_json(features_of(kind))
    for name, found in features_to_json(features).items():
        if found != known.get(name, found):
            node[name].fail(f"the column {name} of kind {kind}: {known[name]}")


def _feature(node: Node, depth: int) -> Any:
    if depth > _DEEPEST:
        node.fail(f"at most {_DEEPEST} lists and structs within each other")
    if isinstance(node.value, list):
        if len(node.value) != 1:
            node.fail("a list of one feature")
        return [_feature(node.items()[0], depth + 1)]
    fields = node.mapping()
    if "_type" not in fields:
        if not fields:
            node.fail("a struct with at least one field")
        return {name: _feature(field, depth + 1) for name, field in _named(node).items()}
    if fields["_type"] == "Value":
        if fields.get("dtype") not in _DTYPES:
            node.fail(f"a dtype among {', '.join(_DTYPES)}")
        return datasets.Value(fields["dtype"])
    if fields["_type"] == "Image":
        mode, decode = fields.get("mode"), fields.get("decode", True)
        if mode not in _MODES or not isinstance(decode, bool):
            node.fail(f"an Image with a mode of {_MODES}, and decode true or false")
        return datasets.Image(mode=mode, decode=decode)
    return node.fail("a Value or an Image")
