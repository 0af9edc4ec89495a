"""The mixed precisions that a BLIP-2 with a T5 runs in: LAVIS's, and a faster one.

LAVIS (lavis/models/blip2_models/blip2_t5.py, `generate`) runs the vision tower and its last norm
under torch's float16 autocast, the Q-Former and its projection outside of it, and a T5 of bfloat16
weights under bfloat16 autocast. Autocast rounds what goes into and comes out of linear layers,
convolutions and products of matrices. It leaves norms and sums in float32. So the residual stream
of the tower, the Q-Former, and what T5's encoder is given and adds up are float32.
`benchmarks.caption_parity` compares both with an emulation of LAVIS.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def as_lavis(model: Any) -> None:
    """Make a BLIP-2 with a T5, in float32, round where LAVIS's autocast rounds on a GPU.

    Hooks do it, not autocast: they act on any device, in transformers' `generate` and in a graph.
    Attention is written out, since a fused one does not round its scores.
    """
    from transformers import AttentionInterface

    AttentionInterface.register("eva", _attention)
    vision, t5 = model.vision_model, model.language_model
    vision.set_attn_implementation("eva")
    for layer in vision.encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.half().register_forward_pre_hook(_to_half)
    # transformers adds class and position embeddings in the dtype of these weights.
    patches = vision.embeddings.patch_embedding
    for weight in patches.parameters():
        weight.data = weight.data.half().float()
    patches.register_forward_pre_hook(_round_input)
    patches.register_forward_hook(_round_output)
    t5.bfloat16()
    t5.set_attn_implementation("eager")
    # The prompt's embeddings, next to the projection's float32. The decoder has its own module.
    t5.get_input_embeddings().register_forward_hook(_to_float)
    torch.set_float32_matmul_precision("highest")


def as_fast(model: Any) -> None:
    """Give a BLIP-2 with a T5, in float32, the fastest dtypes that do not overflow.

    The whole vision tower and the projection are float16, the Q-Former is float32 by way of TF32,
    T5 is bfloat16 from the encoder's input on.
    """
    model.vision_model.half()
    model.language_projection.half()
    model.language_model.bfloat16()
    torch.set_float32_matmul_precision("high")  # TF32: finer than what the Q-Former feeds


MIXED = {"asam": as_lavis, "fast": as_fast}


def _to_half(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].half(),)


def _round_input(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].half().float(),)


def _round_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.half().float()


def _attention(
    _: nn.Module,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *args: Any,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """EVA's attention (lavis/models/eva_vit.py), (B, heads, tokens, width), each step rounded."""
    scores = (queries * scaling) @ keys.transpose(-2, -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).transpose(1, 2).contiguous(), None


def _to_float(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()
