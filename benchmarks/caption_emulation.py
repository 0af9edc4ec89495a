"""Emulates LAVIS's captioning on a GPU on any device, with the rounding of CUDA's autocast.

The sources are lavis/models/eva_vit.py, blip2_models/blip2_t5.py and blip2_models/modeling_t5.py,
and torch's lists of the operations that autocast runs in half precision and in float32 on CUDA
("Autocast Op Reference"). A product is summed in float32 and then rounded, as tensor cores do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_IN_HALF = {
    functional.linear,
    functional.conv2d,
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    functional.scaled_dot_product_attention,
}
_IN_FLOAT = {
    functional.layer_norm,
    functional.softmax,
    functional.log_softmax,
    Tensor.softmax,
    Tensor.pow,
    torch.rsqrt,
}


class CudaAutocast(TorchFunctionMode):
    """Rounds as `torch.cuda.amp.autocast(dtype=...)` does, on any device."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation in the dtype that autocast gives it."""
        kwargs = kwargs or {}
        dtype = self._dtype if func in _IN_HALF else torch.float32 if func in _IN_FLOAT else None
        if dtype is None:
            return func(*args, **kwargs)

        def cast(value: Any) -> Any:
            is_float = isinstance(value, Tensor) and value.is_floating_point()
            return value.to(dtype) if is_float else value

        return func(*map(cast, args), **{name: cast(value) for name, value in kwargs.items()})


@torch.no_grad()
def vision_tower(model: Any, pixels: Tensor) -> Tensor:
    """EVA's vision tower and its last norm: (B, 3, side, side) to (B, tokens, width)."""
    vision, config = model.vision_model, model.config.vision_config
    with CudaAutocast(torch.float16):
        first = vision.embeddings
        patches = functional.conv2d(
            pixels,
            first.patch_embedding.weight,
            first.patch_embedding.bias,
            stride=config.patch_size,
        )
        start = first.class_embedding.expand(len(pixels), -1, -1)
        hidden = torch.cat([start, patches.flatten(2).transpose(1, 2)], dim=1)
        hidden = hidden + first.position_embedding
        for layer in vision.encoder.layers:
            hidden = hidden + _attention(
                layer.self_attn, layer.layer_norm1(hidden), config.num_attention_heads
            )
            inner = functional.gelu(layer.mlp.fc1(layer.layer_norm2(hidden)))
            hidden = hidden + layer.mlp.fc2(inner)
        seen: Tensor = vision.post_layernorm(hidden)
    return seen


def _attention(attention: Any, hidden: Tensor, heads: int) -> Tensor:
    """EVA's attention, in which each product is rounded."""
    batch, tokens, width = hidden.shape
    split = attention.qkv(hidden).reshape(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = split[0] * (width // heads) ** -0.5, split[1], split[2]
    weights = (queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    attended = (weights @ values).transpose(1, 2).reshape(batch, tokens, width)
    projected: Tensor = attention.projection(attended)
    return projected


@contextmanager
def bfloat16_t5(model: Any) -> Iterator[None]:
    """In this context, T5's weights are bfloat16 and operations run under bfloat16 autocast."""
    kept = {name: weight.data for name, weight in model.language_model.named_parameters()}
    model.language_model.bfloat16()
    try:
        with CudaAutocast(torch.bfloat16):
            yield
    finally:
        for name, weight in model.language_model.named_parameters():
            weight.data = kept[name]


@torch.no_grad()
def encoder_input(model: Any, seen: Tensor, prompt: list[int]) -> tuple[Tensor, Tensor]:
    """The Q-Former's output for the tower's output, and the input of T5's encoder, in float32."""
    queries = model.query_tokens.expand(len(seen), -1, -1)
    bridged = model.qformer(query_embeds=queries, encoder_hidden_states=seen.float())
    projected = model.language_projection(bridged.last_hidden_state)
    words = model.language_model.shared.weight[prompt].bfloat16().float()
    return bridged.last_hidden_state, torch.cat([projected, words.expand(len(seen), -1, -1)], dim=1)
