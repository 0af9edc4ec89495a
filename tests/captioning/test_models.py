"""Each accepted family, what is refused, and the dtypes that ASAM ran."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertModel,
)

from builder.captioning.families import FAMILIES
from builder.captioning.model import load
from builder.captioning.plain import PlainCaptioner
from builder.captioning.settings import CaptionSettings
from builder.captioning.sight import check_sight
from builder.captioning.stream import CaptionStream
from builder.core.errors import CaptionError
from tests.captioning import families

CPU = torch.device("cpu")
FEW = {"num_beams": 3, "max_new_tokens": 8}


def photographs() -> list[bytes]:
    from tests.captioning.test_run import photograph

    return [photograph(seed) for seed in range(6)]


def settings_for(folder: Path, prompt: str = "") -> CaptionSettings:
    return CaptionSettings(
        model=str(folder), dtype="float32", prompt=prompt, num_beams=3, max_new_tokens=8
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family."""
    made = {kind: tmp_path_factory.mktemp(kind) for kind in families.KINDS}
    for kind, folder in made.items():
        families.write(kind, folder)
    return made


def by_transformers(kind: str, folder: Path, data: Sequence[bytes], prompt: str) -> list[str]:
    """Captions as transformers' documentation of each model makes them, one image at a time."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    if kind == "vit-gpt2":  # no processor of both
        words = AutoTokenizer.from_pretrained(folder)
        processor = AutoImageProcessor.from_pretrained(folder)
    else:
        processor = AutoProcessor.from_pretrained(folder)
        words = processor.tokenizer
    captions = []
    for each in data:
        image = Image.open(io.BytesIO(each))
        if kind == "vit-gpt2":
            inputs = dict(processor(image, return_tensors="pt"))
            if prompt:
                inputs["decoder_input_ids"] = words(prompt, return_tensors="pt").input_ids
        elif kind == "git":
            inputs = dict(processor(images=image, return_tensors="pt"))
            if prompt:
                ids = processor(text=prompt, add_special_tokens=False).input_ids
                inputs["input_ids"] = torch.tensor([[words.cls_token_id, *ids]])
        else:
            text = {"text": prompt} if prompt else {}
            inputs = dict(processor(images=image, **text, return_tensors="pt"))
        made = model.generate(**inputs, **FEW, min_length=1, do_sample=False, early_stopping=False)
        captions.append(words.decode(made[0], skip_special_tokens=True).strip())
    return captions


@pytest.mark.parametrize("prompt", ["", families.PROMPT], ids=["no prompt", "a prompt"])
@pytest.mark.parametrize("kind", families.KINDS)
def test_each_family_captions_as_transformers_does_and_sees_the_image(
    kind: str, prompt: str, folders: dict[str, Path]
) -> None:
    loaded = load(settings_for(folders[kind], prompt), CPU)
    assert loaded.is_blip2_t5 == (kind == "blip2-t5")
    check_sight(loaded)
    data = photographs()
    expected = by_transformers(kind, folders[kind], data, prompt)
    captions = PlainCaptioner(loaded, 4)
    made = [pair for done in captions(enumerate(map(loaded.prepare, data))) for pair in done]
    assert made == list(enumerate(expected))
    assert len(set(expected)) == len(data)
    repeated = bool(prompt) and kind != "blip2-t5"
    assert loaded.prompt_words == (prompt if repeated else "")
    assert all(caption.startswith(prompt) == (repeated or not prompt) for caption in expected)


def test_the_families_that_are_tested_are_those_that_are_accepted() -> None:
    names = ["BLIP", "BLIP-2 with T5", "BLIP-2 with OPT", "GIT", "ViT-GPT2"]
    assert [family.name for family in FAMILIES] == names
    assert len(families.KINDS) == len(FAMILIES)


def test_only_a_blip2_with_a_t5_is_captioned_continuously(folders: dict[str, Path]) -> None:
    loaded = load(settings_for(folders["blip"]), CPU)
    assert CaptionStream(loaded, "auto", 2, 1).engine == "generate"
    with pytest.raises(CaptionError, match="--engine generate"):
        CaptionStream(loaded, "continuous", 2, 1)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("blip", {"search": "lavis"}, "--search lavis is only for BLIP-2 with T5, found BLIP;"),
        ("git", {"dtype": "asam"}, "--dtype asam is only for BLIP-2 with T5, found GIT; use"),
        ("vit-gpt2", {"dtype": "fast"}, "--dtype fast is only for BLIP-2 with T5, found ViT-GPT2"),
        ("git", {"dct_scaling": True}, "--dct-scaling is only for .* this GIT model does more"),
        ("blip", {"revision": "v1"}, "--revision is for a repo of the Hub, and .* is a folder"),
    ],
)
def test_an_option_without_effect_is_refused_before_the_weights_are_read(
    kind: str,
    change: dict[str, Any],
    message: str,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    for path in folders[kind].glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CaptionError, match=message):
        load(replace(settings_for(tmp_path), **change), CPU)


@pytest.mark.parametrize(("kind", "search"), [("git", "transformers"), ("blip2-t5", "lavis")])
def test_what_runs_by_default_is_recorded(kind: str, search: str, folders: dict[str, Path]) -> None:
    loaded = load(replace(settings_for(folders[kind]), dtype="auto"), CPU)
    recorded = loaded.identity["settings"]
    assert (recorded["search"], recorded["dtype"]) == (search, "float32")
    assert loaded.settings.search == search


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("blip", {"model_type": "instructblip"}, "model type instructblip is not accepted"),
        ("blip", {"model_type": "foo", "auto_map": {"AutoConfig": "x.Y"}}, "model type foo is not"),
        ("blip", {"model_type": None}, "model type None is not accepted"),
        (
            "blip2-opt",
            {"text_config": {"model_type": "llama"}},
            r"model type blip-2 \(text_config llama\) is not accepted",
        ),
        (
            "vit-gpt2",
            {"encoder": {"model_type": "donut-swin"}, "decoder": {"model_type": "mbart"}},
            r"model type vision-encoder-decoder \(decoder mbart, encoder donut-swin\) is not",
        ),
        (
            "blip",
            {"architectures": ["BlipForQuestionAnswering"]},
            "BlipForQuestionAnswering is not accepted for model type blip; expected BlipForCond",
        ),
    ],
)
def test_another_model_is_refused_by_name_before_its_weights_are_read(
    kind: str, change: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    config = json.loads((folders[kind] / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))  # and no weights beside it
    with pytest.raises(CaptionError, match=message):
        load(settings_for(tmp_path), CPU)


def test_the_refusal_lists_what_is_accepted(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    BertModel(config).save_pretrained(tmp_path)
    accepted = "blip, blip-2 (text_config t5), blip-2 (text_config opt), git, "
    accepted += "vision-encoder-decoder (encoder vit, decoder gpt2)"
    with pytest.raises(CaptionError) as caught:
        load(settings_for(tmp_path), CPU)
    expected = f"{tmp_path}: model type bert is not accepted; accepted are {accepted}"
    assert str(caught.value) == expected


def test_weights_of_another_shape_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["blip"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["vocab_size"] += 7
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptionError, match=r"another shape, such as .*text_decoder"):
        load(settings_for(tmp_path), CPU)


@pytest.mark.parametrize("kind", ["blip", "vit-gpt2"])
def test_a_processor_of_images_of_another_size_is_refused(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders[kind], tmp_path, dirs_exist_ok=True)
    for path in (*tmp_path.glob("p*processor_config.json"), tmp_path / "processor_config.json"):
        if path.exists():
            path.write_text(path.read_text().replace(": 28", ": 14"))
    with pytest.raises(CaptionError, match=r"makes images of 14 x 14 pixels.* expects 28 x 28"):
        load(settings_for(tmp_path), CPU)


@pytest.mark.parametrize("kind", ["blip", "blip2-opt", "git", "vit-gpt2"])
def test_a_prompt_that_leaves_no_room_is_refused_before_the_weights_are_read(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    for path in folders[kind].glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CaptionError, match=r"may have 64 tokens together.* 8; shorten one of them"):
        load(settings_for(tmp_path, "word7 " * 60), CPU)


@pytest.mark.parametrize("kind", ["blip2-t5", "blip2-opt"])
def test_a_prompt_with_the_token_of_the_image_is_refused(
    kind: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(CaptionError, match="contains the image token"):
        load(settings_for(folders[kind], "word7 <image> word8"), CPU)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.0, "ignores the image"), (float("nan"), "its scores are NaN")],
)
def test_weights_that_make_no_use_of_the_image_are_refused(
    value: float, message: str, folders: dict[str, Path]
) -> None:
    loaded = load(settings_for(folders["git"]), CPU)
    for weight in loaded.model.git.visual_projection.parameters():
        weight.fill_(value)
    with pytest.raises(CaptionError, match=message):
        check_sight(loaded)


def test_a_prompt_without_the_tokens_of_the_image_is_found_before_a_run(
    folders: dict[str, Path],
) -> None:
    loaded = load(settings_for(folders["blip2-opt"], families.PROMPT), CPU)
    loaded.prompt_ids = loaded.processor.tokenizer(families.PROMPT).input_ids
    with pytest.raises(CaptionError, match="ignores the image"):
        check_sight(loaded)


def test_a_model_that_can_not_caption_is_told_in_one_line(folders: dict[str, Path]) -> None:
    loaded = load(settings_for(folders["vit-gpt2"]), CPU)
    loaded.model.decoder.transformer.h[0].crossattention = None
    del loaded.model.decoder.transformer.h[0].crossattention
    with pytest.raises(CaptionError, match="no caption can be made with this model on cpu") as told:
        check_sight(loaded)
    assert "\n" not in str(told.value)
