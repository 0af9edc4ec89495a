"""The builder class, as datasets 4 and later use it; datasets 3 runs the file as a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from asam_datasets import (
    REPO_ID,
    TRAIN_FEATURES,
    AsamDatasets,
    UnknownNameError,
    config_names,
)
from builder.card.script import script_path
from tests.loading.conftest import Row, card, write_config


def test_it_copies_a_config_into_the_cache(dist: Path, tmp_path: Path, rows: list[Row]) -> None:
    builder = AsamDatasets(config_name="sa_000000", data_dir=str(dist), cache_dir=str(tmp_path))
    builder.download_and_prepare()
    loaded = builder.as_dataset("train")
    assert loaded.features == TRAIN_FEATURES
    assert loaded.with_format("arrow")[:].to_pylist() == rows


def test_it_uses_several_processes(dist: Path, tmp_path: Path) -> None:
    builder = AsamDatasets(
        config_name="sa_000000", data_dir=str(dist), cache_dir=str(tmp_path), columns=["image_id"]
    )
    builder.download_and_prepare(num_proc=2)
    assert builder.as_dataset("train")["image_id"][:] == list(range(120))


def test_it_streams(dist: Path, tmp_path: Path, rows: list[Row]) -> None:
    builder = AsamDatasets(config_name="sa_000000", data_dir=str(dist), cache_dir=str(tmp_path))
    assert list(builder.as_streaming_dataset("train").decode(False)) == rows


def test_new_data_are_not_hidden_by_an_old_cache(tmp_path: Path, rows: list[Row]) -> None:
    found = []
    for part in (rows[:3], rows[3:5]):
        folder = tmp_path / "dist"
        if folder.exists():
            (folder / "data/sa_000000/index.json").unlink()
            (folder / "data/sa_000000/train-00000-of-00001.arrow").unlink()
            (folder / "data/sa_000000").rmdir()
        dist = write_config(folder, "sa_000000", {"train": [part]})
        builder = AsamDatasets(
            config_name="sa_000000", data_dir=str(dist), cache_dir=str(tmp_path / "cache")
        )
        builder.download_and_prepare()
        found.append(builder.as_dataset("train")["image_id"][:])
    assert found == [[0, 1, 2], [3, 4]]


def test_its_table_has_every_config(dist: Path, tmp_path: Path) -> None:
    assert list(AsamDatasets.builder_configs) == config_names()
    assert len(config_names()) == 1000 + 30 + 23 + 29
    assert {"sa_000000", "sa_000999", "cityscapes", "cityscapes_sam", "cityscapes_asam"} <= set(
        config_names()
    )
    with pytest.raises(ValueError, match="BuilderConfig 'sa_00000' not found"):
        AsamDatasets(config_name="sa_00000", data_dir=str(dist))
    with pytest.raises(UnknownNameError, match=r"no config 'sa_000007' .* There are: sa_000000"):
        AsamDatasets(config_name="sa_000007", data_dir=str(dist))


@pytest.mark.parametrize("streaming", [False, True])
def test_load_dataset_reads_a_folder_that_holds_the_file(
    dist: Path, tmp_path: Path, rows: list[Row], streaming: bool
) -> None:
    """The card's YAML alone does it; asam_datasets.py beside it is no loading script."""
    folder = write_config(tmp_path / "ASAM-Datasets", "sa_000000", {"train": [rows[:9]]})
    (folder / "README.md").write_text(card({"sa_000000": ["train"]}))
    (folder / "asam_datasets.py").write_text(script_path().read_text())
    loaded = datasets.load_dataset(
        str(folder),
        "sa_000000",
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path / "cache"),
    )
    assert loaded.features == TRAIN_FEATURES
    found = list(loaded.decode(False)) if streaming else loaded.with_format("arrow")[:].to_pylist()
    assert found == rows[:9]


def test_the_file_is_never_named_like_the_repo() -> None:
    """Else load_dataset takes it for a loading script, which datasets 4 and later refuse."""
    assert script_path().stem != REPO_ID.split("/")[1]


def test_the_file_stands_alone(tmp_path: Path) -> None:
    """Fetched with hf_hub_download, it imports without the builder, torch or anything beside it."""
    (tmp_path / "asam_datasets.py").write_bytes(script_path().read_bytes())
    code = (
        "import sys, asam_datasets; "
        "print([m for m in ('builder', 'torch', 'pycocotools') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
