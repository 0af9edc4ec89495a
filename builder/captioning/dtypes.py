"""The mixed precisions of a BLIP-2 with a T5: that of LAVIS, and a faster one.

LAVIS (lavis/models/blip2_models/blip2_t5.py, `generate`) uses three precisions. The vision tower
and its last norm run under torch's float16 autocast. The Q-Former and its projection run without
autocast. T5 has bfloat16 weights and runs under bfloat16 autocast.

Autocast rounds the inputs and outputs of linear layers, convolutions and matrix products. It leaves
norms and sums in float32. Therefore the residual stream of the tower, the Q-Former, and the input
and residual stream of T5's encoder are float32. `benchmarks.caption_parity` compares both mixed
precisions with an emulation of LAVIS.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def as_lavis(model: Any) -> None:
    """Make a float32 BLIP-2 with a T5 round where LAVIS's autocast rounds on a GPU.

    This uses hooks instead of autocast. Hooks work on any device, in transformers' `generate` and
    in a CUDA graph. Attention is computed step by step, because a fused kernel would not round the
    scores.
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
    # The prompt's embeddings join the float32 output of the projection. The decoder is not
    # affected, because it has its own embedding module.
    t5.get_input_embeddings().register_forward_hook(_to_float)
    torch.set_float32_matmul_precision("highest")


def as_fast(model: Any) -> None:
    """Give a float32 BLIP-2 with a T5 the fastest dtypes that do not overflow.

    The vision tower and the projection become float16. The Q-Former stays float32 and multiplies
    in TF32. T5 becomes bfloat16.
    """
    model.vision_model.half()
    model.language_projection.half()
    model.language_model.bfloat16()
    torch.set_float32_matmul_precision("high")  # TF32, as exact as the float16 that comes next


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
    """EVA's attention (lavis/models/eva_vit.py) on (B, heads, tokens, width); each step rounds."""
    scores = (queries * scaling) @ keys.transpose(-2, -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).transpose(1, 2).contiguous(), None


def _to_float(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()
