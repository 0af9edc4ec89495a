"""The package asam_datasets: what it imports, what it exports, and what is installed of it."""

from __future__ import annotations

import ast
import importlib
import logging
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import asam_datasets
from builder.card.script import script_path
from builder.card.top import write_top
from builder.core.console import EXIT_FAILED
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources
from tests.factory import members, write_tar
from tests.published import published

ROOT = Path(__file__).parents[1]
FRONT = ROOT / "asam_datasets" / "__init__.py"
HEAVY = {"datasets", "fsspec", "huggingface_hub", "pandas", "PIL", "pyarrow", "torch", "triton"}
SPY = "open({!r}, 'w').write({!r})\nraise SystemExit('was run')\n"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the project's wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return folder / "venv" / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed project's Python, which has the packages of this one, not its checkout."""
    return subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(np.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
    )


def loaded(statement: str) -> set[str]:
    """The modules that a new process has after a statement, by the names of their packages."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("name", ["errors", "names", "rle", "bits", "decode", "control"])
def test_a_module_imports_what_it_needs_and_no_more(name: str) -> None:
    found = loaded(f"import asam_datasets.{name}")
    assert "asam_datasets" in found
    assert not found & (HEAVY - {"PIL"} if name == "control" else HEAVY)  # it takes pictures
    assert ("numpy" in found) == (name not in ("errors", "names"))


def test_a_name_is_loaded_when_it_is_first_used() -> None:
    assert not loaded("import asam_datasets, builder") & {*HEAVY, "numpy"}
    assert not loaded("from asam_datasets import decode_masks") & HEAVY
    assert "datasets" in loaded("from asam_datasets import load")


def test_the_front_names_each_public_name_three_times_alike() -> None:
    tree = ast.parse(FRONT.read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and "." in node.module
        for alias in node.names
    }
    homes = {
        name: f"asam_datasets.{module}"
        for module, names in asam_datasets._HOMES.items()
        for name in names.split()
    }
    assert typed == homes
    assert sorted(homes) == sorted(asam_datasets.__all__)
    for name, module in homes.items():
        assert getattr(asam_datasets, name) is getattr(importlib.import_module(module), name)
    assert set(homes) <= set(dir(asam_datasets))
    with pytest.raises(AttributeError, match="'asam_datasets' has no attribute 'lost'"):
        asam_datasets.lost  # type: ignore[attr-defined]  # noqa: B018


def test_the_published_file_has_the_same_names_and_version() -> None:
    module = published()
    assert module.__all__ == asam_datasets.__all__
    assert module.__version__ == asam_datasets.__version__
    assert all(hasattr(module, name) for name in module.__all__)


def test_masks_on_a_gpu_fall_back_to_torch_in_the_published_file(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    from asam_datasets import device, kernels

    module, cuda = published(), torch.device("cuda")
    expected = (kernels.parse_by_kernel, kernels.fill_by_kernel)
    with caplog.at_level(logging.WARNING, "asam_datasets"):
        assert device.parser_and_filler(cuda) == expected
        assert caplog.messages == []
        for _ in range(2):
            found = module.parser_and_filler(cuda)
            assert found == (module.parse_on_host, module.fill_by_search)
    (message,) = caplog.messages
    assert "pip install ." in message


@pytest.mark.slow
def test_an_installed_project_is_one_package_with_types(installed: Path, tmp_path: Path) -> None:
    """Its published file is data, equal to that of the checkout; mypy checks calls of `load`."""
    code = (
        "import asam_datasets; from builder.card.script import script_path;"
        "print(asam_datasets.__file__, script_path(), asam_datasets.__version__, sep='\\n')"
    )
    done = run(installed, "-c", code, cwd=tmp_path)
    package, script, version = done.stdout.splitlines()
    assert Path(package).name == "__init__.py"
    assert Path(package).is_relative_to(installed.parents[1])
    assert Path(script).is_relative_to(installed.parents[1])
    assert Path(script).read_bytes() == script_path().read_bytes()
    assert version == asam_datasets.__version__
    (tmp_path / "user.py").write_text(
        "from asam_datasets import decode_masks, load\n"
        "import asam_datasets\n"
        "load(3)\n"
        "decode_masks([], size='large')\n"
        "asam_datasets.lost\n"
        "asam_datasets.load('sa_000000', streaming=True)\n"
        "decode_masks([], (3, 4), packed=True)\n"
    )
    # Other packages are not there, so that mypy reads this one alone.
    options = ["--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--python-executable={installed}", "user.py"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    lines = [
        line.split(": error: ")[0] for line in checked.stdout.splitlines() if ": error: " in line
    ]
    assert lines == ["user.py:3", "user.py:4", "user.py:5"], checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", ["python -m", "script"])
def test_a_command_runs_nothing_of_the_folder_that_it_stands_in(
    installed: Path, tmp_path: Path, way: str
) -> None:
    """verify, whose workers are processes too, where the dist holds modules of someone else's."""
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members(range(1, 9))))])
    dist, ran = tmp_path / "dist", tmp_path / "ran"
    build_config(source, dist, Settings("arrow", 12_000), quiet=True)
    write_top(dist)
    for name in ("asam_datasets", "numpy", "multiprocessing"):
        (dist / f"{name}.py").write_text(SPY.format(str(ran), name))
    script = tmp_path / "asam-datasets"  # as pip writes it
    script.write_text(
        "import sys\nfrom builder.__main__ import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    start = ["-m", "builder.verify"] if way == "python -m" else [str(script), "verify"]
    done = run(installed, *start, ".", "--workers", "2", cwd=dist)
    assert not ran.exists(), ran.read_text() + done.stderr
    # The dist's own loading code is another one now, which verify finds.
    assert done.returncode == EXIT_FAILED, done.stderr
    assert "asam_datasets.py" in done.stdout
