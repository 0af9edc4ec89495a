"""builder.shards.write: what a shard holds, that it is whole, and what happens when it can't be."""

from __future__ import annotations

import hashlib
import resource
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asam_datasets import EVAL_FEATURES, TRAIN_FEATURES, Shard
from asam_datasets.batches import Layout
from builder.core.errors import ShardError
from builder.shards.write import BATCH_BYTES, ShardWriter, arrow_batches, shard_schema


def train_row(i: int, image_bytes: int = 200_000) -> dict[str, Any]:
    """A row of the train schema, of incompressible bytes; row 1 has no mask, row 2 no caption."""
    noise = np.random.default_rng(i).bytes(image_bytes)
    masks = 0 if i == 1 else 3
    return {
        "image": {"bytes": noise, "path": f"sa_{i}.jpg"},
        "text": None if i == 2 else f"caption é {i}",
        "conditioning_image": {"bytes": noise[:500], "path": None},
        "image_id": i,
        "file_name": f"sa_{i}.jpg",
        "width": 2250,
        "height": 1500,
        "masks": [{"bytes": noise[k : k + 100], "path": None} for k in range(masks)],
        "annotations": [
            {
                "id": 2**40 + k,
                "segmentation": {"size": [1500, 2250], "counts": f"\\abc{k}"},
                "bbox": [998, 0, 755.5, 567],
                "area": 12 + k,
                "predicted_iou": 1.02,
                "point_coords": [[0.1, 0.2]],
                "crop_box": [0, 0, 2250.0, 1500.0],
                "stability_score": 0.97,
            }
            for k in range(masks)
        ],
        "image_sha256": hashlib.sha256(noise).hexdigest(),
        "source": "sa_000000.tar",
        "num_rejected": 0,
    }


def eval_row(i: int, **changes: Any) -> dict[str, Any]:
    row = train_row(i, 1000)
    return {
        "image": row["image"],
        "image_id": str(i),
        "file_name": row["file_name"],
        "width": 3,
        "height": 2,
        "masks": row["masks"],
        "void_mask": None,
        "annotations": [
            {
                "id": 7,
                "category": None,
                "category_id": None,
                "segmentation": {"size": [2, 3], "counts": "06"},
                "bbox": [0.0, 0.0, 3.0, 2.0],
                "area": 6,
                "iscrowd": False,
            }
        ],
        "image_sha256": row["image_sha256"],
        "source": "camo",
        "num_rejected": 0,
        **changes,
    }


def write(
    path: Path, rows: list[dict[str, Any]], fmt: str, features: datasets.Features = TRAIN_FEATURES
) -> Shard:
    with ShardWriter(path, features, fmt) as writer:
        for row in rows:
            writer.add(row)
        return writer.close()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Enough for three record batches."""
    return [train_row(i) for i in range(100)]


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_rows_read_back_equal(tmp_path: Path, rows: list[dict[str, Any]], fmt: str) -> None:
    path = tmp_path / f"shard.{fmt}"
    entry = write(path, rows, fmt)
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all() if fmt == "arrow" else pq.read_table(file)
    assert table.to_pylist() == rows
    assert entry.rows == len(rows)
    assert entry.bytes == path.stat().st_size
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_rows_of_an_evaluation_config_read_back_equal(tmp_path: Path, fmt: str) -> None:
    path = tmp_path / f"shard.{fmt}"
    written = [eval_row(0), eval_row(1, image=None, void_mask={"bytes": b"png", "path": None})]
    write(path, written, fmt, EVAL_FEATURES)
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all() if fmt == "arrow" else pq.read_table(file)
    assert table.to_pylist() == written


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_the_same_rows_give_the_same_bytes(
    tmp_path: Path, rows: list[dict[str, Any]], fmt: str
) -> None:
    first = write(tmp_path / "a", rows, fmt)
    again = write(tmp_path / "b", [train_row(i) for i in range(100)], fmt)
    assert replace(first, file="b") == again
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_shard_without_rows_is_whole(tmp_path: Path, fmt: str) -> None:
    entry = write(tmp_path / "empty", [], fmt)
    assert (entry.rows, entry.batches) == (0, ())


def test_the_entry_says_where_each_column_of_each_batch_lies(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / "shard.arrow"
    entry = write(path, rows, "arrow")
    data = path.read_bytes()
    layout = Layout(TRAIN_FEATURES.arrow_schema)
    assert len(entry.batches) == 3
    start = 0
    for batch in entry.batches:
        body = data[batch.offset : batch.offset + batch.body]
        assert batch.body < 1.5 * BATCH_BYTES
        columns = batch.columns(layout)
        for number, (name, (first, size)) in enumerate(
            zip(layout.schema.names, columns, strict=True)
        ):
            column = body[first : first + size]  # nothing else of the file gives this column
            assert zlib.crc32(column) == batch.crc32[number]
            read = batch.column(number, layout, pa.py_buffer(column))
            expected = [row[name] for row in rows[start : start + batch.rows]]
            assert read.to_pylist() == expected
        start += batch.rows
    assert start == len(rows)


def test_metadata_is_in_the_form_that_all_versions_of_datasets_read(tmp_path: Path) -> None:
    write(tmp_path / "s", [train_row(0)], "arrow")
    with pa.OSFile(str(tmp_path / "s")) as file:
        schema = pa.ipc.open_stream(file).schema
    assert b'"List"' not in schema.metadata[b"huggingface"]
    assert datasets.Features.from_arrow_schema(schema) == TRAIN_FEATURES


def test_datasets_reads_a_shard_by_memory_map(tmp_path: Path) -> None:
    write(tmp_path / "s.arrow", [train_row(i) for i in range(3)], "arrow")
    loaded = datasets.Dataset.from_file(str(tmp_path / "s.arrow"))
    assert loaded.features == TRAIN_FEATURES
    assert loaded.with_format("arrow")[:].to_pylist() == [train_row(i) for i in range(3)]


def test_parquet_has_page_checksums_an_index_and_uncompressed_images(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / "s.parquet"
    write(path, rows, "parquet")
    assert pq.read_metadata(path).num_row_groups == 1  # 20 MB are less than ROW_GROUP_BYTES
    group = pq.read_metadata(path).row_group(0)
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    for name in ("image.bytes", "masks.list.element.bytes"):
        assert columns[name].compression == "UNCOMPRESSED"
        assert "RLE_DICTIONARY" not in columns[name].encodings
    assert columns["text"].compression == "SNAPPY"
    assert all(column.has_offset_index for column in columns.values())
    data = bytearray(path.read_bytes())
    data[columns["image.bytes"].data_page_offset + 1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": "one"}, r"row 1 \(sa_1.jpg\): the value of image_id is not of type int64"),
        ({"image_id": 2**63}, "the value of image_id"),
        ({"text": b"\xff"}, "the value of text is not of type string"),
        ({"masks": 3}, "the value of masks"),
        ({"surplus": 3}, r"unknown \['surplus'\]"),
    ],
)
def test_a_row_of_another_schema_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        write(tmp_path / "s", [train_row(0), {**train_row(1), **changes}], "arrow")
    assert not (tmp_path / "s").exists()


def test_a_row_without_a_column_is_named(tmp_path: Path) -> None:
    row = train_row(0)
    del row["text"]
    with pytest.raises(ShardError, match=r"missing \['text'\]"):
        write(tmp_path / "s", [row], "arrow")


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
@pytest.mark.parametrize("times", [0, 2])
def test_a_file_with_other_rows_than_were_added_gets_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: str, times: int
) -> None:
    """The library that writes the file drops each table, or writes it twice."""
    with ShardWriter(tmp_path / "s", TRAIN_FEATURES, fmt) as writer:
        for i in range(3):
            writer.add(train_row(i, 1000))
        inner = writer._writer

        class Faulty:
            def write_table(self, table: pa.Table) -> None:
                for _ in range(times):
                    inner.write_table(table)

            def close(self) -> None:
                inner.close()

        monkeypatch.setattr(writer, "_writer", Faulty())
        with pytest.raises(ShardError, match=rf"3 rows were written, {3 * times} read back"):
            writer.close()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 10 MB: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_full_disk_is_an_os_error_and_leaves_nothing(
    tmp_path: Path, rows: list[dict[str, Any]], fmt: str
) -> None:
    with pytest.raises(OSError, match="File too large"):
        write(tmp_path / "s", rows, fmt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["batches", "no end marker", "half a batch", "half a message"])
def test_a_cut_stream_is_noticed(tmp_path: Path, rows: list[dict[str, Any]], kept: str) -> None:
    path = tmp_path / "s"
    entry = write(path, rows, "arrow")
    before = entry.batches[-2]
    sizes = {
        "batches": before.offset + before.body,
        "no end marker": entry.bytes - 8,
        "half a batch": entry.bytes - 1000,
        "half a message": before.offset + before.body + 100,
    }
    with path.open("r+b") as file:
        file.truncate(sizes[kept])
    with pytest.raises(ShardError, match=r"not a whole Arrow stream|no end marker"):
        arrow_batches(path, shard_schema(TRAIN_FEATURES))
