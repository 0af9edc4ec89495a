"""image_root: someone's own images joined to the annotations, accepted by sha256."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asam_datasets import EVAL_FEATURES, ImageRootError, load
from tests.loading.conftest import Row, write_config
from tests.shards.test_write import eval_row

COUNT = 9


@pytest.fixture(params=["arrow", "parquet"])
def annotations_only(tmp_path: Path, rows: list[Row], request: pytest.FixtureRequest) -> Path:
    bare = [{**row, "image": None} for row in rows[:COUNT]]
    return write_config(tmp_path / "dist", "sa_000000", {"train": [bare]}, fmt=request.param)


def write_images(kind: str, folder: Path, images: dict[str, bytes]) -> Path:
    """The images as a person may have them; what to pass as image_root."""
    folder.mkdir()
    if kind in ("tar", "tars"):
        for i in range(1 if kind == "tar" else 3):
            names = list(images) if kind == "tar" else list(images)[i::3]
            with tarfile.open(folder / f"sa_{i:06d}.tar", "w") as tar:
                for name in names:
                    for member, data in ((f"./{name}", images[name]), (f"{name}.json", b"{}")):
                        info = tarfile.TarInfo(member)
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
        return folder / ("sa_000000.tar" if kind == "tar" else "*.tar")
    for name, data in images.items():
        path = folder / ("deep/er" if kind == "nested folder" else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "sa_*.jpg" if kind == "glob" else folder


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["tar", "tars", "folder", "nested folder", "glob"])
def test_images_are_joined(
    tmp_path: Path, rows: list[Row], annotations_only: Path, kind: str, streaming: bool
) -> None:
    images = {row["file_name"]: row["image"]["bytes"] for row in rows[:COUNT]}
    root = write_images(kind, tmp_path / "images", images)
    loaded = load(
        "sa_000000",
        repo_or_path=annotations_only,
        image_root=root,
        streaming=streaming,
        columns=["text", "image"],
        cache_dir=tmp_path / "cache",
    )
    found = list(loaded.decode(False)) if streaming else loaded.with_format("arrow")[:].to_pylist()
    assert found == [{"text": row["text"], "image": row["image"]} for row in rows[:COUNT]]


def test_without_image_root_the_image_is_null(annotations_only: Path) -> None:
    stream = load("sa_000000", repo_or_path=annotations_only, streaming=True)
    assert [row["image"] for row in stream.decode(False)] == [None] * COUNT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sa_4.jpg": None}, "no sa_4.jpg there"),
        ({"sa_4.jpg": b"another"}, "sa_4.jpg in .* is not the image that was annotated: sha256"),
        ({f"sa_{i}.jpg": None for i in range(COUNT)}, "images: no file there"),
    ],
)
def test_a_missing_or_different_image_is_named(
    tmp_path: Path,
    rows: list[Row],
    annotations_only: Path,
    change: dict[str, bytes | None],
    message: str,
) -> None:
    own = {row["file_name"]: row["image"]["bytes"] for row in rows[:COUNT]} | change
    root = write_images("folder", tmp_path / "images", {k: v for k, v in own.items() if v})
    with pytest.raises(ImageRootError, match=message):
        list(
            load(
                "sa_000000", repo_or_path=annotations_only, image_root=root, streaming=True
            ).decode(False)
        )


@pytest.mark.parametrize("damage", [gzip.compress, lambda data: data[: len(data) // 2]])
def test_a_tar_that_is_compressed_or_cut_off_is_named(
    tmp_path: Path,
    rows: list[Row],
    annotations_only: Path,
    damage: Callable[[bytes], bytes],
) -> None:
    own = {row["file_name"]: row["image"]["bytes"] for row in rows[:COUNT]}
    tar = write_images("tar", tmp_path / "images", own)
    tar.write_bytes(damage(tar.read_bytes()))
    with pytest.raises(ImageRootError, match=rf"{tar.name} can't be read as a plain tar"):
        load("sa_000000", repo_or_path=annotations_only, image_root=tar, streaming=True)


def test_an_image_that_went_away_is_named(
    tmp_path: Path, rows: list[Row], annotations_only: Path
) -> None:
    own = {row["file_name"]: row["image"]["bytes"] for row in rows[:COUNT]}
    root = write_images("folder", tmp_path / "images", own)
    stream = load("sa_000000", repo_or_path=annotations_only, image_root=root, streaming=True)
    next(root.rglob("sa_4.jpg")).unlink()
    with pytest.raises(ImageRootError, match=r"sa_4.jpg can't be read"):
        list(stream.decode(False))


def test_images_of_one_name_are_told_apart_by_their_sha256(tmp_path: Path) -> None:
    """As in an evaluation release, whose paths stand below its root."""
    first, second = eval_row(0, file_name="a/1.jpg"), eval_row(1, file_name="b/1.jpg")
    images = {"b/1.jpg": first["image"]["bytes"], "c/1.jpg": second["image"]["bytes"]}
    root = write_images("folder", tmp_path / "release", images)
    bare = [{**row, "image": None} for row in (first, second)]
    dist = write_config(
        tmp_path / "dist", "camo", {"test": [bare]}, kind="eval", features=EVAL_FEATURES
    )
    stream = load("camo", repo_or_path=dist, image_root=root, streaming=True).decode(False)
    assert [row["image"]["bytes"] for row in stream] == list(images.values())
