"""What a command says of an option's value, and of a package that is not installed."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import builder.verify
from builder.core.console import EXIT_FAILED, run_command
from builder.core.errors import AsamDatasetsError, MissingExtraError
from builder.core.extras import needs
from builder.core.options import number, out_folder, positive, utf8, whole

ROOT = Path(__file__).parents[2]
WHOLE = "is not a whole number of at least 1"


def parsed(type_: Callable[[str], Any], text: str) -> Any:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--workers", type=type_)
    return parser.parse_args([f"--workers={text}"]).workers


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (positive, "1", 1),
        (positive, "12", 12),
        (whole(0), "0", 0),
        (whole(0, 5), "5", 5),
        (whole(8, multiple_of=8), "64", 64),
        (whole(1, word="all"), "all", None),
        (number(), "2e-3", 0.002),
        (number(0, 1, open_low=False), "0", 0.0),
        (number(0, 1, open_low=False), "1", 1.0),
    ],
)
def test_what_fits_is_taken(type_: Callable[[str], Any], text: str, value: Any) -> None:
    assert parsed(type_, text) == value


@pytest.mark.parametrize(
    ("type_", "text", "message"),
    [
        (positive, "two", f"'two' {WHOLE}"),
        (positive, "0", f"'0' {WHOLE}"),
        (positive, "-3", f"'-3' {WHOLE}"),
        (positive, "1.5", f"'1.5' {WHOLE}"),
        (positive, "9223372036854775808", "'9223372036854775808' is too large"),
        (positive, "9" * 5000, f"'{'9' * 5000}' {WHOLE}"),
        (whole(0, 5), "6", "'6' is not a whole number of at least 0 and at most 5"),
        (whole(8, multiple_of=8), "60", "'60' is not a multiple of 8, at least 8"),
        (whole(1, word="all"), "every", f"'every' {WHOLE}, or all"),
        (number(), "0", "'0' is not a number above 0"),
        (number(), "nan", "'nan' is not a number above 0"),
        (number(), "inf", "'inf' is not a number above 0"),
        (number(), "fast", "'fast' is not a number above 0"),
        (
            number(0, 1, open_low=False),
            "1.1",
            "'1.1' is not a number of at least 0 and at most 1",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_expected(
    type_: Callable[[str], Any], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentError) as caught:
        parsed(type_, text)
    assert str(caught.value) == f"argument --workers: {message}"


def test_the_folder_to_write_to_may_exist_or_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for good in (tmp_path, tmp_path / "new" / "folder"):
        assert parsed(out_folder, str(good)) == good
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(argparse.ArgumentError, match=r"file' is a file: give a folder"):
            parsed(out_folder, str(bad))


def test_an_error_of_several_lines_is_said_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(text: str) -> int:
        def main(argv: Sequence[str] | None) -> int:
            raise AsamDatasetsError(text)

        return run_command(main)

    worker = "Caught SettingsError in DataLoader worker process 0.\nOriginal Traceback:\n  File\n"
    assert fails(f"{worker}builder.core.errors.SettingsError: sa_1: no pixels\n") == 1
    assert fails("a repo that is not there\n\nURL: x") == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: sa_1: no pixels", "error: a repo that is not there URL: x"]


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    with pytest.raises(MissingExtraError) as caught, needs("drawing", "preview"):
        import no_such_package.module  # type: ignore[import-not-found]  # noqa: F401
    assert str(caught.value) == (
        "drawing needs the package no_such_package, which is not installed: in the project's "
        'folder run pip install ".[preview]", or anywhere pip install no_such_package'
    )


def test_all_packages_that_an_extra_lacks_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = (
        "Requires-Dist: absent-one>=2; extra == 'made'\nRequires-Dist: pytest; extra == 'made'\n"
    )
    listed += "Requires-Dist: absent.two; extra == 'made'\nRequires-Dist: x; extra == 'other'\n"
    info = tmp_path / "asam_datasets-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: asam-datasets\nVersion: 1\n{listed}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as caught, needs("drawing", "made"):
        import absent_one  # type: ignore[import-not-found]  # noqa: F401
    assert str(caught.value).endswith(
        'pip install ".[made]", or anywhere pip install absent_one absent-one absent.two'
    )


def test_a_missing_module_of_our_own_is_no_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError), needs("drawing", "preview"):
        importlib.import_module("builder.no_such_module")


def test_each_extra_that_is_named_exists() -> None:
    """An extra that pyproject.toml does not have would be advice that does nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    files = [*(ROOT / "builder").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    named = [
        match
        for file in files
        for match in re.findall(r'needs\([^()"]*"[^"]*", "(\w+)"\)', file.read_text())
    ]
    assert named
    assert set(named) <= set(extras)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("builder.caption", ["absent.tar", "--out", "captions"]),
        ("examples.evaluate", []),
        ("examples.finetune_sam", []),
        ("examples.train_controlnet", []),
    ],
)
def test_a_program_without_its_packages_ends_with_one_line(
    program: str, arguments: list[str]
) -> None:
    code = (
        "import runpy, sys\n"
        "sys.modules['torch'] = None\n"
        f"sys.argv = {[program, *arguments]!r}\n"
        f"runpy.run_module('{program}', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "pip install" in done.stderr


def test_what_was_typed_is_shown_safely(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        builder.verify.main(["dist", "--workers", "https://h/x?sig=secret\x1b[2J"])
    said = capsys.readouterr().err
    assert "'https://h/x?...' is not a whole number" in said
    assert "secret" not in said
    assert "\x1b" not in said


def test_text_that_no_request_can_hold_is_refused() -> None:
    assert utf8("main é") == "main é"
    with pytest.raises(argparse.ArgumentTypeError, match="is not UTF-8"):
        utf8("\udcff")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TimeoutError(), "error: TimeoutError"),
        (
            PermissionError(13, "Permission denied", "/x"),
            "error: [Errno 13] Permission denied: '/x'",
        ),
        (MemoryError(), "error: the memory is full: run the same command again, with fewer"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    def fail(_: object) -> int:
        raise error

    assert run_command(fail) == EXIT_FAILED
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
