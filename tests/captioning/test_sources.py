"""Several sources in one run: a bad one does not stop the others, and is known early."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import builder.build
import builder.caption
from builder.captioning.model import load
from builder.captioning.run import caption_sources
from builder.captioning.settings import CaptionSettings, RunOptions
from builder.captioning.store import captions_path, read_captions, rejects_path
from builder.core.console import EXIT_FAILED, EXIT_OK, run_command
from builder.core.errors import CaptionError, CaptionsFileError, SettingsError, SourceError
from builder.core.layout import CAPTIONS
from tests.captioning.test_run import photograph
from tests.factory import members, write_tar

CPU = RunOptions(devices=("cpu",), batch=4, threads=1, quiet=True)


@dataclass(frozen=True)
class Photographs:
    """A source, of which the image numbered `broken` can't be read."""

    config: str
    images: int = 6
    broken: int | None = None

    @property
    def name(self) -> str:
        return self.config

    def names(self) -> list[str]:
        return [f"{self.config}_{i}.jpg" for i in range(self.images)]

    def read(self, name: str) -> bytes:
        number = int(name.removesuffix(".jpg").rpartition("_")[2])
        if number == self.broken:
            raise SourceError(f"{self.config}: {name} can't be read")
        return photograph(number)


@dataclass(frozen=True)
class Unlisted(Photographs):
    """A source that can't be listed."""

    def names(self) -> list[str]:
        raise SourceError(f"{self.config}: nothing there")


def tars(folder: Path) -> list[Path]:
    """A good one, one that is cut off, and another good one."""
    made = [
        write_tar(folder / f"sa_00000{i}.tar", members(range(10 * i + 1, 10 * i + 4)))
        for i in range(3)
    ]
    made[1].write_bytes(made[1].read_bytes()[:3000])
    return made


def command(settings: CaptionSettings, *arguments: object) -> int:
    model = ["--model", settings.model, "--device", "cpu", "--quiet"]
    return run_command(builder.caption.main, [*map(str, arguments), *model])


def test_a_bad_source_does_not_keep_the_others_from_being_captioned(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "captions"
    assert command(settings, *tars(tmp_path), "--out", out, "--json") == EXIT_FAILED
    said = capsys.readouterr()
    assert "error: sa_000001: " in said.err
    assert "the tar is cut off or damaged" in said.err
    assert "1 of 3 sources failed: sa_000001; the others are captioned" in said.err
    assert "Traceback" not in said.err
    documents = json.loads(said.out)
    assert [(each["config"], each["captions"]) for each in documents] == [
        ("sa_000000", 3),
        ("sa_000001", 0),
        ("sa_000002", 3),
    ]
    assert [each["error"] is None for each in documents] == [True, False, True]
    assert not captions_path(out, "sa_000001").exists()


def test_a_single_bad_source_ends_the_run_before_the_model_is_loaded(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = replace(settings, model=str(tmp_path / "nowhere"))
    _, bad, _ = tars(tmp_path)
    assert command(nowhere, bad, "--out", tmp_path / "captions") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "the tar is cut off or damaged" in said
    assert "nowhere" not in said
    assert command(nowhere, bad, tmp_path / "sa_9.tar", "--out", tmp_path / "c") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "2 of 2 sources failed: sa_000001, sa_9" in said
    assert "nowhere" not in said


def test_a_captions_file_that_is_refused_does_not_stop_the_others(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    path = captions_path(tmp_path, "b")
    path.write_text('{"img": "sa_1.jpg", "prompt": "of someone"}\n')
    sources = [Photographs(name) for name in "abc"]
    summaries = caption_sources(sources, tmp_path, settings, CPU)
    assert [each.captions + sum(each.rejects.values()) for each in summaries] == [6, 0, 6]
    assert summaries[1].error is not None
    assert "provenance" in summaries[1].error
    with pytest.raises(CaptionsFileError, match="provenance"):
        caption_sources(sources[1:2], tmp_path, settings, CPU)


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")], ids=["one device", "two"])
def test_a_source_that_breaks_off_leaves_nothing_in_the_next_one(
    devices: tuple[str, ...], settings: CaptionSettings, tmp_path: Path
) -> None:
    options = replace(CPU, devices=devices, batch=2)
    settings = replace(settings, max_new_tokens=4, num_beams=2)
    sources = [
        Photographs("a", 9),
        Photographs("b", 24, broken=4),  # of the first process
        Photographs("c", 9),  # here the second one is still at work on the source before
        Photographs("d", 24, broken=20),  # of the second one, where there are two
        Unlisted("e"),
        Photographs("f", 9),
    ]
    summaries = caption_sources(sources, tmp_path / "all", settings, options)
    assert [each.config for each in summaries if each.error] == ["b", "d", "e"]
    for name in "bd":
        own = read_captions(captions_path(tmp_path / "all", name))
        assert all(image.startswith(f"{name}_") for image in own)
    for name in "acf":
        (alone,) = caption_sources([Photographs(name, 9)], tmp_path / "alone", settings, CPU)
        path = captions_path(tmp_path / "all", name)
        assert path.read_bytes() == alone.path.read_bytes()
        assert rejects_path(path).read_bytes() == rejects_path(alone.path).read_bytes()
        assert alone.captions
    whole = [Photographs("b", 24)]
    (mended,) = caption_sources(whole, tmp_path / "all", settings, CPU)
    (undisturbed,) = caption_sources(whole, tmp_path / "alone", settings, CPU)
    assert mended.path.read_bytes() == undisturbed.path.read_bytes()


def test_a_build_captions_and_builds_the_others(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = tmp_path / "dist"
    arguments = [*tars(tmp_path), "--caption-model", settings.model, "--out", dist]
    arguments += ["--device", "cpu", "--workers", "1", "--quiet"]
    assert run_command(builder.build.main, list(map(str, arguments))) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "error: sa_000001: " in said
    assert "1 of 3 sources failed; the others are built" in said
    for config in ("sa_000000", "sa_000002"):
        assert (dist / "data" / config / "index.json").exists()
        assert len(read_captions(captions_path(dist / CAPTIONS, config))) == 3
        assert f"{config}: 3 images" in said
    assert not (dist / "data" / "sa_000001").exists()


def test_a_run_in_which_every_image_is_rejected_fails(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sa_000000"
    folder.mkdir()
    for i in (1, 2):
        (folder / f"sa_{i}.jpg").write_bytes(b"no image")
        (folder / f"sa_{i}.json").write_bytes(b"{}")
    expected = "error: sa_000000: no caption was made: 2 images rejected, 2 of them for "
    out, dist = tmp_path / "captions", tmp_path / "dist"
    assert command(settings, folder, "--out", out) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{expected}image_undecodable")
    assert f"delete {rejects_path(captions_path(out, 'sa_000000'))}, and run" in line
    arguments = [folder, "--caption-model", settings.model, "--out", dist]
    arguments += ["--device", "cpu", "--workers", "1", "--quiet"]
    assert run_command(builder.build.main, list(map(str, arguments))) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{expected}image_undecodable")
    assert not (dist / "data").exists()


def test_a_build_without_the_captions_of_one_source_builds_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tars(tmp_path)[::2]
    folder = tmp_path / "captions"
    folder.mkdir()
    captions_path(folder, "sa_000002").write_text('{"img": "sa_21.jpg", "prompt": "a dog"}\n')
    arguments = [*good, "--captions", folder, "--out", tmp_path / "dist", "--workers", "1"]
    assert run_command(builder.build.main, list(map(str, arguments))) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "error: sa_000000: captions file " in said
    assert "sa_000002: 3 images" in said


@pytest.mark.parametrize("below", ["", "captions"])
def test_an_out_that_is_no_folder_is_refused_before_the_model_is_loaded(
    below: str, settings: CaptionSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    nowhere = replace(settings, model=str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"can't be a folder .*choose another --out"):
        caption_sources([Photographs("a")], tmp_path / "file" / below, nowhere, CPU)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_that_may_not_be_written_is_refused(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match="no permission to write there"):
        caption_sources([Photographs("a")], tmp_path, settings, CPU)


def test_an_engine_that_the_model_is_not_for_is_refused_before_its_weights_are_read(
    model_folder: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    shutil.copyfile(model_folder / "config.json", tmp_path / "config.json")
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"] = {"model_type": "opt"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptionError, match="is only for BLIP-2 with T5, found BLIP-2 with OPT"):
        load(replace(settings, model=str(tmp_path)), torch.device("cpu"), "continuous")


def test_a_caption_that_nearly_all_images_share_is_a_warning(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sa_000000"
    folder.mkdir()
    for i in range(22):
        (folder / f"sa_{i}.jpg").write_bytes(photograph(max(3, i - 17)))
    arguments = [folder, "--out", tmp_path / "captions", "--json", "--prompt", ""]
    assert command(settings, *arguments) == EXIT_OK
    said = capsys.readouterr()
    shared = json.loads(said.out)[0]["shared_caption"]
    assert shared["images"] == 21
    warning = f"warning: sa_000000: 21 of 22 images have the caption {shared['caption']!r}"
    assert warning in said.err
    (folder / "sa_22.jpg").write_bytes(photograph(30))
    (folder / "sa_23.jpg").write_bytes(photograph(31))
    assert command(settings, *arguments) == EXIT_OK
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["shared_caption"] is None
    assert "warning" not in said.err


def test_a_tar_with_none_of_the_chosen_images_does_not_stop_the_others(
    settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist, (first, _, last) = tmp_path / "dist", tars(tmp_path)
    (tmp_path / "ids.txt").write_text("21\n")
    arguments = [first, last, "--image-ids", tmp_path / "ids.txt", "--out", dist, "--quiet"]
    captioned = ["--caption-model", settings.model, "--device", "cpu", "--workers", "1"]
    for more in (captioned, ["--dry-run"]):
        assert run_command(builder.build.main, list(map(str, [*arguments, *more]))) == EXIT_FAILED
        said = capsys.readouterr().err
        assert said.count("error: ") == 1
        assert "it holds none of the 1 image ids" in said
        assert "1 of 2 sources failed" in said
    assert [path.parent.name for path in dist.glob("data/*/index.json")] == ["sa_000002"]
