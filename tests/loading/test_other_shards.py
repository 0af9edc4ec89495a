"""A shard of the stated size that is another one than the index describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asam_datasets import EVAL_FEATURES, TRAIN_FEATURES, CorruptDataError, load
from builder.shards.write import ShardWriter, shard_schema
from tests.contracts import rewrite
from tests.loading.conftest import Row, write_config
from tests.shards.test_write import eval_row

CONFIG = "sa_000000"
OTHERS: dict[str, tuple[datasets.Features, int]] = {
    "rows": (TRAIN_FEATURES, 15),
    "columns": (EVAL_FEATURES, 12),
}


def put(dist: Path, file: Path) -> None:
    """Give a config's only shard the content of another file; the index states that one's size."""
    size = file.stat().st_size
    folder = dist / "data" / CONFIG

    def state(document: dict[str, Any]) -> None:
        split = document["splits"]["train"]
        file.replace(folder / split["shards"][0]["file"])
        split["num_bytes"] = split["shards"][0]["bytes"] = size

    rewrite(folder / "index.json", state)


@pytest.mark.parametrize("what", OTHERS)
def test_a_mapped_shard_of_other_rows_or_columns_is_refused(
    copied: Path, tmp_path: Path, rows: list[Row], what: str
) -> None:
    features, count = OTHERS[what]
    other = tmp_path / "other"
    with ShardWriter(other, features, "arrow") as writer:
        for i in range(count):
            large = {"bytes": rows[i]["image"]["bytes"] * 2, "path": None}
            writer.add(rows[i] if what == "rows" else eval_row(i, image=large))
        writer.close()
    put(copied, other)
    with pytest.raises(CorruptDataError, match=rf"{what} .* expected, .* found; remove the file"):
        load(CONFIG, repo_or_path=copied)


def test_a_parquet_shard_of_other_rows_is_refused(tmp_path: Path, rows: list[Row]) -> None:
    dist = write_config(tmp_path / "dist", CONFIG, {"train": [rows[:3]]}, fmt="parquet")
    other = tmp_path / "other"
    with ShardWriter(other, TRAIN_FEATURES, "parquet") as writer:
        for row in rows[:2]:
            writer.add(row)
        writer.close()
    put(dist, other)
    with pytest.raises(CorruptDataError, match="3 rows expected, 2 found"):
        list(load(CONFIG, repo_or_path=dist, streaming=True, columns=["text"]))


def test_text_of_a_parquet_shard_that_is_no_text_is_refused(
    tmp_path: Path, rows: list[Row]
) -> None:
    """pyarrow reads such a file without a word."""
    dist = write_config(tmp_path / "dist", CONFIG, {"train": [rows[:3]]}, fmt="parquet")
    schema = shard_schema(TRAIN_FEATURES)
    table = pa.Table.from_pylist(rows[:3], schema=schema)
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xffc")])
    place = schema.get_field_index("text")
    other = tmp_path / "other"
    pq.write_table(table.set_column(place, schema.field("text"), text), other)
    put(dist, other)
    with pytest.raises(CorruptDataError, match=r"can't be read: .*UTF8"):
        list(load(CONFIG, repo_or_path=dist, streaming=True, columns=["text"]))
