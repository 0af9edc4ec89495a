"""A config comes out as ASAM's folder tree: whole, equal to its source, however it was made."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from asam_datasets import CorruptDataError, ImageRootError, UnknownNameError
from builder.captioning.store import read_captions
from builder.core import pool
from builder.core.console import run_command
from builder.core.errors import CaptionError, SettingsError, ShardError
from builder.export import main
from builder.exporting.origin import Origin
from builder.exporting.result import Exported
from builder.exporting.tree import export_config
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, open_sources
from tests import recipe
from tests.factory import members, record, write_tar
from tests.loading.format1 import downgrade

CONFIG = "sa_000000"
IDS = range(1, 13)
CAPTIONS = {f"sa_{i}.jpg": f'picture "{i}", naïve' for i in IDS}


def build(
    tar: Path, dist: Path, fmt: str = "arrow", captions: dict[str, str] | None = None, **kwargs: Any
) -> Path:
    (source,) = open_sources([str(tar)])
    captions = CAPTIONS if captions is None else captions
    source = Sa1bSource(source.archive, source.config, captions=captions, **kwargs)
    build_config(source, dist, Settings(fmt, 12_000), quiet=True)
    return dist


def export(dist: Path, out: Path, **kwargs: Any) -> Exported:
    root = kwargs.pop("image_root", None)
    return export_config(Origin(str(dist), CONFIG, image_root=root), out, **kwargs)


def files(folder: Path) -> dict[str, bytes]:
    """Every file by its path, without what starts with a dot."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


def prompts(path: Path) -> dict[str, str | None]:
    """A captions file as the project itself reads it."""
    captions = read_captions(path)
    return {name: captions.get(name) for name in captions}


@pytest.fixture(scope="module")
def source_members() -> dict[str, bytes]:
    # The second image has no mask.
    _, empty = record(2)
    return members(IDS, {2: {**empty, "annotations": []}})


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory, source_members: dict[str, bytes]) -> Path:
    return write_tar(tmp_path_factory.mktemp("tar") / f"{CONFIG}.tar", source_members)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory, tar: Path) -> Path:
    folder = build(tar, tmp_path_factory.mktemp("dist"))
    assert len(list((folder / "data" / CONFIG).glob("*.arrow"))) >= 4
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Path:
    out = tmp_path_factory.mktemp("out") / "SAM-1B"
    export(dist, out)
    return out


def test_jpg_and_json_come_back_as_the_tar_had_them(
    tree: Path, source_members: dict[str, bytes]
) -> None:
    for name, data in source_members.items():
        assert (tree / CONFIG / name).read_bytes() == data


def test_the_tree_holds_what_asam_reads_and_nothing_else(
    tree: Path, source_members: dict[str, bytes]
) -> None:
    expected = {f"{CONFIG}-blip2-caption.json", f"{CONFIG}-controlnet-train.json"}
    for i in IDS:
        count = len(json.loads(source_members[f"sa_{i}.json"])["annotations"])
        expected |= {f"{CONFIG}/sa_{i}{suffix}" for suffix in (".jpg", ".json", ".png")}
        expected |= {f"{CONFIG}/sa_{i}/segmentation_{k}.png" for k in range(count)}
    assert set(files(tree)) == expected
    assert {path.name for path in tree.iterdir()} == {
        *(CONFIG, f"{CONFIG}-blip2-caption.json", f"{CONFIG}-controlnet-train.json"),
        ".export",
    }
    assert list((tree / CONFIG / "sa_2").iterdir()) == []


def masks_of(folder: Path) -> list[np.ndarray]:
    """What segmentation_0.png and so on show, (H, W) of 0 and 255."""
    found = []
    for k in range(len(list(folder.iterdir()))):
        with Image.open(folder / f"segmentation_{k}.png") as image:
            found.append(np.asarray(image.convert("L")))
    return found


def test_mask_files_are_numbered_as_by_the_recipe(tree: Path) -> None:
    for i in IDS:
        annotations = json.loads((tree / CONFIG / f"sa_{i}.json").read_bytes())["annotations"]
        assert_equal(masks_of(tree / CONFIG / f"sa_{i}"), recipe.masks(annotations))


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def test_control_images_are_those_of_the_recipe(tree: Path) -> None:
    for i in IDS:
        record = json.loads((tree / CONFIG / f"sa_{i}.json").read_bytes())
        size = record["image"]["height"], record["image"]["width"]
        with Image.open(tree / CONFIG / f"sa_{i}.png") as image:
            found = np.asarray(image)
        assert np.array_equal(found, recipe.control_image(record["annotations"], *size))


def test_both_json_lines_files_name_every_image(tree: Path) -> None:
    lines = (tree / f"{CONFIG}-blip2-caption.json").read_text().splitlines()
    assert {line["img"]: line["prompt"] for line in map(json.loads, lines)} == CAPTIONS
    assert prompts(tree / f"{CONFIG}-blip2-caption.json") == CAPTIONS
    captions = (tree / f"{CONFIG}-blip2-caption.json").read_text()
    assert captions == "".join(
        json.dumps({"img": f"sa_{i}.jpg", "prompt": CAPTIONS[f"sa_{i}.jpg"]}) + "\n" for i in IDS
    )
    pairs = (tree / f"{CONFIG}-controlnet-train.json").read_text()
    assert pairs == recipe.pairs(captions)
    assert len(pairs.split("\n")) == len(IDS)


def test_the_lists_are_in_the_order_of_the_image_ids(tmp_path: Path) -> None:
    ids = (10, 2, 30, 1)
    tar = write_tar(tmp_path / f"{CONFIG}.tar", members(ids))
    captions = {f"sa_{i}.jpg": f"picture {i}" for i in ids}
    exported = export(build(tar, tmp_path / "dist", captions=captions), tmp_path / "out")
    lists = [path.read_text().splitlines() for path in exported.files]
    assert [json.loads(line)["img"] for line in lists[0]] == [f"sa_{i}.jpg" for i in sorted(ids)]
    assert [json.loads(line)["target"] for line in lists[1]] == [f"sa_{i}.jpg" for i in sorted(ids)]


def test_images_without_masks_are_left_out_where_asked(
    tmp_path: Path, dist: Path, tree: Path
) -> None:
    exported = export(dist, tmp_path / "out", skip_empty=True)
    assert exported.counts["images"] == len(IDS) - 1
    assert exported.counts["without_masks"] == 0
    assert exported.counts["left_out_without_masks"] == 1
    left = files(tmp_path / "out")
    whole = files(tree)
    lists = {name for name in whole if "/" not in name}
    assert {k: v for k, v in left.items() if k not in lists} == {
        k: v for k, v in whole.items() if k not in lists and "sa_2." not in k
    }
    assert not (tmp_path / "out" / CONFIG / "sa_2").exists()
    for name in lists:
        kept = [line for line in whole[name].split(b"\n") if b'"sa_2.jpg"' not in line]
        assert left[name] == b"\n".join(kept)
    with pytest.raises(SettingsError, match="--skip-empty"):
        export(dist, tmp_path / "out")


def test_a_validation_set_has_a_list_of_its_name(tmp_path: Path, dist: Path, tree: Path) -> None:
    shutil.copytree(tree, tmp_path / "out")
    exported = export(dist, tmp_path / "out", split_name="validation")
    assert exported.counts["written"] == 0
    path = tmp_path / "out" / f"{CONFIG}-controlnet-validation.json"
    assert exported.files[1] == path
    assert path.read_bytes() == (tree / f"{CONFIG}-controlnet-train.json").read_bytes()


def test_a_tree_of_an_earlier_layout_is_not_gone_on_with(
    tmp_path: Path, dist: Path, tree: Path
) -> None:
    shutil.copytree(tree, tmp_path / "out")
    path = tmp_path / "out" / ".export" / CONFIG / "plan.json"
    plan = json.loads(path.read_bytes())
    del plan["layout"], plan["skip_empty"]
    path.write_text(json.dumps(plan))
    with pytest.raises(SettingsError, match="by an earlier version: remove it"):
        export(dist, tmp_path / "out")


def test_a_rejected_annotation_leaves_the_json_and_the_masks(tmp_path: Path) -> None:
    _, broken = record(1)
    broken["annotations"][1]["area"] += 7
    tar = write_tar(tmp_path / f"{CONFIG}.tar", members([1], {1: broken}))
    export(build(tar, tmp_path / "dist"), tmp_path / "out")
    folder = tmp_path / "out" / CONFIG
    del broken["annotations"][1]
    assert json.loads((folder / "sa_1.json").read_bytes()) == broken
    assert len(list((folder / "sa_1").iterdir())) == 2
    assert_equal(masks_of(folder / "sa_1"), recipe.masks(broken["annotations"]))
    with Image.open(folder / "sa_1.png") as image:
        found = np.asarray(image)
    assert np.array_equal(found, recipe.control_image(broken["annotations"], *found.shape[:2]))


@pytest.mark.parametrize("engine", ["two processes", "parquet"])
def test_the_tree_is_the_same_however_it_was_made(
    tmp_path: Path, tar: Path, dist: Path, tree: Path, engine: str
) -> None:
    if engine == "parquet":
        export(build(tar, tmp_path / "dist", "parquet"), tmp_path / "out")
    else:
        export(dist, tmp_path / "out", workers=2, engine=pool.run)
    assert files(tmp_path / "out") == files(tree)


def test_a_second_run_writes_nothing_and_restores_what_is_gone(
    tmp_path: Path, dist: Path, tree: Path
) -> None:
    shutil.copytree(tree, tmp_path / "out")
    before = export(dist, tmp_path / "out")
    assert before.counts["written"] == 0
    assert before.counts["images"] == len(IDS)
    (tmp_path / "out" / CONFIG / "sa_5.png").unlink()
    shutil.rmtree(tmp_path / "out" / CONFIG / "sa_7")
    assert export(dist, tmp_path / "out").counts["written"] == 2
    assert files(tmp_path / "out") == files(tree)


def lose(masks: Path) -> None:
    (masks / "segmentation_0.png").unlink()


def add(masks: Path) -> None:
    (masks / "segmentation_9.png").write_bytes((masks / "segmentation_0.png").read_bytes())


def rename(masks: Path) -> None:
    (masks / "segmentation_0.png").rename(masks / "segmentation_9.png")


def cut(masks: Path) -> None:
    (masks / "segmentation_0.png").write_bytes(b"")


def cut_json(masks: Path) -> None:
    masks.with_suffix(".json").write_bytes(b"{}")


def cut_control(masks: Path) -> None:
    control = masks.with_suffix(".png")
    control.write_bytes(control.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [lose, add, rename, cut, cut_json, cut_control])
def test_an_image_with_a_missing_a_surplus_or_a_cut_file_is_written_again(
    tmp_path: Path, dist: Path, tree: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(tree, tmp_path / "out")
    damage(tmp_path / "out" / CONFIG / "sa_7")
    assert export(dist, tmp_path / "out").counts["written"] == 1
    assert files(tmp_path / "out") == files(tree)


def test_a_foreign_file_among_the_masks_is_named_and_kept(
    tmp_path: Path, dist: Path, tree: Path
) -> None:
    shutil.copytree(tree, tmp_path / "out")
    foreign = tmp_path / "out" / CONFIG / "sa_7" / "notes.txt"
    foreign.write_text("mine")
    with pytest.raises(ShardError, match=r"sa_7: expected only files segm.*found also notes\.txt"):
        export(dist, tmp_path / "out")
    assert foreign.read_text() == "mine"
    foreign.unlink()
    assert export(dist, tmp_path / "out").counts["written"] == 0


def test_the_summary_says_what_is_in_the_tree_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images 2 and 3 have no mask, 3 and 4 no caption, and 1 has a rejected annotation."""
    _, broken = record(1)
    broken["annotations"][1]["area"] += 7
    empty = {i: {**record(i)[1], "annotations": []} for i in (2, 3)}
    tar = write_tar(tmp_path / f"{CONFIG}.tar", members(range(1, 6), {1: broken, **empty}))
    captions = {f"sa_{i}.jpg": f"picture {i}" for i in (1, 2, 5)}
    dist = build(tar, tmp_path / "dist", captions=captions)

    def lines(name: str, *options: str) -> list[str]:
        out = str(tmp_path / name)
        where = ["--from", str(dist), "--out", out, "--workers", "1"]
        assert main([CONFIG, *where, *options]) == 0
        said = capsys.readouterr().err.splitlines()
        return [line for line in said if line.startswith(("images", "annotations"))]

    stops = "; ASAM's tuning stops at their empty folders; --skip-empty leaves them out"
    rejected = "annotations of these images that the build rejected, so they have no mask here: 1"
    assert lines("skip", "--missing-captions", "skip") == [
        f"images without a mask, in the tree: 1{stops}",
        "images left out because they have no caption: 2",
        rejected,
    ]
    assert lines("empty", "--missing-captions", "empty", "--skip-empty") == [
        "images left out because they have no mask: 2",
        "images without a caption, in the tree with an empty one: 1",
        rejected,
    ]


def test_a_killed_export_goes_on_and_ends_with_the_same_tree(
    tmp_path: Path, dist: Path, tree: Path
) -> None:
    out = tmp_path / "out"
    options = ["--from", str(dist), "--out", str(out), "--workers", "1", "--quiet"]
    command = [sys.executable, "-m", "builder.export", CONFIG, *options]
    for jsons in (1, 4, 9):
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(out.glob(f"{CONFIG}/*.json"))) < jsons:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in out.glob(f"{CONFIG}/*.json"):
            stem = path.with_suffix("")
            assert stem.with_suffix(".jpg").exists()
            assert stem.with_suffix(".png").exists()
            assert stem.name == "sa_2" or len(list(stem.iterdir())) == 3
    subprocess.run(command, check=True)
    assert files(out) == files(tree)
    left = [path.name for path in (out / ".export" / CONFIG).iterdir()]
    assert not [name for name in left if name.endswith(".tmp")]


def test_missing_captions_refuse_to_start_or_are_skipped_or_empty(
    tmp_path: Path, tar: Path
) -> None:
    captions = {name: text for name, text in CAPTIONS.items() if name != "sa_3.jpg"}
    dist = build(tar, tmp_path / "dist", captions=captions)
    with pytest.raises(CaptionError, match="1 of 12 images of sa_000000 have no caption"):
        export(dist, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    skipped = export(dist, tmp_path / "skipped", missing_captions="skip")
    assert (skipped.counts["images"], skipped.counts["without_caption"]) == (11, 0)
    assert skipped.counts["left_out_without_caption"] == 1
    assert not list((tmp_path / "skipped" / CONFIG).glob("sa_3*"))
    assert prompts(skipped.files[0]) == captions

    empty = export(dist, tmp_path / "empty", missing_captions="empty")
    assert (empty.counts["images"], empty.counts["without_caption"]) == (12, 1)
    assert empty.counts["left_out_without_caption"] == 0
    assert (tmp_path / "empty" / CONFIG / "sa_3.jpg").exists()
    assert '{"img": "sa_3.jpg", "prompt": ""}' in empty.files[0].read_text().splitlines()


def test_a_folder_that_something_else_made_is_left_alone(tmp_path: Path, dist: Path) -> None:
    (tmp_path / CONFIG).mkdir()
    (tmp_path / CONFIG / "sa_1.jpg").write_bytes(b"mine")
    with pytest.raises(SettingsError, match="made by something else than"):
        export(dist, tmp_path)
    assert (tmp_path / CONFIG / "sa_1.jpg").read_bytes() == b"mine"


def test_another_build_is_not_exported_over_the_first(
    tmp_path: Path, tar: Path, tree: Path
) -> None:
    shutil.copytree(tree, tmp_path / "out")
    other = build(tar, tmp_path / "other", captions=dict.fromkeys(CAPTIONS, "other"))
    with pytest.raises(SettingsError, match="exported from other shards"):
        export(other, tmp_path / "out")
    assert files(tmp_path / "out") == files(tree)


def test_control_images_of_before_the_recipe_are_not_exported(tmp_path: Path, dist: Path) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    downgrade(tmp_path / "dist", CONFIG)
    with pytest.raises(SettingsError, match="not those of ASAM's recipe: build it again"):
        export(tmp_path / "dist", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_index_that_was_replaced_meanwhile_is_noticed(dist: Path) -> None:
    origin = Origin(str(dist), CONFIG)
    index = origin.index()
    file = index.shards[0].file
    assert next(origin.rows(file, index.sha256))["file_name"] == "sa_1.jpg"
    with pytest.raises(SettingsError, match="was replaced while it was being exported"):
        next(origin.rows(file, "0" * 64))


def test_pixels_come_from_the_users_folder_where_the_dist_has_none(
    tmp_path: Path, tar: Path, tree: Path, source_members: dict[str, bytes]
) -> None:
    dist = build(tar, tmp_path / "dist", annotations_only=True)
    with pytest.raises(SettingsError, match="--image-root"):
        export(dist, tmp_path / "out")
    root = tmp_path / "images"
    root.mkdir()
    for name, data in source_members.items():
        if name.endswith(".jpg"):
            (root / name).write_bytes(data)
    export(dist, tmp_path / "out", image_root=root)
    assert files(tmp_path / "out") == files(tree)

    export(dist, tmp_path / "from_tar", image_root=tar)
    assert files(tmp_path / "from_tar") == files(tree)

    (root / "sa_4.jpg").write_bytes(source_members["sa_5.jpg"])
    with pytest.raises(ImageRootError, match=r"sa_4\.jpg in .* is not the image"):
        export(dist, tmp_path / "again", image_root=root)
    (root / "sa_4.jpg").unlink()
    with pytest.raises(ImageRootError, match=r"no sa_4\.jpg there"):
        export(dist, tmp_path / "again", image_root=root)


def test_a_shard_with_a_flipped_bit_is_named_and_no_list_is_written(
    tmp_path: Path, dist: Path
) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    shard = sorted((tmp_path / "dist" / "data" / CONFIG).glob("*.arrow"))[1]
    data = bytearray(shard.read_bytes())
    # Within the first JPEG of the shard, where nothing but a hash can tell.
    place = data.index(b"JFIF") + 100
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptDataError, match=f"{shard.name}, record batch 0: column image"):
        export(tmp_path / "dist", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))
    # Mended, the same command ends well.
    data[place] ^= 1
    shard.write_bytes(data)
    export(tmp_path / "dist", tmp_path / "out")


def test_a_shard_cut_off_is_named(tmp_path: Path, dist: Path) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    shard = sorted((tmp_path / "dist" / "data" / CONFIG).glob("*.arrow"))[0]
    shard.write_bytes(shard.read_bytes()[:-9000])
    with pytest.raises(CorruptDataError, match=f"{shard.name}.*the file is cut"):
        export(tmp_path / "dist", tmp_path / "out")


@pytest.mark.parametrize("name", ["../sa_1.jpg", "a/sa_1.jpg", ".sa_1.jpg", "sa_1.png", ".jpg"])
def test_a_file_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    from builder.exporting.train import ImageFiles

    with pytest.raises(ShardError, match="expected a plain name"):
        ImageFiles.of(tmp_path, name)


@pytest.mark.parametrize("config", ["../dist", "a/b", "..", ""])
def test_a_config_cannot_lead_out_of_the_folder(tmp_path: Path, dist: Path, config: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no config {config!r}"):
        export_config(Origin(str(dist), config), tmp_path)


def test_a_dist_or_config_that_is_not_there_is_named(tmp_path: Path, dist: Path) -> None:
    with pytest.raises(UnknownNameError, match="no config 'sa_000009'"):
        export_config(Origin(str(dist), "sa_000009"), tmp_path / "out")
    with pytest.raises(UnknownNameError, match=": no such folder"):
        export(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_in_one_clear_error(tmp_path: Path, dist: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: no file over 900 bytes can be written."""
    code = (
        "import resource, signal, sys; from builder.export import main; "
        "from builder.core.console import run_command; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)); "
        "sys.exit(run_command(main))"
    )
    options = ["--from", str(dist), "--out", str(tmp_path / "out"), "--workers", "1", "--quiet"]
    run = subprocess.run(
        [sys.executable, "-c", code, CONFIG, *options], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert "only what is missing is written" in run.stderr
    assert "File too large" in run.stderr


def test_the_command_prints_json_and_exit_codes(
    tmp_path: Path, dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--from", str(dist), "--out", str(tmp_path / "out"), "--workers", "1"]

    def run(*args: str) -> tuple[int, str, str]:
        status = run_command(main, args)
        return status, *capsys.readouterr()

    status, out, err = run(CONFIG, *options, "--json")
    result = json.loads(out)
    assert status == 0
    assert result["images"] == result["written"] == len(IDS)
    assert result["without_masks"] == 1
    assert "12/12" in err
    status, out, err = run(CONFIG, *options)
    assert (status, out) == (0, "")
    assert "12 of them were there already" in err
    assert "images without a mask, in the tree: 1; ASAM's tuning stops" in err
    assert run(CONFIG, *options, "--quiet") == (0, "", "")
    status, _, err = run(CONFIG, *options[:3], str(tmp_path / "skipped"), "--skip-empty")
    assert status == 0
    assert "images left out because they have no mask: 1\n" in err
    assert "empty folders" not in err
    assert run(CONFIG, *options, "--split-name", "validation", "--json")[0] == 0
    assert (tmp_path / "out" / f"{CONFIG}-controlnet-validation.json").exists()
    bare = build(
        write_tar(tmp_path / "sa_000000.tar", members([1])), tmp_path / "bare", captions={}
    )
    options[1:4:2] = str(bare), str(tmp_path / "none")
    status, _, err = run(CONFIG, *options, "--missing-captions", "skip")
    assert status == 1
    assert "error: sa_000000: every image was left out, so the tree has none" in err
    status, out, err = run("sa_000009", *options)
    assert (status, out) == (1, "")
    assert err.startswith("error: no config 'sa_000009'")
    with pytest.raises(SystemExit, match="2"):
        run(CONFIG)
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    assert "python -m builder.export sa_000000 --from dist --out SAM-1B" in capsys.readouterr().out
