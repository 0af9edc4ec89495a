"""Loading a SAM: what is not one is named in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import BlipConfig

from builder.core.errors import ModelError
from builder.evaluating.sam import load_sam, take_tokens, tiny_sam


def test_a_saved_sam_is_the_sam_that_was_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = load_sam("tiny")
    saved.save_pretrained(tmp_path)
    found = load_sam(str(tmp_path)).state_dict()
    assert found.keys() == saved.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in saved.state_dict().items())


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))


def of_another_model(folder: Path) -> None:
    BlipConfig().save_pretrained(folder)


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut_off, "can't be loaded as a SAM"),
        (without_weights, "can't be loaded as a SAM"),
        (of_another_size, "weights are missing or have another shape, such as"),
        (of_another_model, "is a blip model, not a SAM"),
        (no_json, "can't be loaded as a SAM"),
    ],
)
def test_a_folder_that_is_no_sam(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    tiny_sam().save_pretrained(tmp_path)
    harm(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_sam(str(tmp_path))
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "sam_vit_b.pth").write_bytes(b"weights")
    with pytest.raises(ModelError, match="can't be loaded as a SAM"):
        load_sam(str(tmp_path / "sam_vit_b.pth"))


def tokens(**changes: Any) -> dict[str, Any]:
    decoder = tiny_sam().mask_decoder
    return {
        "mask_tokens.weight": torch.full_like(decoder.mask_tokens.weight, 0.5),
        "iou_token.weight": torch.full_like(decoder.iou_token.weight, 0.25),
        **changes,
    }


@pytest.mark.parametrize("prefix", ["", "mask_decoder."])
def test_tokens_of_both_forms_of_checkpoint_are_taken(tmp_path: Path, prefix: str) -> None:
    torch.save({prefix + name: value for name, value in tokens().items()}, tmp_path / "tokens.pth")
    model = tiny_sam()
    take_tokens(model, tmp_path / "tokens.pth")
    assert (model.mask_decoder.mask_tokens.weight == 0.5).all()
    assert (model.mask_decoder.iou_token.weight == 0.25).all()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"unet": torch.zeros(1)}, r"holds no mask_tokens.weight.*found unet"),
        ([1, 2], r"holds no mask_tokens.weight.*found nothing by name"),
        (tokens(**{"iou_token.weight": 1}), r"holds no iou_token.weight"),
        (tokens(**{"iou_token.weight": torch.zeros(1, 256)}), r"shape \(1, 256\).*\(1, 32\)"),
    ],
)
def test_a_checkpoint_of_something_else(tmp_path: Path, weights: Any, said: str) -> None:
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=said):
        take_tokens(tiny_sam(), tmp_path / "other.pth")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("tokens")
    (tmp_path / "empty.pth").touch()
    for name in ("notes.txt", "empty.pth"):
        with pytest.raises(ModelError, match="is not a checkpoint that torch can load"):
            take_tokens(tiny_sam(), tmp_path / name)
    for path in (tmp_path, tmp_path / "nowhere.pth"):
        with pytest.raises(ModelError, match="there is no such file"):
            take_tokens(tiny_sam(), path)
