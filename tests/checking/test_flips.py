"""One flipped bit in any file of a dist: verify finds it, and no reader gets wrong rows."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from asam_datasets import AsamDatasetsError, load
from asam_datasets.contract import read_document
from asam_datasets.index import FORMAT_VERSION
from builder.card.top import write_top
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Folder
from builder.core.errors import ContractError
from builder.core.layout import CARD, MANIFEST, PLAN, SCRIPT, picture_name
from builder.core.manifest import parse_manifest
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.shards.state import State
from builder.sources.sa1b import open_sources
from tests.contracts import flips
from tests.factory import members, write_tar

CONFIG = "sa_000000"
SHARD = f"data/{CONFIG}/train-00000-of-00001.arrow"
INDEX = f"data/{CONFIG}/index.json"
READ = (SHARD, INDEX)  # what `load` reads
RECEIPT = f".receipts/{CONFIG}/train-00000-of-00001.arrow.json"
STATE = f".receipts/{CONFIG}/{PLAN}"
FILES = (
    *(*READ, f"data/{CONFIG}/rejects.jsonl", RECEIPT, STATE),
    *(CARD, SCRIPT, MANIFEST, picture_name(CONFIG)),
)
SAMPLE = 40  # flips of each file


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips")
    tar = write_tar(folder / f"{CONFIG}.tar", members([1, 2, 3], {3: {"image": {}}}))
    (source,) = open_sources([str(tar)])
    source = replace(source, sample=True)
    dist = folder / "dist"
    build_config(source, dist, Settings("arrow", 1 << 30), quiet=True)
    write_top(dist)
    return dist


def verify(dist: Path) -> list[str]:
    problems, shards = plan_checks(Folder(dist))
    for index, shard in shards:
        problems += check_shard(ShardCheck.of(dist, index, shard, fast=True))
    return [str(problem) for problem in problems]


def rows(dist: Path) -> list[Any]:
    return list(load(CONFIG, repo_or_path=dist, streaming=True))


def some_flips(dist: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """A sample of flips, written to the file one after the other, which is whole again after."""
    path, chance = dist / name, random.Random(name)
    whole = path.read_bytes()
    try:
        for _ in range(SAMPLE):
            place = chance.randrange(len(whole))
            damaged = bytearray(whole)
            damaged[place] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            yield place, bytes(damaged)
    finally:
        path.write_bytes(whole)


def same_card(whole: bytes, damaged: bytes, place: int) -> bool:
    """Whether a flip is in a maintainer's own text, or the YAML says the same after it."""
    regions = re.finditer(
        rb"<!-- asam-datasets:begin (\w+) -->.*?<!-- asam-datasets:end \1 -->", whole, re.DOTALL
    )
    if any(match.start() <= place < match.end() for match in regions):
        return False
    before, after = (yaml.safe_load(text.split(b"\n---\n")[0]) for text in (whole, damaged))
    return all(before.get(key) == after.get(key) for key in ("configs", "dataset_info"))


def test_all_files_of_a_dist_are_in_the_test(dist: Path) -> None:
    there = {p.relative_to(dist).as_posix() for p in dist.rglob("*") if p.is_file()}
    assert {name for name in there if not name.endswith(".lock")} == set(FILES)
    assert (dist / f"data/{CONFIG}/rejects.jsonl").stat().st_size > 50
    assert verify(dist) == []


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_a_flip_in_any_file(dist: Path, name: str) -> None:
    whole = (dist / name).read_bytes()
    for place, damaged in some_flips(dist, name):
        found = verify(dist)
        if not found and name == CARD:
            assert same_card(whole, damaged, place), place
        elif not found:  # such as the case of a hexadecimal digit in "\u00e9"
            assert json.loads(damaged) == json.loads(whole), place
    assert verify(dist) == []


@pytest.mark.parametrize("name", READ)
def test_load_refuses_or_gives_equal_rows(dist: Path, name: str) -> None:
    expected = rows(dist)
    assert len(expected) == 2
    refused = 0
    for place, _ in some_flips(dist, name):
        try:
            assert rows(dist) == expected, place
        except AsamDatasetsError:
            refused += 1
    assert refused > SAMPLE // 2


@pytest.mark.parametrize("name", [MANIFEST, STATE])
def test_each_bit_of_a_small_document_counts(dist: Path, name: str) -> None:
    content = (dist / name).read_bytes()
    whole = json.loads(content)
    for number, damaged in enumerate(flips(content)):
        try:
            if name == MANIFEST:
                parse_manifest(damaged, name)
            else:
                State.from_json(read_document(damaged, name, FORMAT_VERSION)[0])
        except ContractError:
            continue
        assert json.loads(damaged) == whole, number
