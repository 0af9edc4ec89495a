"""A short part of the fuzz campaign, and what its oracles see."""

from __future__ import annotations

from pathlib import Path

import pytest

from asam_datasets import AsamDatasetsError
from campaigns.common import table
from campaigns.fuzz import make_input
from campaigns.targets import TARGETS, plain_runs

INPUTS = 25


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_refused_or_read_right(name: str, tmp_path: Path) -> None:
    target = TARGETS[name][1](tmp_path)
    refused = 0
    for number in range(INPUTS):
        try:
            target.read(make_input(target, name, 1, number))
        except AsamDatasetsError:
            refused += 1
    assert refused  # the inputs are damaged


def test_a_seed_makes_the_same_inputs_and_another_seed_others(tmp_path: Path) -> None:
    target = TARGETS["captions"][1](tmp_path)
    first, again, other = (
        [make_input(target, "captions", seed, number) for number in range(INPUTS)]
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("counts", "runs"),
    [
        (b"114", [(1, 2)]),
        (b"06", [(0, 6)]),
        (b"6", []),
        (b"11", None),  # too few pixels
        (b"115", None),  # too many
        (b"1Q", None),  # a group without an end
        (b"1\x2f", None),  # no character of the format
        (b"11O11", None),  # a count below 0
    ],
)
def test_the_plain_decoder_knows_the_format(
    counts: bytes, runs: list[tuple[int, int]] | None
) -> None:
    assert plain_runs(counts, 6) == runs


def test_a_table_is_markdown() -> None:
    assert table([{"reader": "tar", "inputs": 1000, "odd": 0}]) == [
        "| reader | inputs | odd |",
        "| --- | --- | --- |",
        "| tar | 1,000 | 0 |",
    ]
