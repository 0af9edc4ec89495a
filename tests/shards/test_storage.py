"""What storage sees of a shard: what is synced before it counts, and how Parquet is cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from asam_datasets import TRAIN_FEATURES
from builder.core.files import replace_durably, write_bytes
from builder.shards.write import ShardWriter
from tests.shards.test_write import train_row, write

IMAGE_BYTES = 20_000


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The name and size of each file at the moment when it was synced to disk."""
    found: list[tuple[str, int]] = []
    real = os.fsync

    def spy(file: int) -> None:
        real(file)
        found.append((Path(f"/proc/self/fd/{file}").readlink().name, os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", spy)
    return found


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_shard_is_whole_on_the_disk_before_it_has_an_entry(
    tmp_path: Path, synced: list[tuple[str, int]], fmt: str
) -> None:
    with ShardWriter(tmp_path / "s", TRAIN_FEATURES, fmt) as writer:
        writer.add(train_row(0, 1000))
        assert synced == []
        entry = writer.close()
    assert synced == [("s", entry.bytes)]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_is_too(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    write_bytes(tmp_path / "index.json", b"content")
    (temporary, size), (folder, _) = synced
    assert (temporary.startswith(".index.json."), temporary[-4:], size) == (True, ".tmp", 7)
    assert folder == tmp_path.name
    synced.clear()
    replace_durably(tmp_path / "index.json", tmp_path / "deep" / "index.json")
    assert [name for name, _ in synced] == ["deep"]


def page_ends(path: Path, rows: list[dict[str, Any]]) -> list[int]:
    """The ids of the rows whose image is the last one of its page.

    Images stand behind one another, each after its length of four bytes. A page's header takes
    more than that.
    """
    data = path.read_bytes()
    starts = [data.index(row["image"]["bytes"]) for row in rows]
    return [
        row["image_id"]
        for row, start, following in zip(rows, starts, starts[1:], strict=False)
        if following - start - IMAGE_BYTES > 4
    ]


def test_a_row_more_at_the_front_leaves_the_pages_behind_it_alone(tmp_path: Path) -> None:
    """Pages are cut by content, so that Xet finds in the second file what it has of the first."""
    rows = [train_row(i, IMAGE_BYTES) for i in range(200)]
    write(tmp_path / "first", rows[1:], "parquet")
    write(tmp_path / "second", rows, "parquet")
    first, second = (page_ends(tmp_path / name, rows[1:]) for name in ("first", "second"))
    assert len(first) > 3
    assert second == first
