"""Computes from the configuration how many operations a caption takes."""

from __future__ import annotations

from typing import Any


def operations(
    config: dict[str, Any], tokens: float, beams: int, prompt: int = 1
) -> dict[str, float]:
    """Count the floating-point operations of each part for one image.

    Only matrix products are counted, including those of attention. A multiply-add is two
    operations.

    Parameters
    ----------
    config
        The configuration of a BLIP-2, such as `synthetic.FLAN_T5_XL`. Its image size decides the
        count of the vision tower.
    tokens
        The mean length of a caption, including the end token.
    beams
        The number of beams.
    prompt
        The number of the prompt's tokens, including the end token.
    """
    vision, former, text = (config[f"{x}_config"] for x in ("vision", "qformer", "text"))
    width, patches = vision["hidden_size"], (vision["image_size"] // vision["patch_size"]) ** 2
    seen, queries = patches + 1, config["num_query_tokens"]
    block = 4 * width**2 + 2 * width * vision["intermediate_size"] + 2 * seen * width
    tower = 2 * (vision["num_hidden_layers"] * seen * block + patches * 588 * width)

    own, layers = former["hidden_size"], former["num_hidden_layers"]
    block = 4 * own**2 + 2 * own * former["intermediate_size"] + 2 * queries * own
    cross = queries * (2 * own**2 + 2 * seen * own) + seen * 2 * width * own
    crossed = -(-layers // former["cross_attention_frequency"])
    bridge = 2 * (layers * queries * block + crossed * cross)

    model, inner = text["d_model"], text["d_kv"] * text["num_heads"]
    source = queries + prompt
    dense = 3 * model * text["d_ff"]
    block = 4 * model * inner + dense + 2 * source * inner
    encoder = 2 * (text["num_layers"] * source * block + queries * own * model)
    step = 6 * model * inner + dense + 2 * (tokens / 2 + source) * inner
    decoder = 2 * beams * tokens * (text["num_decoder_layers"] * step + model * text["vocab_size"])
    decoder += 2 * text["num_decoder_layers"] * source * 2 * model * inner
    return {"vision": tower, "q-former": bridge, "t5 encoder": encoder, "t5 decoder": decoder}
