"""A mistake in an example's options ends in one line that says what to do."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from builder.core.console import EXIT_FAILED, EXIT_USAGE, run_command
from builder.sources.evaluation.fixtures import write_fixture
from tests.examples.conftest import built
from tests.factory import members, write_tar

EVALUATE, FINETUNE, CONTROLNET = "evaluate", "finetune_sam", "train_controlnet"
ALL = (EVALUATE, FINETUNE, CONTROLNET)
TRAINING = (FINETUNE, CONTROLNET)


def said(
    program: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str]:
    """The exit status of an example, and its last line but for that which names the help."""
    status: int | str | None
    capsys.readouterr()
    try:
        status = run_command(import_module(f"examples.{program}").main, options)
    except SystemExit as exit_:
        status = exit_.code
    lines = capsys.readouterr().err.splitlines()
    return status, [line for line in lines if not line.startswith("see ")][-1]


@pytest.mark.parametrize(
    ("programs", "option", "value", "expected"),
    [
        (ALL, "--steps", "0", "'0' is not a whole number of at least 1"),
        (ALL, "--steps", "many", "'many' is not a whole number of at least 1"),
        (ALL, "--seed", "-1", "'-1' is not a whole number of at least 0"),
        (TRAINING, "--batch-size", "0", "'0' is not a whole number of at least 1"),
        (TRAINING, "--workers", "-1", "'-1' is not a whole number of at least 0"),
        (TRAINING, "--lr", "nan", "'nan' is not a number above 0 and at most 1"),
        (TRAINING, "--lr", "0", "'0' is not a number above 0 and at most 1"),
        (TRAINING, "--lr", "1e300", "'1e300' is not a number above 0 and at most 1"),
        ((EVALUATE,), "--masks-at-once", "0", "'0' is not a whole number of at least 1"),
        ((FINETUNE,), "--masks", "0", "'0' is not a whole number of at least 1"),
        ((FINETUNE,), "--box-noise", "-0.5", "'-0.5' is not a number of at least 0 and at most 1"),
        ((CONTROLNET,), "--save-every", "0", "'0' is not a whole number of at least 1"),
        (
            (CONTROLNET,),
            "--resolution",
            "60",
            "'60' is not a multiple of 8, at least 8 and at most 8192",
        ),
    ],
)
def test_numbers_out_of_range(
    programs: tuple[str, ...],
    option: str,
    value: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for program in programs:
        status, line = said(program, [option, value], capsys)
        assert status == EXIT_USAGE
        assert line.endswith(f"error: argument {option}: {expected}")


@pytest.mark.parametrize("program", ALL)
def test_an_out_that_is_a_file(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    status, line = said(program, ["--out", str(tmp_path / "file")], capsys)
    assert status == EXIT_USAGE
    assert "is a file: give a folder" in line


@pytest.fixture(scope="module")
def without_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without_pixels")
    tar = write_tar(folder / "sa_000000.tar", members(range(1, 3)))
    (folder / "captions.jsonl").write_text('{"img": "sa_1.jpg", "prompt": "a hill"}\n')
    captions = ("--captions", str(folder / "captions.jsonl"))
    return built(folder / "dist", str(tar), *captions, "--annotations-only")


def config(program: str) -> list[str]:
    return ["--configs" if program == EVALUATE else "--config", "sa_000000"]


@pytest.mark.parametrize("program", ALL)
def test_a_model_that_is_none(
    program: str, small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    options = ["--data", str(small_dist), *config(program), "--out", str(tmp_path / "out")]
    status, line = said(program, [*options, "--model", str(model)], capsys)
    assert status == EXIT_FAILED
    assert line.startswith(f"error: '{model}' can't be loaded as ")
    assert line.endswith("; give a repo of the Hub, or a folder that save_pretrained wrote")


@pytest.mark.parametrize("program", ALL)
def test_a_model_that_is_nowhere(
    program: str, small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "nowhere"
    options = ["--data", str(small_dist), *config(program), "--out", str(tmp_path / "out")]
    status, line = said(program, [*options, "--model", str(model)], capsys)
    assert status == EXIT_FAILED
    assert f"'{model}' can't be loaded as " in line
    assert "no such folder, and no repo's name; give a repo" in line


@pytest.mark.parametrize("program", TRAINING)
def test_a_config_without_the_split_is_told_before_a_model_is_loaded(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = write_fixture("coco2017", tmp_path)
    asam = ("--eval", "coco2017", "--protocol", "asam")
    dist = built(tmp_path / "dist", *asam, "--source", str(release))
    options = ["--data", str(dist), "--config", "coco2017_asam", "--out", str(tmp_path / "out")]
    status, line = said(program, [*options, "--model", str(tmp_path / "nowhere")], capsys)
    assert status == EXIT_FAILED
    assert line.startswith("error: no split 'train' in ")


@pytest.mark.parametrize("program", TRAINING)
def test_quiet_shows_no_progress_bar(
    program: str, small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(small_dist), "--out", str(tmp_path), "--workers", "0"]
    options += ["--batch-size", "1", "--steps", "1", "--quiet"]
    capsys.readouterr()
    assert run_command(import_module(f"examples.{program}").main, options) == 0
    assert "%" not in capsys.readouterr().err


@pytest.mark.parametrize("program", ALL)
def test_data_that_are_nowhere(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    status, line = said(program, options, capsys)
    assert status == EXIT_FAILED
    assert line.startswith(f"error: {tmp_path / 'nowhere'}: no such folder")


@pytest.mark.parametrize(
    ("program", "more"),
    [
        (EVALUATE, []),
        (FINETUNE, ["--workers", "0"]),
        (FINETUNE, ["--workers", "1"]),
        (CONTROLNET, ["--workers", "0"]),
        (CONTROLNET, ["--workers", "1"]),
        (CONTROLNET, ["--captioned", "captioned"]),
    ],
)
def test_a_config_without_pixels(
    program: str,
    more: list[str],
    without_pixels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", str(without_pixels), *config(program), "--out", "out", "--quiet", *more]
    status, line = said(program, options, capsys)
    assert status == EXIT_FAILED
    assert line == (
        "error: this config was built with --annotations-only and holds no pixels: give the tar "
        "or folder with the images as --image-root"
    )


def test_tokens_that_are_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    status, line = said(EVALUATE, ["--tokens", "nowhere.pth"], capsys)
    assert (status, line) == (EXIT_FAILED, "error: nowhere.pth: there is no such file of tokens")


def test_a_folder_of_other_files_is_not_filled(
    small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train-00000-of-00009.parquet").touch()
    options = ["--data", str(small_dist), "--captioned", str(tmp_path), "--quiet"]
    status, line = said(CONTROLNET, [*options, "--out", str(tmp_path / "out")], capsys)
    assert status == EXIT_FAILED
    assert "holds other files, such as " in line


def test_a_checkpoint_of_something_else(
    small_dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.pt").write_text("not one")
    options = ["--data", str(small_dist), "--out", str(tmp_path), "--steps", "1", "--quiet"]
    status, line = said(CONTROLNET, options, capsys)
    assert status == EXIT_FAILED
    assert line.startswith(f"error: {tmp_path / 'checkpoint.pt'} is not a checkpoint of this")


@pytest.mark.parametrize("program", TRAINING)
def test_a_loss_that_is_not_finite(
    program: str,
    small_dist: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No model is saved as if all had gone well."""
    import torch

    nothing = torch.tensor(float("nan"), requires_grad=True)

    def loss(*_: Any) -> Any:
        return (nothing * 1, nothing * 1) if program == FINETUNE else nothing * 1

    module = import_module(f"examples.{program}")
    if program == FINETUNE:
        monkeypatch.setattr(module, "loss_of", loss)
    else:
        monkeypatch.setattr(module.Models, "loss", loss)
    options = ["--data", str(small_dist), "--out", str(tmp_path), "--workers", "0", "--quiet"]
    status, line = said(program, options, capsys)
    assert status == EXIT_FAILED
    assert line == "error: the loss of step 1 is not finite: lower --lr"
    assert not (tmp_path / ("sam" if program == FINETUNE else "controlnet")).exists()


@pytest.mark.parametrize("program", ["examples.evaluate", "examples.finetune_sam"])
def test_the_default_model_is_the_tiny_one(program: str) -> None:
    module = import_module(program)
    assert module.parser().get_default("model") == module.TINY
