"""What stands at the top of a dist: card, script, pictures and manifest, one problem a fault."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import builder.verify
from builder.card.parts import read_parts
from builder.card.top import write_top
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Folder
from builder.core.console import EXIT_FAILED
from builder.core.errors import ContractError
from builder.core.layout import CARD, MANIFEST, PLAN, SCRIPT, picture_name, receipts_folder
from builder.core.manifest import parse_manifest
from tests.contracts import Document, rewrite, set_in
from tests.hub.dists import make_dist

CONFIG = "sa_000000"
PICTURE = picture_name(CONFIG)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    return make_dist(tmp_path / "dist", [1, 2], shards=1)


def found(dist: Path, only: list[str] | None = None) -> list[str]:
    problems, shards = plan_checks(Folder(dist), only)
    for index, shard in shards:
        problems += check_shard(ShardCheck.of(dist, index, shard, fast=True))
    return [str(problem) for problem in problems]


def append(text: str, name: str) -> Callable[[Path], None]:
    def change(dist: Path) -> None:
        with (dist / name).open("a") as file:
            file.write(text)

    return change


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(dist: Path) -> None:
        text = (dist / CARD).read_text()
        assert old in text
        (dist / CARD).write_bytes(text.replace(old, new).encode())

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda dist: (dist / name).unlink()


def to_folder(name: str) -> Callable[[Path], None]:
    def change(dist: Path) -> None:
        (dist / name).unlink()
        (dist / name).mkdir()

    return change


SHARD = f"data/{CONFIG}/train-00000-of-00001.arrow"
RECEIPT = f".receipts/{CONFIG}/train-00000-of-00001.arrow.json"
AGAIN = "build it again"
CHANGED = "README.md: what the builder wrote in it has changed"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (append("#\n", SCRIPT), f"{SCRIPT}: expected sha256"),
        (append("#", PICTURE), f"{PICTURE}: expected sha256"),
        (append("}", MANIFEST), f"{MANIFEST}: it can't be used: expected JSON, found Extra data"),
        (replace("license: apache-2.0", "license: apache-2.1"), f"{CHANGED}: licence; {AGAIN}"),
        (
            replace("license: apache-2.0", "license: apache-2.0\nlicense_link: x"),
            f"{CHANGED}: licence; {AGAIN}",
        ),
        (replace("pretty_name: ASAM", "x: &a 1\ny: *a\npretty_name: A"), "README.md: it can't be"),
        (remove(SCRIPT), f"{SCRIPT}: manifest.json names it, and there is no such file"),
        (remove(PICTURE), f"{PICTURE}: manifest.json names it, and there is no"),
        (remove(MANIFEST), f"{MANIFEST}: there is none, so nothing says"),
        (remove(CARD), "README.md: there is none, so load_dataset knows no config"),
        (replace("\n## Columns\n", "\n## Columns \n"), f"{CHANGED}: columns; {AGAIN}"),
        (replace("end terms -->\n", "end terms -->"), ""),  # no part of a region
        (replace("pretty_name: ASAM", "pretty_name: Our ASAM"), ""),  # a maintainer's
        (replace("train-*", "test-*"), f"{CONFIG}/README.md: the card's entries for it"),
        (replace("num_examples: 2", "num_examples: 3"), f"{CONFIG}/README.md: the card's entries"),
        (replace("begin terms", "begin words"), "README.md: it can't be read: "),
        (replace("configs:\n", "configs: [\n"), "README.md: it can't be read: "),
        (lambda d: (d / CARD).write_bytes(b"\xff"), "README.md: it can't be read: "),
        (append("", "dist.py"), "dist.py: load_dataset takes it for the script"),
        (append("a,b", "train.csv"), "train.csv: no part of it, but load_dataset may"),
        (append("", "data/test-1.json"), "data/test-1.json: no part of it, but"),
        (append("", "data/more.parquet"), "data/more.parquet: no part of it, but"),
        (append("", "notes.txt"), ""),
        (
            append("", "assets/sa_000009.jpg"),
            "assets/sa_000009.jpg: manifest.json doesn't",
        ),
        (remove(SHARD), f"{CONFIG}/train-00000-of-00001.arrow: expected "),
        (to_folder(RECEIPT), f"{CONFIG}/train-00000-of-00001.arrow: its receipt can't be used: "),
        (to_folder(f".receipts/{CONFIG}/{PLAN}"), f"{CONFIG}/{PLAN}: it can't be used: "),
        (to_folder(CARD), "README.md: there is none, so load_dataset knows"),
        (to_folder(MANIFEST), "manifest.json: there is none, so"),
        (append("{}", "dataset_infos.json"), "dataset_infos.json: no part of it"),
        (append("{}", "state.json"), "state.json: no part of it, but load_dataset"),
        (append("", ".huggingface.yaml"), ".huggingface.yaml: no part of it"),
        (append(" ", f".receipts/{CONFIG}/{PLAN}"), ""),  # white space at the end of JSON
        (append("!", f".receipts/{CONFIG}/{PLAN}"), f"{CONFIG}/{PLAN}: it can't be used: "),
        (remove(f".receipts/{CONFIG}/{PLAN}"), f"{CONFIG}/{PLAN}: there is none beside"),
        (remove(f"data/{CONFIG}/rejects.jsonl"), f"{CONFIG}/rejects.jsonl: the index names it"),
    ],
)
def test_a_fault_is_one_problem(dist: Path, change: Callable[[Path], None], problem: str) -> None:
    assert found(dist) == []
    change(dist)
    lines = found(dist)
    assert len(lines) == bool(problem)
    assert all(line.startswith(problem) for line in lines)


def test_a_message_names_the_file_and_the_remedy_once(
    dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append("}", MANIFEST)(dist)
    append("}", RECEIPT)(dist)
    append("}", f".receipts/{CONFIG}/{PLAN}")(dist)
    assert builder.verify.main([str(dist), "--quiet", "--workers", "1"]) == EXIT_FAILED
    said = capsys.readouterr()
    for line in said.out.splitlines():
        assert line.count(".json") == (0 if ".arrow" in line else 1)
        assert line.count("again") == 1
    assert said.err.endswith(f"build {CONFIG} again\n")


def test_the_last_line_says_what_mends_the_top(
    dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append("#", SCRIPT)(dist)
    assert builder.verify.main([str(dist), "--quiet", "--fast", "--workers", "1"]) == EXIT_FAILED
    assert capsys.readouterr().err.endswith(
        "a build of any config writes the card, script, pictures and manifest again\n"
    )


def test_aliases_that_stand_for_more_than_memory_holds_are_refused_at_once(dist: Path) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    replace("pretty_name:", "\n".join([*lines, "pretty_name:"]))(dist)
    (problem,) = found(dist)
    assert "README.md: it can't be read: its YAML can't be read: an alias" in problem


def test_a_licence_that_a_person_wrote_is_theirs(dist: Path) -> None:
    replace("license: apache-2.0", "license: wtfpl")(dist)
    write_top(dist)
    assert "license: wtfpl" in (dist / CARD).read_text()
    assert found(dist) == []
    replace("license: wtfpl", "license: gpl-3.0")(dist)
    assert found(dist) == []


def test_a_card_without_yaml_prints_nothing_of_a_library(
    dist: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (dist / CARD).write_text("# Ours\n")
    assert any("the card's configs lack it" in p or "entries for it" in p for p in found(dist))
    assert not caplog.records


def test_line_ends_that_a_checkout_changed_are_found(dist: Path) -> None:
    card = dist / CARD
    card.write_bytes(card.read_bytes().replace(b"\n", b"\r\n"))
    (problem,) = found(dist)
    assert problem.startswith(f"{CHANGED}: captions, columns, configs, control, gaps, ")


def test_writing_the_top_again_mends_it_and_keeps_what_people_wrote(dist: Path) -> None:
    names = (SCRIPT, MANIFEST, PICTURE)
    whole = {name: (dist / name).read_bytes() for name in names}
    replace("end terms -->\n", "end terms -->\n\nThanks to all.\n")(dist)
    replace("\n## Columns\n", "\n## Column\n")(dist)
    for name in names:
        append("#", name)(dist)
    os.utime(dist / PICTURE, (2**31, 2**31))  # newer than the index
    write_top(dist)
    assert found(dist) == []
    assert {name: (dist / name).read_bytes() for name in names} == whole
    assert "Thanks to all." in (dist / CARD).read_text()


def test_a_dist_from_before_the_manifest_is_told_to_be_built_again(dist: Path) -> None:
    whole = (dist / MANIFEST).read_bytes()
    (dist / MANIFEST).unlink()
    (problem,) = found(dist)
    assert problem.endswith(AGAIN)
    make_dist(dist, [1, 2], shards=1)  # nothing but the top is written
    assert found(dist) == []
    assert (dist / MANIFEST).read_bytes() == whole


def test_a_script_of_another_version_is_no_fault(dist: Path) -> None:
    text = b"VERSION = '0.0.1'\n"
    (dist / SCRIPT).write_bytes(text)
    rewrite(dist / MANIFEST, set_in("files", SCRIPT, value=hashlib.sha256(text).hexdigest()))
    assert found(dist) == []
    rewrite(dist / MANIFEST, lambda manifest: manifest["files"].pop(SCRIPT))
    (problem,) = found(dist)
    assert problem == f"{SCRIPT}: manifest.json doesn't name it, but users run it"


def test_one_config_is_checked_without_the_others(dist: Path) -> None:
    make_dist(dist, [20], config="sa_000001", shards=1)
    assert found(dist) == []
    append("#", picture_name("sa_000001"))(dist)
    replace("data/sa_000001/train-*", "data/sa_000001/test-*")(dist)
    (dist / "data/sa_000001/rejects.jsonl").unlink()
    assert found(dist, [CONFIG]) == []
    assert len(found(dist, ["sa_000001"])) == len(found(dist)) == 3


def test_a_card_entry_does_not_depend_on_how_the_yaml_is_written(dist: Path) -> None:
    text = (dist / CARD).read_text()
    block = "- config_name: sa_000000\n  data_files:\n  - split: train\n    path: "
    assert block in text
    flow = "- data_files: [{split: train, path: data/sa_000000/train-*.arrow}]\n  config_name: "
    other = text.replace(f"{block}data/sa_000000/train-*.arrow\n", f"{flow}'sa_000000'\n", 1)
    assert other != text
    assert read_parts(other) == read_parts(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("files", "../x", value="0" * 64), "files: expected asam_datasets.py or a picture"),
        (set_in("files", SCRIPT, value="0"), "expected 64 hexadecimal digits, found '0'"),
        (set_in("card", "configs", "../x", value="0" * 64), "expected the name of a config"),
        (set_in("card", value=None), "card: expected an object, found None"),
        (set_in("format_version", value=1), "is of format 1, expected 2"),
        (set_in("format_version", value=3), "is of format 3"),
        (set_in("code_version", value=7), "code_version: expected a string, found 7"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    dist: Path, change: Callable[[Document], None], message: str
) -> None:
    path = dist / MANIFEST
    assert parse_manifest(path.read_bytes(), MANIFEST).content() == path.read_bytes()
    rewrite(path, change)
    with pytest.raises(ContractError, match=message):
        parse_manifest(path.read_bytes(), MANIFEST)


def test_a_build_goes_on_by_its_index_where_plan_json_is_damaged(
    dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = receipts_folder(dist, CONFIG) / PLAN
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"arrow", b"azzow")):
        path.write_bytes(damaged)
        make_dist(dist, [1, 2], shards=1)
        assert "the settings and the source are taken from its index" in capsys.readouterr().err
        assert path.read_bytes() == whole
        assert found(dist) == []


def test_a_dist_whose_folders_are_links_is_the_same(sample_dist: Path, tmp_path: Path) -> None:
    """A card may name its files with wildcards, which are searched for in all folders."""
    linked = tmp_path / "dist"
    linked.mkdir()
    for path in sample_dist.iterdir():
        (linked / path.name).symlink_to(path)
    (linked / "circle").symlink_to(linked)
    assert Folder(linked).paths() == Folder(sample_dist).paths()
    assert Folder(linked).matches("data/*/train-*.arrow")
    assert plan_checks(Folder(linked))[0] == []
