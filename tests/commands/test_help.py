"""Every command explains itself, and what its help shows as an example is understood."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNKNOWN = "--no-such-option"


def commands() -> list[str]:
    """The commands by their modules' dotted names: those of the builder and the examples."""
    files = [*(ROOT / "builder").glob("*.py"), *(ROOT / "examples").glob("*.py")]
    return sorted(
        f"{file.parent.name}.{file.stem}"
        for file in files
        if file.stem != "__main__"  # it calls the others; test_dispatch.py tests it
        and any(isinstance(x, ast.FunctionDef) and x.name == "main" for x in defined(file))
    )


def defined(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text()).body


def call(module: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Call a command that ends before it does anything: its status, stdout and stderr."""
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        pytest.skip(f"{module} needs {error.name}")
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    said = capsys.readouterr()
    return int(exit_.value.code or 0), said.out, said.err


def example_lines(help_text: str) -> list[str]:
    """The lines below `examples:`, one command each."""
    _, _, examples = help_text.partition("\nexamples:\n")
    joined = re.sub(r"\\\n\s*", "", examples)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def target(line: str) -> tuple[str, list[str]]:
    """The module that an example line calls, and its arguments."""
    words = shlex.split(line, comments=True)
    words = words[words.index("python") :] if "python" in words else words
    if words[:2] == ["python", "-m"]:
        return words[2], words[3:]
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    return words[script].removesuffix(".py").replace("/", "."), words[script + 1 :]


def test_there_are_commands() -> None:
    assert {"builder.build", "builder.verify", "builder.export"} <= set(commands())


@pytest.mark.parametrize("module", commands())
def test_help_says_what_the_command_does_and_shows_examples(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, help_text, _ = call(module, ["--help"], capsys)
    assert status == 0
    description, _, options = help_text.partition("\noptions:\n")
    assert len(description.split("\n\n", 1)[1].strip()) > 20
    assert "--help" in options
    lines = example_lines(help_text)
    assert lines
    assert all(target(line)[0] == module for line in lines), lines


@pytest.mark.parametrize("module", commands())
def test_each_example_is_understood(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option at the end is then all that the parser complains about."""
    _, help_text, _ = call(module, ["--help"], capsys)
    for line in example_lines(help_text):
        status, _, said = call(module, [*target(line)[1], UNKNOWN], capsys)
        assert status == 2
        first, second = said.splitlines()
        assert first == f"error: unrecognized arguments: {UNKNOWN}", line
        assert second.startswith("see ")
        assert second.endswith(" --help")


@pytest.mark.parametrize("module", commands())
def test_every_option_is_explained(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, help_text, _ = call(module, ["--help"], capsys)
    body, _, _ = help_text.partition("\nexamples:\n")
    entries = re.split(r"\n  (?=\S)", body.partition("\noptions:\n")[2])
    for entry in filter(str.strip, entries):
        words = re.split(r"\s{2,}|\n\s+", entry.strip(), maxsplit=1)
        assert len(words) == 2, f"{words[0]} has no help"
