"""What README says runs: its commands, in order, in an empty folder, and its Python."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.core.console import run_command
from builder.sources import sample
from builder.sources.sample import SamplePaths

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.replace("\\\n", " ").splitlines()
    if line.strip()
]
SETUP = COMMANDS[:2]  # .ci/run runs these two, each in an environment of its own
# What needs a download (dist holds a real tar), weights, a desktop, or is this test.
ELSEWHERE = re.compile(
    r"pip install|xhk/ASAM-Datasets|xdg-open|accelerate|facebook/|Salesforce/|benchmarks|pytest"
    r"|tests\.versions|--source |sa_000000\.tar|examples/|verify dist$"
)


def run(command: list[str] | str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": path,
        "HF_HOME": str(folder / "hf"),
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        shell=isinstance(command, str),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_the_commands_run_as_they_stand(
    folder: Path,
    sample_source: SamplePaths,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, which has imported what they need, and with the pictures drawn before."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sample, "write_sample", lambda *_: sample_source)
    # The console script is there after the installation; the module does the same without one.
    first = SETUP[0].rpartition(" && ")[2].replace("asam-datasets ", "python -m builder.")
    here = list(dict.fromkeys([first, *(c for c in COMMANDS if not ELSEWHERE.search(c))]))
    assert len(here) >= 6
    for command in here:
        python, option, module, *arguments = shlex.split(command)
        assert (python, option) == ("python", "-m")
        status = run_command(importlib.import_module(module).main, arguments)
        assert status == 0, f"{command}\n{capsys.readouterr().err}"


def test_it_opens_with_two_set_up_commands_of_which_each_works_alone() -> None:
    first = next(text for language, text in BLOCKS if language == "bash")
    assert first.splitlines() == SETUP
    core, everything = SETUP
    assert core == "pip install . && asam-datasets build --sample --out sample"
    assert " && python -m pytest" in everything


def test_every_other_builder_command_is_one_that_parses(folder: Path) -> None:
    others = [c for c in COMMANDS if ELSEWHERE.search(c) and c.startswith("python -m builder.")]
    assert len(others) >= 6
    for command in others:
        # An unknown option at the end: argparse complains of that and of nothing else.
        done = run(f"{command} --no-such-option", folder)
        assert done.returncode == 2, command
        assert "unrecognized arguments: --no-such-option" in done.stderr, done.stderr


def test_the_python_runs_on_what_the_commands_built(sample_dist: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_dist, tmp_path / "sample")
    blocks = []
    for language, text in BLOCKS:
        if language != "python":
            continue
        code = text.replace("xhk/ASAM-Datasets", "sample")
        code = "\n".join(line for line in code.splitlines() if "trust_remote_code" not in line)
        if "asam_datasets." in code and "repo_or_path" not in code:
            code = code.replace(
                'load("sa_000000", ', 'load("sa_000000", repo_or_path="sample", split='
            )
        blocks.append(code)
    assert len(blocks) >= 3
    # Each block has names of its own. What they import is imported once.
    program = (
        "import json, sys\n"
        "for code in json.loads(sys.argv[1]):\n"
        "    print(code, file=sys.stderr)\n"
        "    exec(compile(code, 'README.md', 'exec'), {'__name__': '__main__'})\n"
    )
    done = run([sys.executable, "-c", program, json.dumps(blocks)], tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_picture_page_and_heading_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        name = name or "README.md"
        assert (ROOT / name).is_file(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (ROOT / name).read_text(), re.MULTILINE)
            plain = [re.sub(r"[^\w -]", "", title.lower()) for title in titles]
            anchors = [title.replace(" ", "-") for title in plain]
            assert anchor in anchors, link


def test_the_page_on_the_main_path_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    _, _, path = text.partition("## The main path, file by file")
    rooms = ("builder", "asam_datasets")
    known = {file.name for room in rooms for file in (ROOT / room).rglob("*.py")}
    named = re.findall(r"`([\w/.]+\.py)`", path)
    assert len(named) > 30
    for name in named:
        whole = [ROOT / name, *(ROOT / room / name for room in rooms)]
        alone = "/" not in name and name in known  # the cell names its folder before
        assert alone or any(file.is_file() for file in whole), name
