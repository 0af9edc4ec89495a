"""Faults that show only where two of a dist's files are compared, or in a column of eval rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asam_datasets import EVAL_FEATURES, TRAIN_FEATURES
from builder.checking.index import check_config
from builder.checking.rows import check_row, check_train_row
from builder.checking.tree import Folder
from builder.core.errors import ShardError
from builder.core.layout import receipts_folder
from builder.masks.png import encode_bitmap
from builder.masks.rle import encode
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.shards.write import arrow_batches, shard_schema
from builder.sources.sa1b import open_sources
from tests.contracts import rewrite, set_in
from tests.factory import jpeg, masks, members, write_tar
from tests.shards.test_write import eval_row, train_row, write

CONFIG = "sa_000000"


@pytest.mark.parametrize(
    ("field", "value"),
    [(("settings_sha256",), "0" * 64), (("source", "sha256"), "0" * 64)],
)
def test_a_receipt_of_other_settings_or_another_source_is_found(
    tmp_path: Path, field: tuple[str, ...], value: str
) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / f"{CONFIG}.tar", members(range(1, 5))))])
    dist = tmp_path / "dist"
    build_config(source, dist, Settings("arrow", 12_000), quiet=True)
    receipt = min(receipts_folder(dist, CONFIG).glob("*.arrow.json"))
    rewrite(receipt, set_in(*field, value=value))
    problems, _ = check_config(Folder(dist), CONFIG)
    (problem,) = problems
    assert problem.what == "its receipt and the index differ"
    assert problem.shard == receipt.name.removesuffix(".json")


def good_row() -> dict[str, Any]:
    """A row of an evaluation config in which everything agrees."""
    width, height = 30, 20
    (shape,) = masks(width, height, 1, seed=3)
    image = jpeg(width, height)
    row = eval_row(1)
    y, x = shape.nonzero()
    box = [float(v) for v in (x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min())]
    row["annotations"][0] |= {
        "segmentation": {"size": [height, width], "counts": encode(shape)},
        "bbox": box,
        "area": int(shape.sum()),
    }
    return row | {
        "image": {"bytes": image, "path": None},
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "width": width,
        "height": height,
        "masks": [{"bytes": encode_bitmap(shape), "path": None}],
        "void_mask": {"bytes": encode_bitmap(shape), "path": None},
    }


def test_a_void_mask_that_does_not_decode_or_has_another_size_is_found() -> None:
    row = good_row()
    assert list(check_row(row)) == []
    row["void_mask"]["bytes"] = row["void_mask"]["bytes"][:40]
    (problem,) = check_row(row)
    assert problem.startswith("void_mask: does not decode")
    (other,) = masks(31, 20, 1, seed=3)
    row["void_mask"]["bytes"] = encode_bitmap(other)
    assert list(check_row(row)) == ["void_mask: (31, 20) pixels, expected (30, 20)"]


@pytest.mark.parametrize(
    "box",
    [
        *([float("inf"), 0.0, 1.0, 1.0], [0.0, 0.0, float("nan"), 1.0], [0.0, 0.0, 1.0], [], None),
        *([0.0, 0.0, 1.0, None], [1e300, 0.0, 1.0, 1.0]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("check", [check_row, check_train_row])
def test_a_box_that_is_no_box_is_found(check: Callable[[Any], Iterator[str]], box: Any) -> None:
    row = good_row()
    row["annotations"][0]["bbox"] = box
    name = f"annotation {row['annotations'][0]['id']} (mask 0): bbox: expected"
    (problem,) = check(row)
    assert problem.startswith(name)
    assert problem.endswith(f"found {box}")


@pytest.mark.parametrize("corner", range(4))
def test_a_box_fits_its_mask_as_the_build_asks(corner: int) -> None:
    row = good_row() | {"conditioning_image": {"bytes": b""}}
    box = row["annotations"][0]["bbox"]
    exact = list(box)
    box[corner] += 0.5
    (problem,) = check_row(row)  # an evaluation config has the mask's own box
    assert f"bbox: expected {exact}, the mask's own, found {box}" in problem
    (problem,) = check_train_row(row)
    assert problem.startswith("conditioning_image")
    box[corner] += 1.0
    (problem,) = check_train_row(row)
    assert f"bbox: expected {exact} within 1 px, the mask's own, found {box}" in problem


def test_a_shard_of_another_schema_has_no_batches_to_state(tmp_path: Path) -> None:
    write(tmp_path / "s", [train_row(0, 1000)], "arrow")
    arrow_batches(tmp_path / "s", shard_schema(TRAIN_FEATURES))
    with pytest.raises(ShardError, match=r"s: expected the schema\n"):
        arrow_batches(tmp_path / "s", shard_schema(EVAL_FEATURES))
