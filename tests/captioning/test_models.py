"""Other captioners of the same interface, and the dtypes that ASAM ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPImageProcessorPil,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
)

from builder.captioning.model import load
from builder.captioning.plain import PlainCaptioner
from builder.captioning.settings import CaptionSettings
from builder.captioning.stream import CaptionStream
from builder.captioning.synthetic import TINY, random_tokenizer
from builder.core.errors import CaptionError

CPU = torch.device("cpu")
TEXT = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "sep_token_id": 1,
    "pad_token_id": 0,
}
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4} | {
    "intermediate_size": 64,
    "image_size": 28,
    "patch_size": 14,
}


def jpeg() -> bytes:
    from tests.captioning.test_run import photograph

    return photograph(11)


def write(kind: str, folder: Path) -> None:
    """A tiny random captioner of another architecture, as the Hub would hold it."""
    torch.manual_seed(0)
    tokenizer = random_tokenizer(TINY)
    images = BlipImageProcessorPil(size={"height": 28, "width": 28})
    if kind == "blip":
        text = {**TEXT, "encoder_hidden_size": 32}
        BlipForConditionalGeneration(
            BlipConfig(text_config=text, vision_config=VISION)
        ).save_pretrained(folder)
        BlipProcessor(images, tokenizer).save_pretrained(folder)
    elif kind == "git":
        GitForCausalLM(GitConfig(vision_config=VISION, **TEXT)).save_pretrained(folder)
        cropped = CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        )
        GitProcessor(cropped, tokenizer).save_pretrained(folder)
    else:
        opt = {"model_type": "opt", "vocab_size": 120, "hidden_size": 32, "ffn_dim": 64} | {
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }
        config = Blip2Config(**{**TINY, "text_config": opt})
        Blip2ForConditionalGeneration(config).save_pretrained(folder)
        Blip2Processor(images, tokenizer, TINY["num_query_tokens"]).save_pretrained(folder)


@pytest.mark.parametrize("kind", ["blip", "git", "blip2-opt"])
def test_other_image_to_text_models_caption_through_generate(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / kind
    write(kind, folder)
    settings = CaptionSettings(
        model=str(folder), prompt="", dtype="float32", max_new_tokens=6, num_beams=2
    )
    loaded = load(settings, CPU)
    assert not loaded.is_blip2_t5
    prepared = [loaded.prepare(jpeg())] * 3
    captions = PlainCaptioner(loaded, 2)
    made = [pair for done in captions(enumerate(prepared)) for pair in done]
    assert [number for number, _ in made] == [0, 1, 2]
    assert len({text for _, text in made}) == 1
    assert CaptionStream(loaded, "auto", 2, 1).engine == "generate"
    with pytest.raises(CaptionError, match="use --engine generate"):
        CaptionStream(loaded, "continuous", 2, 1)


@pytest.mark.parametrize("dtype", ["asam", "bfloat16"])
def test_the_dtypes_of_a_gpu_are_loaded_and_run(
    dtype: str, settings: CaptionSettings, pictures: list[npt.NDArray[np.uint8]]
) -> None:
    loaded = load(replace(settings, dtype=dtype), CPU)
    model = loaded.model
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    vision, former, text = (
        next(part.parameters()).dtype
        for part in (model.vision_model, model.qformer, model.language_model)
    )
    if dtype == "asam":
        assert (vision, former, text) == (torch.float16, torch.float32, torch.bfloat16)
        assert torch.get_float32_matmul_precision() == "high"
    else:
        assert {vision, former, text} == {torch.bfloat16}
    numbered = list(enumerate(pictures[:20]))
    made = {}
    for engine in ("continuous", "generate"):
        captioner = CaptionStream(loaded, engine, 8, 1).open()
        made[engine] = dict(pair for done in captioner(iter(numbered)) for pair in done)
    same = sum(made["continuous"][i] == made["generate"][i] for i, _ in numbered)
    assert same > 8  # beams of near-flat logits flip in half precision, not all of them
