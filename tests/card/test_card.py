"""The card is made of the indexes, loads, and leaves what people wrote alone."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import DatasetCard
from PIL import Image

import builder.build
from asam_datasets import Index, Split, decode_control, decode_masks
from builder.card.metadata import MAX_INFO, is_own
from builder.card.parts import read_entries
from builder.card.render import render_card
from builder.card.top import write_top
from builder.checking.rows import read_rows
from builder.core.console import EXIT_FAILED, run_command
from builder.core.errors import HubError
from builder.core.layout import ASSETS, CARD, config_folder, configs
from builder.shards.index import read_index
from tests.factory import members, write_tar
from tests.hub.dists import indexes_of, make_dist, run_code

# https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
KEYS = {
    *("language", "license", "license_name", "license_link", "license_details", "tags"),
    *("annotations_creators", "language_creators", "language_details", "pretty_name"),
    *("size_categories", "source_datasets", "task_categories", "task_ids", "paperswithcode_id"),
    *("configs", "dataset_info", "extra_gated_fields", "extra_gated_prompt", "train-eval-index"),
}
# https://github.com/huggingface/huggingface.js/blob/main/packages/tasks/src/pipelines.ts
TASKS = {
    *("mask-generation", "image-segmentation", "text-to-image", "image-to-image", "image-to-text"),
    *("object-detection", "zero-shot-object-detection", "image-feature-extraction"),
}
SUBTASKS = {"instance-segmentation", "semantic-segmentation", "panoptic-segmentation"}
# huggingface_hub/repocard_data.py, DatasetCardData
SIZES = {
    *("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"),
    *("1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T", "other"),
}
CREATORS = {
    *("found", "crowdsourced", "expert-generated", "machine-generated", "no-annotation", "other"),
}
# https://github.com/huggingface/hub-docs/blob/main/docs/hub/repositories-licenses.md
LICENSES = {
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "other"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "odc-by"),
    *("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0"),
    *("cc-by-nc-sa-4.0", "unknown"),
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(tmp_path_factory.mktemp("card") / "dist", sample=False)


@pytest.fixture
def index(dist: Path) -> Index:
    return indexes_of(dist)[0]


def data(card: str) -> dict[str, Any]:
    found: dict[str, Any] = DatasetCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    return found


def like(index: Index, config: str, **changes: Any) -> Index:
    """The index of another config."""
    return replace(index, config=config, **changes)


def evaluation(index: Index, config: str) -> Index:
    return like(index, config, kind="eval", source={"name": config}, settings={})


def test_every_key_and_value_is_of_the_hubs_specification(dist: Path, index: Index) -> None:
    for indexes in ([index], [index, evaluation(index, "camo"), evaluation(index, "doors")]):
        card = data(render_card(indexes))
        assert card.keys() <= KEYS
        assert set(card["task_categories"]) <= TASKS
        assert set(card["task_ids"]) <= SUBTASKS
        assert set(card["size_categories"]) <= SIZES
        assert set(card["annotations_creators"]) <= CREATORS
        assert card["license"] in LICENSES
        assert (card["license"] == "other") == ("license_name" in card)
        assert re.fullmatch(r"https://\S+", card.get("license_link", "https://x"))
        assert all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in card["tags"])
        assert all(re.fullmatch(r"[a-z]{2,3}", language) for language in card["language"])


def test_it_round_trips_through_dataset_card(dist: Path) -> None:
    text = (dist / "README.md").read_text()
    assert str(DatasetCard(text)) == text


def test_rendering_again_changes_nothing(dist: Path) -> None:
    before = (dist / "README.md").read_text()
    stamp = (dist / "README.md").stat().st_mtime_ns
    write_top(dist)
    assert (dist / "README.md").read_text() == before
    assert (dist / "README.md").stat().st_mtime_ns == stamp


def test_counts_are_those_of_the_shards(dist: Path, index: Index) -> None:
    card = data((dist / "README.md").read_text())
    paths = sorted(config_folder(dist, "sa_000000").glob("train-*.arrow"))
    rows = [row for path in paths for row in read_rows(path, "arrow")]
    size = sum(path.stat().st_size for path in paths)
    assert card["dataset_info"] == [
        {
            "config_name": "sa_000000",
            "splits": [{"name": "train", "num_bytes": size, "num_examples": len(rows)}],
            "download_size": size,
            "dataset_size": size,
        }
    ]
    assert len(paths) == 2
    assert f"| {len(rows)} | train {len(rows)} |" in (dist / "README.md").read_text()


def test_datasets_loads_the_dist_by_its_card(dist: Path, tmp_path: Path) -> None:
    code = f"""
from datasets import load_dataset
for streaming in (False, True):
    rows = load_dataset({str(dist)!r}, "sa_000000", split="train", streaming=streaming)
    ids = sorted(row["image_id"] for row in rows)
    print(ids == list(range(1, 9)), rows.info.splits["train"].num_examples)
"""
    assert run_code(code, tmp_path / "hf").split() == ["True", "8"] * 2


def test_a_hundred_configs_at_most_have_their_counts_in_the_yaml(index: Index) -> None:
    many = [like(index, f"sa_{i:06d}") for i in range(MAX_INFO + 1)]
    assert len(data(render_card(many[:-1]))["dataset_info"]) == MAX_INFO
    whole = data(render_card(many))
    assert "dataset_info" not in whole
    assert len(whole["configs"]) == MAX_INFO + 1
    assert len(data(render_card(many[-1:], existing=render_card(many[:-1])))["configs"]) == 101
    assert "dataset_info" not in data(render_card(many[-1:], existing=render_card(many[:-1])))


def test_train_configs_come_first_and_empty_ones_stay_out(index: Index) -> None:
    empty = like(index, "sa_000001", splits={})
    card = data(render_card([evaluation(index, "camo"), empty, index]))
    assert [entry["config_name"] for entry in card["configs"]] == ["sa_000000", "camo"]
    assert [entry["config_name"] for entry in card["dataset_info"]] == ["sa_000000", "camo"]


def test_licences_are_those_of_the_configs(index: Index) -> None:
    doors, timberseg = evaluation(index, "doors"), evaluation(index, "timberseg")
    camo, sample = evaluation(index, "camo"), like(index, "sa_000001", settings={"sample": True})

    def licence(*indexes: Index, existing: str | None = None) -> tuple[str, str | None]:
        card = data(render_card(indexes, existing=existing))
        return card["license"], card.get("license_name")

    assert licence(doors) == licence(doors, timberseg) == ("cc-by-4.0", None)
    assert licence(sample) == ("apache-2.0", None)
    assert licence(index) == ("other", "sa-1b-dataset-research-license")
    assert licence(camo) == ("other", "camo-terms")
    assert licence(doors, index) == ("other", "several-see-configs")
    # Another config later: the kept one counts, too.
    assert licence(index, existing=render_card([doors])) == ("other", "several-see-configs")
    assert licence(doors, existing="---\nlicense: gpl-3.0\n---\n") == ("gpl-3.0", None)


def test_a_persons_text_stays_and_ours_is_renewed(index: Index) -> None:
    first = render_card([index])
    edited = first.replace("## Columns", "## COLUMNS").replace(
        "<!-- asam-datasets:begin columns -->",
        "My own words.\n\n<!-- asam-datasets:begin columns -->",
    )
    edited = edited.replace("tags:\n", "paperswithcode_id: sa-1b\ntags:\n- my-tag\n")
    edited += "\n## Thanks\n\nTo all.\n"
    card = render_card([index], existing=edited)
    assert "My own words.\n\n<!--" in card
    assert card.endswith("\n## Thanks\n\nTo all.\n")
    assert "## Columns" in card
    assert "## COLUMNS" not in card
    assert data(card)["paperswithcode_id"] == "sa-1b"
    assert "my-tag" in data(card)["tags"]
    assert render_card([index], existing=card) == card


def test_a_region_deleted_with_its_marks_stays_away(index: Index) -> None:
    card = render_card([index])
    less = re.sub(r"<!-- asam-datasets:begin captions -->.*?captions -->\n", "", card, flags=re.S)
    assert "## Captions" in card
    assert "## Captions" not in render_card([index], existing=less)


def test_a_card_of_someone_else_keeps_its_text_and_entries(index: Index) -> None:
    theirs = """---
license: mit
configs:
- config_name: archives
  data_files: archives/*.arrow
---
# ASAM

The archives.
"""
    card = render_card([index], existing=theirs)
    found = data(card)
    assert DatasetCard(card).text.startswith("# ASAM\n\nThe archives.\n\n<!-- asam-datasets:begin")
    assert [entry["config_name"] for entry in found["configs"]] == ["sa_000000", "archives"]
    assert found["license"] == "mit"
    assert render_card([index], existing=card) == card


def test_configs_that_are_not_published_now_keep_their_lines(index: Index) -> None:
    both = render_card([index, evaluation(index, "doors")], pictures=["sa_000000", "doors"])
    shard = replace(index.shards[0], rows=1234)
    changed = like(index, "sa_000000", splits={"train": Split("train", (shard,))})
    card = render_card([changed], existing=both, pictures=["sa_000000"])
    assert card.count("| `doors` |") == 2
    assert "pugliatti2022doors" in card
    assert "| `sa_000000` | 1,234 |" in card
    assert [e["config_name"] for e in data(card)["dataset_info"]] == ["sa_000000", "doors"]
    gone = render_card([changed], existing=both, drop={"doors"}, pictures=["sa_000000"])
    assert "doors" not in gone


def test_a_config_that_left_the_dist_leaves_its_card(tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", shards=1)
    make_dist(dist, [20, 21], config="sa_000001", shards=1)
    for path in config_folder(dist, "sa_000000").iterdir():
        path.unlink()
    write_top(dist)
    card = (dist / "README.md").read_text()
    assert [entry["config_name"] for entry in data(card)["configs"]] == ["sa_000001"]
    assert "`sa_000000` |" not in card


def put(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.replace("<!-- asam-datasets:end gaps -->", ""), "gaps has no partner"),
        (lambda t: t + "<!-- asam-datasets:begin gaps -->\n", "gaps has no partner"),
        (lambda t: t.replace("license: other", "license: [other"), "YAML can't be read"),
        (lambda t: t.replace("configs:\n- ", "configs: yes\nx:\n- ", 1), "list of entries"),
        (
            put("path: data/sa_000000/train-*.arrow", "path: 5"),
            r"configs\[0\].data_files: expected",
        ),
        (put("- split: train\n    path", "- path"), r"configs\[0\].data_files: expected patterns"),
        (
            put("config_name: sa_000000\n  data", "data"),
            r"configs\[0\].config_name: expected a string",
        ),
        (
            put("config_name: sa_000000\n  data", "config_name: [a]\n  data"),
            r"found \['a'\]; correct",
        ),
        (
            put("config_name: sa_000000\n  splits", "config_name: {}\n  splits"),
            r"dataset_info\[0\]",
        ),
        (put("configs:\n- ", "configs:\n- 7\n- "), r"configs\[0\]: expected an entry .* found 7"),
        (put("tags:\n", "tags:\n- [a]\n"), r"tags: expected a list of words, found \[\['a'\]"),
        (put("task_ids:\n", "task_ids:\n- {a: b}\n"), "task_ids: expected a list of words"),
    ],
)
def test_a_card_broken_by_hand_is_told(index: Index, damage: Any, message: str) -> None:
    with pytest.raises(HubError, match=message):
        render_card([index], existing=damage(render_card([index])))


@pytest.mark.parametrize(
    ("written", "licence"),
    [("[mit, apache-2.0]", ["mit", "apache-2.0"]), ("[other]", ["other"]), ("mit", "mit")],
)
def test_a_licence_or_several_that_a_person_wrote_stay(
    index: Index, written: str, licence: object
) -> None:
    card = re.sub(r"license: .*\n", f"license: {written}\n", render_card([index]), count=1)
    again = render_card([index], existing=card)
    assert data(again)["license"] == licence
    assert render_card([index], existing=again) == again


@pytest.mark.parametrize(
    "files", ["data/camo/test-*.arrow", ["data/camo/test-*.arrow"], {"test": "data/camo/*.arrow"}]
)
def test_other_forms_of_data_files_are_taken(index: Index, files: object) -> None:
    entry = {"config_name": "camo", "data_files": files}
    assert is_own(entry)
    card = "---\n" + yaml.safe_dump({"configs": [entry]}) + "---\n"
    both = render_card([], existing=card)
    split = "test" if isinstance(files, dict) else "train"
    assert f'"camo", split="{split}"' in both
    assert data(render_card([index], existing=both))["configs"][1] == entry


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# caf\xe9\n", f"{CARD}: expected UTF-8, found the byte 0xe9 at 5; save it as UTF-8"),
        (b"---\nconfigs: 7\n---\n", "configs: expected a list of entries, found 7; correct it"),
        (None, f"{CARD}: expected a file or nothing there, found a folder"),
    ],
)
def test_a_card_that_cant_be_merged_stops_a_build_before_its_first_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]))
    card = tmp_path / "dist" / CARD
    card.parent.mkdir()
    if content is None:
        card.mkdir()
    else:
        card.write_bytes(content)
    argv = [str(tar), "--out", str(card.parent), "--quiet"]
    assert run_command(builder.build.main, argv) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [path.name for path in card.parent.iterdir()] == [CARD]


def test_the_picture_of_a_config_that_is_shown_no_more_goes(tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1], shards=1)
    make_dist(dist, [20], config="sa_000001", shards=1)
    (dist / "assets/mine.png").write_bytes(b"a maintainer's")
    shutil.rmtree(config_folder(dist, "sa_000000"))
    write_top(dist)
    assert {path.name for path in (dist / "assets").iterdir()} == {"sa_000001.jpg", "mine.png"}


def test_the_gaps_say_what_part_of_sa1b_is_here(index: Index) -> None:
    assert "1 of them (0.1%) is here" in render_card([index])
    sample = like(index, "sa_000000", settings={"sample": True})
    text = render_card([sample])
    assert "a sample made by code" in text
    assert "tars" not in text


def test_the_snippet_that_decodes_the_control_image_does(dist: Path) -> None:
    text = (dist / "README.md").read_text()
    snippet = re.search(r"```python\n(import numpy.*?)```", text, re.S)
    assert snippet
    for path in config_folder(dist, "sa_000000").glob("*.arrow"):
        for row in read_rows(path, "arrow"):
            image = dist / "control.png"
            image.write_bytes(row["conditioning_image"]["bytes"])
            with Image.open(image) as control:
                names: dict[str, Any] = {"row": {**row, "conditioning_image": control}}
                exec(snippet[1], names)
            shown: Any = names["index"]
            assert np.array_equal(shown, decode_control(names["rgb"], row["annotations"]))
            masks = decode_masks(row["annotations"])
            for i, mask in enumerate(masks):
                assert not np.any((shown == i) & (mask == 0))
            assert np.array_equal(shown >= 0, masks.any(0))
            image.unlink()


def test_pictures_show_image_and_control_image(dist: Path) -> None:
    with Image.open(dist / "assets/sa_000000.jpg") as picture:
        assert picture.size == (2 * 384 + 8, 256)  # two of 96 x 64, and the gap


def test_without_pixels_the_picture_is_the_control_image_alone(tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1], shards=1, annotations_only=True)
    with Image.open(dist / "assets/sa_000000.jpg") as picture:
        assert picture.size == (384, 256)
    assert "| no | [" in (dist / "README.md").read_text()


def test_of_builds_that_end_together_each_is_in_the_card(tmp_path: Path) -> None:
    dist = make_dist(tmp_path / "dist", [1], shards=1, card=False)
    with filelock.FileLock(dist / f".{CARD}.lock"):  # as another build's card does
        thread = threading.Thread(target=write_top, args=(dist,))
        thread.start()
        thread.join(1.0)
        make_dist(dist, [2], config="sa_000001", shards=1, card=False)
    thread.join()
    listed = {entry["config_name"] for entry in read_entries((dist / CARD).read_text("utf-8"))}
    assert listed == {"sa_000000", "sa_000001"}


def test_what_killed_runs_left_beside_the_card_goes(sample_dist: Path, tmp_path: Path) -> None:
    dist = Path(shutil.copytree(sample_dist, tmp_path / "dist"))
    left = [dist / f".{CARD}.99.tmp", dist / ASSETS / ".sa_000000.jpg.99.tmp"]
    for path in left:
        path.write_bytes(b"half")
    write_top(dist)
    assert not any(path.exists() for path in left)


def test_names_from_outside_are_text_in_the_card(sample_dist: Path) -> None:
    index = read_index(sample_dist, configs(sample_dist)[0])
    hostile = "<script>x</script>|\n![y](z)"
    signed = "m@https://me:pw@host/model?token=abc"
    source = {**index.source, "name": hostile}
    settings = {**index.settings, "sample": False, "captions_model": signed + hostile}
    text = render_card([replace(index, source=source, settings=settings)])
    assert "<script>" not in text
    assert "![y]" not in text
    assert "&lt;script&gt;x&lt;/script&gt;/" in text
    assert "token=abc" not in text
    assert "me:pw" not in text
