"""One name for all commands: `asam-datasets COMMAND` and `python -m builder COMMAND`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import builder
from builder.__main__ import COMMANDS, main
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from builder.core.options import SCRIPT
from tests.commands.test_help import commands
from tests.factory import members, write_tar

# In a process of its own: which modules does a command import before it has shown its help?
IMPORTED = """
import runpy, sys
before = set(sys.modules)
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit:
    print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}), file=sys.stderr)
"""
LIGHT = {"builder", "asam_datasets", "tqdm"}  # all that help needs beside the standard library


def test_the_table_lists_every_command() -> None:
    modules = {name.removeprefix("builder.") for name in commands() if name.startswith("builder.")}
    assert set(COMMANDS) == modules


def test_without_arguments_the_commands_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == EXIT_USAGE
    said = capsys.readouterr()
    assert not said.out
    for name, summary in COMMANDS.items():
        assert f"  {name} " in said.err
        assert summary in said.err


def test_a_command_that_does_not_exist_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["biuld"])
    assert exit_.value.code == EXIT_USAGE
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: argument COMMAND: no command 'biuld'. Did you mean build?")
    assert second == "see python -m builder --help"


def test_a_command_gets_its_arguments_and_gives_its_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]))
    arguments = [str(tar), "--dry-run", "--json", "--out", str(tmp_path / "dist")]
    assert main(["build", *arguments]) == EXIT_OK
    (plan,) = json.loads(capsys.readouterr().out)
    assert plan["config"] == "sa_000000"


def test_an_error_is_one_line_and_the_status_is_passed_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["verify", str(tmp_path / "absent")]) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_each_says_its_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--version"])
    assert exit_.value.code == EXIT_OK
    assert capsys.readouterr().out == f"{SCRIPT} {builder.__version__}\n"


def test_the_console_script_explains_itself_in_its_own_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"/usr/local/bin/{SCRIPT}", "verify", "--help"])
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {SCRIPT} verify ")
    assert f"\n  {SCRIPT} verify dist\n" in said
    assert "python -m" not in said


@pytest.mark.parametrize("module", ["builder", *(f"builder.{name}" for name in COMMANDS)])
def test_help_imports_nothing_that_takes_time(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, module], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")
    imported = set(done.stderr.split())
    assert "argparse" in imported
    assert imported - sys.stdlib_module_names == LIGHT


@pytest.mark.parametrize("module", [name for name in commands() if name.startswith("examples.")])
def test_the_help_of_an_example_waits_for_no_model_library(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, module],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.startswith("usage: ")
    assert not {"datasets", "diffusers", "torch", "transformers"} & set(done.stderr.split())
