"""Imports point one way, and asam_datasets stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom up: a room imports those before its own line, and its own.
ORDER = (
    ("core",),
    ("masks",),
    ("sources",),
    ("captioning",),
    ("shards",),
    ("card",),
    ("checking",),
    ("hub", "exporting", "previewing", "evaluating"),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
COMMANDS = len(ORDER)
FAST = "builder.captioning.fast"


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."
            if node.module in ("builder", FAST):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted((ROOT / "builder").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "builder").parts[0].removesuffix(".py")
    rank = RANK.get(room, COMMANDS)
    for module in imported(path):
        parts = module.split(".")
        assert parts[0] not in ("tests", "benchmarks", "examples", "tools", "")
        if parts[0] != "builder" or len(parts) == 1 or parts[1] == room:
            continue
        assert parts[1] in RANK or parts[1] == "__version__", f"{module} is a command"
        assert RANK.get(parts[1], 0) < rank, f"{module} from {room}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_fast_captioning_is_entered_by_one_name(path: Path) -> None:
    """Modules outside builder/captioning/fast import its captioner and none of its modules."""
    if ROOT.joinpath(*FAST.split(".")) in path.parents:
        return
    names = {module for module in imported(path) if module.startswith(f"{FAST}.")}
    assert names <= {f"{FAST}.ContinuousCaptioner"}


PACKAGE = sorted((ROOT / "asam_datasets").glob("*.py"))


@pytest.mark.parametrize("path", [*PACKAGE, ROOT / "asam_datasets.py"], ids=lambda path: path.name)
def test_asam_datasets_stands_alone(path: Path) -> None:
    needs = {name.split(".")[0] for name in imported(path)}
    assert not needs & {"builder", "tests", "benchmarks", "examples", "tools"}


def test_the_modules_of_asam_datasets_import_one_another_in_no_circle() -> None:
    """Imports within functions count too. device.py alone loads the kernels, by no statement."""
    needs = {
        path.stem: {
            name.split(".")[1] for name in imported(path) if name.startswith("asam_datasets.")
        }
        for path in PACKAGE
        if path.name != "__init__.py"
    }
    TopologicalSorter(needs).prepare()  # raises CycleError
    assert {name for names in needs.values() for name in names} <= needs.keys()
    assert "kernels" not in {name for names in needs.values() for name in names}
