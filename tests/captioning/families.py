"""A tiny model of each accepted family: the real architecture, random weights, saved as on the Hub.

The weights keep the scale of what passes through them. With transformers' own start the image would
hardly change a logit, so that every image had one caption and no test could tell that a model sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
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
    GPT2Config,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from builder.captioning.synthetic import TINY, random_model

KINDS = ("blip", "blip2-t5", "blip2-opt", "git", "vit-gpt2")
PROMPT = "word7 word9 word11"
PAD, END, UNKNOWN, IMAGE, START = range(5)
SPECIAL = ("<pad>", "</s>", "<unk>", "<image>", "<s>")
WORDS = 120
# How a tokenizer of the real family surrounds a text with special tokens.
AROUND = {"blip": "<s> $A </s>", "blip2-t5": "$A </s>", "blip2-opt": "<s> $A"} | {
    "git": "<s> $A </s>",
    "vit-gpt2": "$A",
}
SIDE = 28
TOKENS = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
VISION = {**SMALL, "image_size": SIDE, "patch_size": 14}
OPT = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32} | {
    "vocab_size": WORDS,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def write(kind: str, folder: Path, *, seed: int = 0) -> None:
    """Save a model of a family and what its processor consists of."""
    model, images = _parts(kind)
    if kind == "blip2-t5":
        model = random_model(TINY, seed=seed)
    else:
        randomize(model, seed)
    model.save_pretrained(folder)
    words = tokenizer(kind)
    if kind == "vit-gpt2":  # as on the Hub: an image processor and a tokenizer, nothing of both
        images.save_pretrained(folder)
        words.save_pretrained(folder)
    elif kind == "blip":
        BlipProcessor(images, words).save_pretrained(folder)
    elif kind == "git":
        GitProcessor(images, words).save_pretrained(folder)
    else:
        Blip2Processor(images, words, TINY["num_query_tokens"]).save_pretrained(folder)


def tokenizer(kind: str) -> Any:
    """One word a token."""
    vocabulary = {word: index for index, word in enumerate(SPECIAL)}
    vocabulary |= {f"word{index}": index for index in range(len(SPECIAL), WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = [(word, vocabulary[word]) for word in ("<s>", "</s>") if word in AROUND[kind]]
    made.post_processor = processors.TemplateProcessing(AROUND[kind], special_tokens=around)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


def randomize(model: Any, seed: int) -> None:
    """Give weights a scale at which no part is idle, and the image changes the words."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            norm = "Norm" in type(module).__name__
            for name, weight in module.named_parameters(recurse=False):
                if weight.ndim < 2:
                    weight.fill_(float(norm and name == "weight"))
                else:
                    weight.normal_(std=1.5 * weight[0].numel() ** -0.5, generator=generator)


def _parts(kind: str) -> tuple[Any, Any]:
    """The model and its image processor."""
    square = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    if kind == "blip":
        text = {**SMALL, **TOKENS, "vocab_size": WORDS, "encoder_hidden_size": 32}
        text |= {"sep_token_id": END, "max_position_embeddings": 64}
        return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION)), (
            square
        )
    if kind == "git":
        config = GitConfig(
            vision_config=VISION, vocab_size=WORDS, max_position_embeddings=64, **SMALL, **TOKENS
        )
        cropped = CLIPImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        )
        return GitForCausalLM(config), cropped
    if kind == "vit-gpt2":
        both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            ViTConfig(**VISION),
            GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, **TOKENS),
            decoder_start_token_id=START,
            **TOKENS,
        )
        images = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
        return VisionEncoderDecoderModel(both), images
    if kind == "blip2-t5":
        return Blip2ForConditionalGeneration(Blip2Config(**TINY)), square
    return Blip2ForConditionalGeneration(
        Blip2Config(**{**TINY, "text_config": {**OPT, **TOKENS}})
    ), square
