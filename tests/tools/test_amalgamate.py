"""tools/amalgamate.py: one file of a package, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.amalgamate import ROOT, StructureError, amalgamate, main

FRONT = '"""Title.\n\nMore.\n"""\n\n__version__ = "1.2"\n\n__all__ = ["area"]\n'
SIDES = (
    '"""Sides."""\n\nimport math as m\n\nfrom typing import TYPE_CHECKING\n\n'
    "if TYPE_CHECKING:\n    import torch\n\n# Said of it.\n_SIDE = m.sqrt(4)  # two\n\n\n"
    "def side(of: torch.Tensor | None = None) -> float:\n    return _SIDE\n"
)
AREA = (
    '"""Areas."""\n\nimport math as m\nfrom asam_datasets.sides import side\n\n\n'
    "def area() -> float:\n    return m.pow(side(), 2)\n"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two modules; the one that comes first in the alphabet needs the other."""
    folder = tmp_path / "asam_datasets"
    folder.mkdir()
    for name, text in (("__init__", FRONT), ("sides", SIDES), ("area", AREA)):
        (folder / f"{name}.py").write_text(text)
    return folder


def test_the_file_holds_the_modules_in_the_order_of_their_imports(package: Path) -> None:
    text = amalgamate(package)
    assert text.count("import math as m") == 1
    assert "asam_datasets.sides" not in text
    assert "# Said of it.\n_SIDE = m.sqrt(4)  # two\n" in text
    assert text.index("def side(") < text.index("def area(")
    names: dict[str, object] = {}
    exec(text, names)
    assert names["__version__"] == "1.2"
    assert names["__all__"] == ["area"]
    assert eval("area()", names) == 4


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("area", "def area", "_SIDE = 3\n\n\ndef area", r"_SIDE means two things: .*sides\.py"),
        ("area", "import math as m", "import cmath as m", "m means two things: import"),
        (
            "area",
            "import math as m",
            "import math as m\nimport asam_datasets",
            r"area\.py:4: write",
        ),
        ("area", "import side", "import side as s", r"area\.py:4: write from"),
        ("area", "from asam_datasets.sides", "from .sides", r"area\.py:4: write from"),
        (
            "area",
            "asam_datasets.sides",
            "asam_datasets.lost",
            "lost: not in the published",
        ),
        (
            "area",
            "    return",
            "    from asam_datasets.sides import side\n    return",
            "at the top",
        ),
        ("area", "def area", "print(1)\n\n\ndef area", "a definition was expected, found Expr"),
        ("sides", "import math", "from asam_datasets.area import area\nimport math", "one another"),
        ("sides", "    import torch", "    import torch\n    X = 1", "only imports may stand"),
        (
            "sides",
            "def side",
            "import os\n\n\ndef side",
            r"py:14: imports must stand",
        ),
        ("__init__", '["area"]', '["area", "lost"]', "no module defines lost"),
        ("__init__", '__version__ = "1.2"', "", "what __version__ is"),
    ],
)
def test_what_would_not_work_in_one_file_is_refused(
    package: Path, name: str, old: str, new: str, message: str
) -> None:
    path = package / f"{name}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StructureError, match=message):
        amalgamate(package)


def test_a_stale_file_is_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = package.parent
    assert main(["--check"], root) == 1  # there is none yet
    assert main([], root) == 0
    assert main(["--check"], root) == 0
    (package / "area.py").write_text(AREA.replace("2)", "3)"))
    written = (root / "asam_datasets.py").read_bytes()
    capsys.readouterr()
    assert main(["--check"], root) == 1
    assert "run `python -m tools.amalgamate` and commit" in capsys.readouterr().err
    assert (root / "asam_datasets.py").read_bytes() == written
    assert main([], root) == 0
    assert main(["--check"], root) == 0


def test_a_package_that_is_refused_ends_in_one_line(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(package / "area.py", package / "twice.py")
    assert main([], package.parent) == 1
    assert capsys.readouterr().err.startswith("error: area means two things")


def test_the_file_of_this_repository_is_fresh() -> None:
    assert main(["--check"], ROOT) == 0
