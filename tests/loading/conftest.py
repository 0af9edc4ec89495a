"""A small dist whose rows are known, with many record batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from asam_datasets import TRAIN_FEATURES, legacy_metadata
from asam_datasets.index import Counts, Index, Rejects
from asam_datasets.shards import Split
from builder.shards.write import ShardWriter
from tests.published import published
from tests.shards.test_write import train_row

Row = dict[str, Any]
MakeDist = Callable[..., Path]


def write_config(
    dist: Path,
    config: str,
    splits: dict[str, list[list[Row]]],
    *,
    fmt: str = "arrow",
    kind: str = "train",
    features: datasets.Features = TRAIN_FEATURES,
    batch_bytes: int | None = 60_000,
) -> Path:
    """A config of the given rows, shard by shard; an index of what the loader reads of it."""
    folder = dist / "data" / config
    folder.mkdir(parents=True)
    made = {}
    for split, shards in splits.items():
        entries = []
        for number, rows in enumerate(shards):
            name = f"{split}-{number:05d}-of-{len(shards):05d}.{fmt}"
            with ShardWriter(folder / name, features, fmt, batch_bytes) as writer:
                for row in rows:
                    writer.add(row)
                entries.append(writer.close())
        made[split] = Split(split, tuple(entries))
    number = sum(split.num_rows for split in made.values())
    index = Index(
        config=config,
        kind=kind,
        format=fmt,
        features=features,
        annotations_only=False,
        source={"name": "rows made up"},
        settings={"format": fmt},
        code_version="0",
        counts=Counts(number, 0, 0, {}, {}),
        rejects=Rejects(0, hashlib.sha256(b"").hexdigest()),
        splits=made,
    )
    (folder / "index.json").write_text(json.dumps(index.to_json()))
    return dist


def card(configs: dict[str, list[str]], fmt: str = "arrow") -> str:
    """A card with nothing but the YAML that load_dataset needs."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: data/{config}/{split}-*.{fmt}"]
    return "\n".join([*lines, "---", ""])


# Each of their tests runs twice: on the package, and on the published file.
ON_BOTH = ("test_builder", "test_images", "test_load", "test_resume", "test_sized_stream")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH:
        metafunc.parametrize("loading_code", ["package", "file"], indirect=True)


@pytest.fixture(autouse=True)
def loading_code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For "file": what a test imported from asam_datasets comes from the published file."""
    if getattr(request, "param", "package") == "file":
        for name in published().__all__:
            if name in vars(request.module):
                monkeypatch.setattr(request.module, name, getattr(published(), name))


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """120 rows, whose images are of 20 kB: three to a record batch."""
    return [train_row(i, 20_000) for i in range(120)]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    """Config sa_000000: 120 rows in four shards of ten record batches. Read only."""
    shards = [rows[i : i + 30] for i in range(0, 120, 30)]
    made = write_config(tmp_path_factory.mktemp("dist"), "sa_000000", {"train": shards})
    (made / "README.md").write_text(card({"sa_000000": ["train"]}))
    return made


@pytest.fixture
def copied(tmp_path: Path, rows: list[Row]) -> Path:
    """A dist to damage: one shard, four record batches."""
    return write_config(tmp_path / "dist", "sa_000000", {"train": [rows[:12]]})


def image_ids(stream: Any) -> list[int]:
    return [row["image_id"] for row in stream]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


__all__ = ["MakeDist", "Row", "card", "image_ids", "legacy_metadata", "sha256", "write_config"]
