"""Presets: what ASAM's script and LAVIS's configurations say, and what an option overrides."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Blip2ForConditionalGeneration, BlipImageProcessorPil

from builder.caption import main
from builder.captioning.model import load
from builder.captioning.settings import (
    PRESETS,
    CaptionSettings,
    caption_settings,
    describe_preset,
)
from builder.captioning.store import captions_path, provenance_path
from builder.captioning.stream import CaptionStream
from builder.captioning.synthetic import TINY, write_random_model
from builder.core.console import EXIT_OK
from builder.core.errors import CaptionError
from tests.captioning.test_run import photograph

CPU = torch.device("cpu")
AT_364 = {**TINY, "vision_config": {**TINY["vision_config"], "image_size": 364}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the size of the preset "asam": 364 px."""
    path = tmp_path_factory.mktemp("models") / "tiny-coco"
    write_random_model(path, AT_364)
    return path


def test_the_presets_are_what_lavis_says() -> None:
    # configs/models/blip2/blip2_caption_flant5xl.yaml and blip2_pretrain_flant5xl.yaml, and the
    # defaults of `generate` in models/blip2_models/blip2_t5.py.
    generate: dict[str, Any] = {"num_beams": 5, "max_new_tokens": 30, "min_length": 1}
    generate |= {"length_penalty": 1.0, "repetition_penalty": 1.0, "search": "auto"}
    expected = {
        "asam": {"model": "Salesforce/blip2-flan-t5-xl-coco", "prompt": "a photo of"},
        "pretrained": {"model": "Salesforce/blip2-flan-t5-xl", "prompt": ""},
    }
    for name, own in expected.items():
        settings = asdict(PRESETS[name])
        assert {key: settings[key] for key in {**generate, **own}} == {**generate, **own}
    assert caption_settings() == CaptionSettings() == PRESETS["asam"]


@pytest.mark.parametrize(
    ("preset", "explicit", "expected"),
    [
        (None, {"num_beams": 3, "prompt": None}, "asam with another num_beams"),
        (None, {"model": "Salesforce/blip2-flan-t5-xl"}, "pretrained"),
        (None, {"model": "Salesforce/blip2-flan-t5-xl-coco"}, "asam"),
        (None, {"model": "./elsewhere"}, None),
        (None, {"search": "lavis"}, "asam"),
        ("asam", {"search": "transformers"}, "asam with another search"),
        ("asam", {"model": "./elsewhere"}, "asam with another model"),
        ("asam", {"prompt": "", "model": "m"}, "asam with another model, prompt"),
        ("pretrained", {"prompt": "a photo of"}, "pretrained with another prompt"),
        ("pretrained", {"dtype": "float32"}, "pretrained"),
    ],
)
def test_what_is_given_overrides_a_preset(
    preset: str | None, explicit: dict[str, Any], expected: str | None
) -> None:
    settings = caption_settings(preset, **explicit)
    assert describe_preset(settings) == expected
    for name, value in explicit.items():
        if value is not None:
            assert getattr(settings, name) == value


def test_only_a_preset_and_its_model_have_a_prompt() -> None:
    assert caption_settings(model="./elsewhere").prompt == ""
    assert caption_settings(model="./elsewhere", prompt="a cat").prompt == "a cat"
    assert caption_settings(model=PRESETS["asam"].model).prompt == "a photo of"
    assert caption_settings("asam", model="./elsewhere").prompt == "a photo of"


def test_at_364_pixels_the_words_are_those_of_the_models_own_processor_and_generate(
    folder: Path,
) -> None:
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    assert model.vision_model.embeddings.position_embedding.shape[1] == 677
    processor = AutoProcessor.from_pretrained(folder)
    jpegs = [photograph(seed) for seed in range(4)]
    settings = CaptionSettings(
        model=str(folder), prompt="bane roti", search="transformers", dtype="float32"
    )
    expected = []
    for jpeg in jpegs:
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        inputs = processor(images=image, text=settings.prompt, return_tensors="pt")
        assert inputs["pixel_values"].shape == (1, 3, 364, 364)
        made = model.generate(**inputs, num_beams=5, max_new_tokens=30)
        expected.append(processor.batch_decode(made, skip_special_tokens=True)[0].strip())
    assert len(set(expected)) > 1

    loaded = load(settings, CPU)
    assert loaded.identity["settings"]["image"]["size"] == [364, 364]
    for engine in ("continuous", "generate"):
        captioner = CaptionStream(loaded, engine, 2, 1).open()
        prepared = ((i, loaded.prepare(jpeg)) for i, jpeg in enumerate(jpegs))
        found = dict(pair for done in captioner(prepared) for pair in done)
        assert [found[i] for i in range(len(jpegs))] == expected


def test_every_position_of_364_pixels_reaches_the_q_former(folder: Path) -> None:
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    pixels = torch.zeros(1, 3, 364, 364)
    seen = model.vision_model(pixel_values=pixels).last_hidden_state
    assert seen.shape[1] == (364 // 14) ** 2 + 1 == 677
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding[:, -1] += 1
    moved = model.vision_model(pixel_values=pixels).last_hidden_state
    assert not torch.allclose(seen[:, -1], moved[:, -1])


@pytest.mark.parametrize("side", [224, 378])
def test_a_processor_of_another_size_than_the_vision_tower_is_refused(
    folder: Path, tmp_path: Path, side: int
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    processor = AutoProcessor.from_pretrained(folder)
    processor.image_processor = BlipImageProcessorPil(size={"height": side, "width": side})
    processor.save_pretrained(tmp_path)
    with pytest.raises(CaptionError, match=rf"{side} x {side} pixels.*364 x 364"):
        load(CaptionSettings(model=str(tmp_path), dtype="float32"), CPU)


def test_the_command_records_the_preset(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "sa_1.jpg").write_bytes(photograph(0))
    arguments = [str(tmp_path / "photographs"), "--out", str(tmp_path), "--device", "cpu"]
    arguments += ["--preset", "pretrained", "--model", str(folder), "--beams", "2", "--quiet"]
    assert main(arguments) == EXIT_OK
    provenance = json.loads(provenance_path(captions_path(tmp_path, "photographs")).read_text())
    assert provenance["runs"][0]["preset"] == "pretrained with another model, num_beams"
    assert provenance["settings"]["prompt"] == ""
    assert provenance["settings"]["num_beams"] == 2
    assert "preset" not in provenance["settings"]  # or equal settings could not be mixed


def test_mean_and_deviation_are_the_processors(folder: Path) -> None:
    loaded = load(replace(CaptionSettings(), model=str(folder), dtype="float32"), CPU)
    values = AutoProcessor.from_pretrained(folder).image_processor
    pixels = np.full((1, 364, 364, 3), 200, np.uint8)
    expected = (200 / 255 - np.array(values.image_mean)) / np.array(values.image_std)
    made = loaded.pixels(torch.from_numpy(pixels))[0, :, 0, 0].numpy()
    assert np.allclose(made, expected, atol=1e-5)
