"""The lock files hold every package that the project and its tests name, each by its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CORE, ALL = "requirements.lock", "requirements-all.lock"
UNLOCKED = {"torch"}  # its hash depends on the build that fits the machine


def entries(name: str) -> dict[str, list[Requirement]]:
    """The requirements in a lock file or in requirements.txt, by the package's name."""
    text = re.sub(r"\\\n\s*", "", (ROOT / name).read_text())
    lines = (line.partition("#")[0].partition("--hash")[0].strip() for line in text.splitlines())
    found: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, filter(None, lines)):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def project() -> dict[str, list[Requirement]]:
    """The dependencies that pyproject.toml names, of the project and of each extra."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": read["dependencies"]} | read["optional-dependencies"]
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_the_lock_of_everything_has_the_core_at_the_same_versions() -> None:
    core, everything = entries(CORE), entries(ALL)
    assert core
    for name, found in core.items():
        assert set(map(version, found)) == set(map(version, everything.get(name, []))), name


def test_each_direct_version_is_locked() -> None:
    locked = entries(ALL)
    for name, (pin,) in entries("requirements.txt").items():
        if name not in UNLOCKED:
            assert {version(pin)} == set(map(version, locked.get(name, []))), name
    assert not UNLOCKED & set(locked)


@pytest.mark.parametrize("extra", project())
def test_each_dependency_of_the_project_is_locked_at_a_version_that_it_accepts(extra: str) -> None:
    locked = entries(ALL if extra else CORE)
    pins = entries("requirements.txt")
    for wanted in project()[extra]:
        name = canonicalize_name(wanted.name)
        found = pins[name] if name in UNLOCKED else locked.get(name, [])
        assert found, f"{name} is not in the lock file"
        for each in found:
            assert wanted.specifier.contains(version(each)), f"{each} is not {wanted}"


@pytest.mark.parametrize("name", [CORE, ALL])
def test_each_package_has_hashes_and_the_file_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    starts = [i for i, line in enumerate(lines) if not line.startswith(" ")]
    assert starts
    for i in starts:
        assert lines[i].endswith("\\"), lines[i]
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[i + 1]), lines[i]
    assert not re.search(r"://|(?m:^--)|/\w+/", text)
