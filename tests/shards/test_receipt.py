"""A receipt is used whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asam_datasets import EVAL_FEATURES, ContractError
from asam_datasets.batches import Batch, Layout
from asam_datasets.contract import read_document, signed
from asam_datasets.shards import Shard
from builder.core.records import Reject
from builder.shards.receipt import Receipt, read_receipt, receipt_path, write_receipt
from builder.shards.write import ShardWriter
from tests.contracts import OTHERS, REMOVE, Document, flips, nodes, replaced, rewrite, set_in
from tests.shards.test_write import eval_row

FILE = "val-00001-of-00004.arrow"
LAYOUT = Layout(EVAL_FEATURES.arrow_schema)
COUNTS = {"images": 1, "masks": 3, "captions_missing": 0, "orientation_reset": 1}
BATCH = Batch(
    rows=1,
    offset=1000,
    body=2000,
    lengths=(1,) * LAYOUT.arrays[-1],
    nulls=(0,) * LAYOUT.arrays[-1],
    buffers=(8,) * LAYOUT.buffers[-1],
    crc32=(7,) * len(LAYOUT.schema),
)


@pytest.fixture
def written(tmp_path: Path) -> Receipt:
    """A receipt of a shard of one row, with a reject, in a dist's place for it."""
    with ShardWriter(tmp_path / FILE, EVAL_FEATURES, "arrow") as writer:
        writer.add(eval_row(1))
        shard = writer.close()
    receipt = Receipt(
        config="camo",
        split="val",
        shard=shard,
        plan_sha256="0" * 64,
        settings_sha256="1" * 64,
        versions_sha256="2" * 64,
        inputs_sha256="3" * 64,
        source={"name": "camo", "members": 3},
        counts=COUNTS,
        unknown_keys={"extra": 2},
        rejects=(Reject("camo", "a.png", "mask_empty", "pixels", "none", 7),),
    )
    write_receipt(tmp_path, receipt)
    return receipt


def read(dist: Path, config: str = "camo", file: str = FILE) -> Receipt | None:
    return read_receipt(dist, config, file, LAYOUT)


def test_it_comes_back_as_it_was_written(written: Receipt, tmp_path: Path) -> None:
    assert read(tmp_path) == written


def test_one_of_an_older_version_says_nothing_of_orientations(
    written: Receipt, tmp_path: Path
) -> None:
    path = receipt_path(tmp_path, "camo", FILE)
    rewrite(path, lambda document: document["counts"].pop("orientation_reset"))
    assert read(tmp_path) == replace(written, counts={**COUNTS, "orientation_reset": 0})
    assert read(tmp_path, file="val-00002-of-00004.arrow") is None


def test_every_flipped_bit_is_refused_or_changes_nothing(written: Receipt, tmp_path: Path) -> None:
    path = receipt_path(tmp_path, "camo", FILE)
    same = 0
    for damaged in flips(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            found = read(tmp_path)
        except ContractError as error:
            message = str(error)
        else:
            assert found == written
            message = str(path)
            same += 1
        assert message.startswith(str(path))
    assert same < 100  # white space


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("config", value="doors"), "config: expected 'camo', found 'doors'"),
        (set_in("split", value="all"), "split: expected 'val'"),
        (set_in("shard", "file", value="../" + FILE), f"shard.file: expected '{FILE}'"),
        (set_in("shard", "rows", value=-1), "shard.rows: expected an integer from 0"),
        (set_in("shard", value=[]), r"shard: expected an object, found \[\]"),
        (set_in("counts", value={}), "counts: expected a field 'images', found none"),
        (set_in("counts", "images", value=2), "counts.images: expected 1, found 2"),
        (set_in("counts", "masks", value=True), "counts.masks: expected an integer"),
        (set_in("plan_sha256", value="0"), "plan_sha256: expected 64 hexadecimal digits"),
        (set_in("source", value="camo"), "source: expected an object"),
        (set_in("rejects", value=[{}]), r"rejects\[0\]: expected a field 'source', found none"),
        (set_in("rejects", 0, "annotation_id", value=[]), r"annotation_id: expected an integer, a"),
        (set_in("unknown_keys", "extra", value=-1), "unknown_keys.extra: expected an integer"),
        (set_in("format_version", value=1), "is of format 1, expected 2: build the config again"),
        (set_in("format_version", value=3), "is of format 3, .* reads up to 2"),
    ],
)
def test_what_is_wrong_in_a_receipt_is_named(
    written: Receipt, tmp_path: Path, change: Callable[[Document], None], message: str
) -> None:
    path = receipt_path(tmp_path, "camo", FILE)
    rewrite(path, change)
    with pytest.raises(ContractError, match=rf"{FILE}.json.*{message}"):
        read(tmp_path)


def test_unknown_fields_are_ignored(written: Receipt, tmp_path: Path) -> None:
    path = receipt_path(tmp_path, "camo", FILE)
    document: dict[str, Any] = json.loads(path.read_bytes())
    path.write_text(json.dumps(signed({**document, "later": [1]})))
    assert read(tmp_path) == replace(written)


@given(st.data())
def test_any_value_of_another_kind_is_refused_or_harmless(data: Any) -> None:
    shard = Shard(FILE, 1, 5000, "2" * 64, (BATCH,))
    hashes = ("0" * 64, "1" * 64, "2" * 64, "3" * 64)
    receipt = Receipt("camo", "val", shard, *hashes, {"name": "x"}, COUNTS, {}, ())
    document = receipt.to_json()
    path = data.draw(st.sampled_from(nodes(document)[1:]))
    value = data.draw(st.sampled_from([*OTHERS, REMOVE]))
    try:
        node, _ = read_document(replaced(document, path, value), FILE, 2)
        found = Receipt.from_json(node, "camo", FILE, LAYOUT)
    except ContractError:
        return
    assert (found.shard.file, found.shard.rows) == (FILE, 1)
