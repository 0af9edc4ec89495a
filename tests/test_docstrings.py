"""The examples in docstrings run, and give what the docstrings say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("asam_datasets", "builder")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)
FUNCTIONS = ("parse_rle", "decode_masks", "mask_order", "decode_control", "control_colors")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_works_on_plain_values_has_an_example(name: str) -> None:
    function = getattr(importlib.import_module("asam_datasets"), name)
    assert doctest.DocTestFinder().find(function, name)[0].examples
