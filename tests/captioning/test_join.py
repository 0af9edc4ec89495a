"""Captions joined to what is built: from a file, from a folder, or made on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import builder.build
from builder.captioning.join import join_captions
from builder.captioning.store import captions_path, provenance_path, rejects_path
from builder.checking.rows import read_rows
from builder.core.console import EXIT_OK
from builder.core.errors import CaptionError
from builder.core.layout import CAPTIONS, config_folder
from builder.shards.index import read_index
from builder.sources.sa1b import open_sources
from tests.factory import members, write_tar


def test_a_build_captions_its_images_and_says_by_which_model(
    tmp_path: Path, model_folder: Path
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1, 2, 3]))
    dist = tmp_path / "dist"
    arguments = [str(tar), "--caption-model", str(model_folder), "--device", "cpu", "--quiet"]
    arguments += ["--limit", "2", "--out", str(dist)]
    assert builder.build.main(arguments) == EXIT_OK
    lines = captions_path(dist / CAPTIONS, "sa_000000").read_text().splitlines()
    written = {line["img"]: line["prompt"] for line in map(json.loads, lines)}
    index = read_index(dist, "sa_000000")
    model = index.settings["captions_model"]
    assert model.startswith(f"{model_folder.name}@sha256:")
    assert "preset" not in model
    card = (dist / "README.md").read_text()
    assert f"| `sa_000000` | {model} |" in card
    (shard,) = index.shards
    rows = list(read_rows(config_folder(dist, "sa_000000") / shard.file, "arrow"))
    assert [row["text"] for row in rows] == [written.get(row["file_name"]) for row in rows]
    assert written.keys() <= {"sa_1.jpg", "sa_2.jpg"}
    rejects = index.counts.rejects
    assert len(written) + sum(rejects.values()) == 2


def test_a_folder_holds_a_file_per_config_with_its_rejects(tmp_path: Path) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members([1])))])
    file = captions_path(tmp_path, "sa_000000")
    file.write_text('{"img": "sa_1.jpg", "prompt": "one"}\nhalf a line\n')
    provenance_path(file).write_text('{"model": "m", "revision": "abc"}')
    reject = {"source": "sa_000000.tar", "member": "sa_2.jpg", "reason": "caption_degenerate"}
    rejects_path(file).write_text(json.dumps(reject | {"expected": "words", "found": "..."}))
    joined = join_captions(source, tmp_path)
    assert joined.captions == {"sa_1.jpg": "one"}
    assert joined.captions_model == "m@abc"
    reasons = [reject.reason for reject in joined.caption_rejects]
    assert reasons == ["captions_broken_line", "caption_degenerate"]


@pytest.mark.parametrize("beside", [provenance_path, rejects_path])
def test_what_stands_beside_the_captions_must_be_readable(tmp_path: Path, beside: object) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members([1])))])
    file = captions_path(tmp_path, "sa_000000")
    file.write_text('{"img": "sa_1.jpg", "prompt": "one"}\n')
    path = beside(file)  # type: ignore[operator]
    for damaged in ("{", "[" * 100_000, '{"model": 7}', '{"model": "m", "runs": {}}'):
        path.write_text(damaged)
        with pytest.raises(CaptionError, match=rf"{path.name}.*: expected "):
            join_captions(source, file)
    path.unlink()
    path.mkdir()
    with pytest.raises(CaptionError, match=rf"{path.name}: expected a file, found a folder"):
        join_captions(source, file)
