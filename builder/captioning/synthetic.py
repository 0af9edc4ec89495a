"""BLIP-2 models of any size with random weights, for tests and benchmarks without a download.

The architecture is that of Salesforce/blip2-flan-t5-xl: EVA's ViT-g, a Q-Former with 32 queries,
Flan-T5 with gated GELU. The words of the tokenizer are made up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    LogitsProcessor,
    PreTrainedTokenizerFast,
)

from builder.captioning.preprocess import CLIP_MEAN, CLIP_STD

IMAGE_TOKEN = "<image>"

# Salesforce/blip2-flan-t5-xl, config.json.
FLAN_T5_XL: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 1408,
        "intermediate_size": 6144,
        "num_hidden_layers": 39,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
    "qformer_config": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "cross_attention_frequency": 2,
        "vocab_size": 30522,
    },
    "text_config": {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": 2048,
        "d_kv": 64,
        "d_ff": 5120,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "num_heads": 32,
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    },
    "num_query_tokens": 32,
    "image_token_index": 32100,
}

# Salesforce/blip2-flan-t5-xl-coco: larger images, with 677 instead of 257 tokens in the tower.
FLAN_T5_XL_COCO: dict[str, Any] = {
    **FLAN_T5_XL,
    "vision_config": {**FLAN_T5_XL["vision_config"], "image_size": 364},
}

# The same architecture with every part as small as tests allow.
TINY: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
    },
    "qformer_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "cross_attention_frequency": 2,
        "vocab_size": 64,
    },
    "text_config": {
        **FLAN_T5_XL["text_config"],
        "vocab_size": 120,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
    },
    "num_query_tokens": 4,
    "image_token_index": 3,
}

_SYLLABLES = ("ba", "ne", "ro", "ti", "lu", "sha", "kem", "fo", "ril", "da")


def random_model(
    config: dict[str, Any], *, seed: int = 0, device: str | torch.device = "cpu"
) -> Any:
    """Make a `Blip2ForConditionalGeneration` with random float32 weights on a device.

    Each linear layer keeps the scale of its input, so that every part of the model has an effect.
    With transformers' own initialization, the vision tower's output would be about 1e-10.
    """
    with torch.device(device):
        model = Blip2ForConditionalGeneration(Blip2Config(**config)).eval()
        head = model.language_model.lm_head  # Flan-T5 does not share it with the embedding
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.requires_grad_(False)
            if weight.ndim < 2:
                weight.fill_(float("norm" in name.lower() and name.endswith("weight")))
            else:
                scale = 1.5 if "lm_head" in name else 1.0  # some words are likelier than others
                weight.normal_(std=scale * weight[0].numel() ** -0.5, generator=generator)
        head.weight[model.language_model.config.eos_token_id] *= 4  # so that sentences end
    return model


def random_tokenizer(config: dict[str, Any]) -> Any:
    """A tokenizer with T5's special tokens, where each made-up word is one token."""
    special = ["<pad>", "</s>", "<unk>", IMAGE_TOKEN]
    text, image = config["text_config"], config["image_token_index"]
    vocabulary = {token: index for index, token in enumerate(special[:3])}
    vocabulary[IMAGE_TOKEN] = image
    number = 0
    for index in range(3, text["vocab_size"]):
        if index != image:
            vocabulary[_word(number)] = index
            number += 1
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[IMAGE_TOKEN],
    )


def random_processor(config: dict[str, Any]) -> Any:
    """A processor with the attributes that `adapt` needs, for a `random_model`."""
    side = config["vision_config"]["image_size"]
    images = SimpleNamespace(
        size={"height": side, "width": side},
        resample=Image.Resampling.BICUBIC,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
        do_resize=True,
        do_normalize=True,
    )
    return SimpleNamespace(tokenizer=random_tokenizer(config), image_processor=images)


class ImposedLengths(LogitsProcessor):  # type: ignore[misc]
    """Makes `generate` end each caption at a given length.

    Parameters
    ----------
    lengths
        The number of tokens of each image's caption, including the end token.
    beams
        The number of beams of each image.
    end_token
        Its id.
    """

    def __init__(self, lengths: Sequence[int], beams: int, end_token: int) -> None:
        self._lengths = torch.tensor(lengths).repeat_interleave(beams)
        self._end = end_token

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Take `input_ids` (rows, 1 + tokens so far); return masked `scores` (rows, vocabulary)."""
        last = (input_ids.shape[1] >= self._lengths.to(scores.device))[:, None]
        is_end = torch.arange(scores.shape[1], device=scores.device) == self._end
        return scores.masked_fill(last ^ is_end, float("-inf"))


def _word(number: int) -> str:
    """Make a word that no other number has."""
    base = len(_SYLLABLES)
    syllables = [_SYLLABLES[number % base]]
    while number := number // base:
        syllables.append(_SYLLABLES[number % base])
    return "".join(syllables)


def write_random_model(
    folder: Path, config: dict[str, Any] | None = None, *, seed: int = 0
) -> None:
    """Save a random BLIP-2 with its tokenizer and preprocessing, in the layout of the Hub."""
    from transformers import BlipImageProcessorPil

    config = config or TINY
    side = config["vision_config"]["image_size"]
    random_model(config, seed=seed).save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": side, "width": side})
    tokenizer = random_tokenizer(config)
    Blip2Processor(images, tokenizer, config["num_query_tokens"]).save_pretrained(folder)
