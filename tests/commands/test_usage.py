"""A command line that is wrong by itself ends with status 2; what fails ends with status 1."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from builder.core.console import EXIT_FAILED, EXIT_USAGE, run_command

WRONG = {
    "build x.tar --workers two": "argument --workers: 'two' is not a whole number of at least 1",
    "build x.tar --shard-size 1e300": "argument --shard-size: '1e300' is more than any disk holds",
    "build x.tar --shard-size nan": "argument --shard-size: 'nan' is not a size such as 256M",
    "build --eval camoo --source x": "no evaluation dataset 'camoo'. Did you mean camo?",
    "build --sample x.tar": "give one of SOURCE, --sample, --eval NAME and --eval-fixtures",
    "build": "give one of SOURCE, --sample, --eval NAME and --eval-fixtures",
    "build --sample --protocol asam": "--protocol is for --eval and --eval-fixtures: leave it out",
    "build x.tar --device cpu": "--device is for --caption-model",
    "build x.tar --config a/b": "--config 'a/b' can't name a config: expected letters, digits",
    "build x.tar y.tar --config a": "--config a can name one source only, found 2",
    "push dist --repo noname": "--repo noname: expected owner/name",
    "push dist --repo a/b --create-pr --revision b": "--create-pr starts from main",
}
ABSENT = (
    "build {absent} --out {out}",
    "verify {absent}",
    "export sa_000000 --from {absent} --out {out}",
    "preview {absent} sa_000000 --out {out}",
    "push {absent} --repo a/b",
)


def call(line: str) -> int:
    command, *arguments = line.split()
    module = importlib.import_module(f"builder.{command}")
    try:
        return run_command(module.main, arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_one_error_with_status_2(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(line) == EXIT_USAGE
    first, *more = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert WRONG[line] in first
    command = line.split()[0]
    assert more in ([], [f"see python -m builder.{command} --help"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ABSENT)
def test_what_is_not_there_is_a_failure(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    assert call(line.format(absent=absent, out=tmp_path / "out")) == EXIT_FAILED
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {absent}")
    if not line.startswith("build"):
        assert ": no such folder" in said
