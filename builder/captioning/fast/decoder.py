"""One step of a T5 decoder for every beam of many images, on static buffers.

The weights are those of transformers' `T5ForConditionalGeneration`. Only the storage of keys and
values differs. A slot holds one image with K beams. Each slot is at its own position.

- The keys and values of cross-attention belong to the image. They are stored once for an image, not
  once for each beam.
- The keys and values of self-attention are not moved when beams are reordered. What beam k wrote at
  position p stays at index p * K + k. A beam attends only to the indices that its own ancestors
  wrote. One attention over P * K keys with a mask does this for all beams of the image.

Shapes: S slots, K beams, P positions (a multiple of 8), H heads, D per head, N encoder tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class _Layer(NamedTuple):
    """The weights of one decoder block; each linear is (out, in)."""

    self_norm: Tensor
    self_qkv: Tensor
    self_out: Tensor
    cross_norm: Tensor
    cross_query: Tensor
    cross_out: Tensor
    ff_norm: Tensor
    ff_in: Tensor
    ff_out: Tensor


class BeamDecoder:
    """The decoder of a T5 with the keys and values of S x K beams.

    Parameters
    ----------
    t5
        A `T5ForConditionalGeneration` on its device. Its weights are shared, not copied. If its
        attention implementation is "eager", each operation is rounded as transformers rounds it.
    slots, beams
        S and K.
    max_tokens
        The number of tokens that a beam must be able to hold. It sets P.
    source_tokens
        N.
    """

    def __init__(
        self, t5: Any, slots: int, beams: int, max_tokens: int, source_tokens: int
    ) -> None:
        config = t5.config
        self.device, self.dtype = t5.lm_head.weight.device, t5.lm_head.weight.dtype
        self.slots, self.beams = slots, beams
        # One position more than tokens: slots that are done stay there. CUDA's masked attention
        # needs a multiple of 8.
        self.positions = -(-(max_tokens + 1) // 8) * 8
        self.heads, self.width = config.num_heads, config.d_kv
        self._epsilon = config.layer_norm_epsilon
        # True: each operation rounds to the dtype, as in transformers. False: operations are fused.
        self._eager = config._attn_implementation == "eager"
        tied = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
        self._scale = config.d_model**-0.5 if tied else None
        self._embedding: Tensor = t5.decoder.embed_tokens.weight
        self._final_norm: Tensor = t5.decoder.final_layer_norm.weight
        self._lm_head: Tensor = t5.lm_head.weight
        blocks = list(t5.decoder.block)
        self._gated = config.is_gated_act
        self._activation = blocks[0].layer[2].DenseReluDense.act
        self._layers = [_weights(block, self._gated) for block in blocks]
        self._cross_in = [
            fuse(block.layer[1].EncDecAttention.k, block.layer[1].EncDecAttention.v)
            for block in blocks
        ]
        bias = (
            blocks[0]
            .layer[0]
            .SelfAttention.compute_bias(self.positions, self.positions, device=self.device)
        )
        # (P, H): the bias by the distance back from a query to a key, read from the last query.
        self._distance_bias = bias[0, :, -1].flip(-1).t().contiguous().to(self.dtype)
        self._slot_index = torch.arange(slots, device=self.device)
        self._beam_index = torch.arange(beams, device=self.device)
        self._position_index = torch.arange(self.positions, device=self.device)

        def past(tokens: int, *beam: int) -> list[tuple[Tensor, Tensor]]:
            shape = (slots, self.heads, tokens, *beam, self.width)
            return [
                (torch.zeros(shape, **self._like), torch.zeros(shape, **self._like)) for _ in blocks
            ]

        self._past = past(self.positions, beams)
        self._cross = past(source_tokens)

    @property
    def _like(self) -> Any:
        return {"dtype": self.dtype, "device": self.device}

    @torch.no_grad()
    def admit(self, encoded: Tensor, slots: Tensor) -> None:
        """Store the cross-attention keys and values of R images in their slots.

        Parameters
        ----------
        encoded
            (R, N, d_model), the output of T5's encoder.
        slots
            (R,) int64. Rows for the same slot must be equal, because any of them may win.
        """
        rows, tokens, _ = encoded.shape
        for weight, (keys, values) in zip(self._cross_in, self._cross, strict=True):
            both = functional.linear(encoded, weight).view(rows, tokens, 2, self.heads, self.width)
            keys[slots] = both[:, :, 0].transpose(1, 2)
            values[slots] = both[:, :, 1].transpose(1, 2)

    @torch.no_grad()
    def step(self, tokens: Tensor, position: Tensor, ancestors: Tensor, reach: int) -> Tensor:
        """Compute the logits of each beam's next token.

        Parameters
        ----------
        tokens
            (S, K) int64, the last token of each beam.
        position
            (S,) int64, the position of these tokens.
        ancestors
            (S, K, P) int64. For each position, the beam whose key beam k attends to. At the current
            position this is k itself.
        reach
            All values of `position` are below it. A multiple of 8, at most P.

        Returns
        -------
        Tensor
            (S, K, V), V being the size of the vocabulary.
        """
        size = self.slots * self.beams
        bias = self._bias(position, ancestors[:, :, :reach], reach)
        hidden = functional.embedding(tokens, self._embedding).view(size, -1)
        for layer, past, cross in zip(self._layers, self._past, self._cross, strict=True):
            hidden = self._self_attention(hidden, layer, past, position, bias, reach)
            hidden = self._cross_attention(hidden, layer, cross)
            hidden = self._feed_forward(hidden, layer)
        hidden = self._norm(hidden, self._final_norm)
        if self._scale is not None:
            hidden = hidden * self._scale
        logits: Tensor = functional.linear(hidden, self._lm_head)
        return logits.view(self.slots, self.beams, -1)

    def _bias(self, position: Tensor, ancestors: Tensor, reach: int) -> Tensor:
        """(S, H, K, reach * K): T5's distance bias, and -inf for keys that no ancestor wrote."""
        distance = position[:, None] - self._position_index[:reach]  # (S, reach)
        by_head = self._distance_bias[distance.clamp(min=0)].transpose(1, 2)  # (S, H, reach)
        seen = (ancestors[..., None] == self._beam_index) & (distance >= 0)[:, None, :, None]
        bias: Tensor = by_head[:, :, None, :, None].masked_fill(~seen[:, None], float("-inf"))
        return bias.view(self.slots, self.heads, self.beams, reach * self.beams)

    def _self_attention(
        self,
        hidden: Tensor,
        layer: _Layer,
        past: tuple[Tensor, Tensor],
        position: Tensor,
        bias: Tensor,
        reach: int,
    ) -> Tensor:
        normed = self._norm(hidden, layer.self_norm)
        split = (self.slots, self.beams, 3, self.heads, self.width)
        queries, keys, values = (
            functional.linear(normed, layer.self_qkv).view(split).permute(2, 0, 3, 1, 4)
        )
        past[0][self._slot_index, :, position] = keys
        past[1][self._slot_index, :, position] = values
        shape = (self.slots, self.heads, reach * self.beams, self.width)
        keys, values = (each[:, :, :reach].reshape(shape) for each in past)
        attended = self._attend(queries, keys, values, bias)
        return self._add(hidden, attended, layer.self_out)

    def _cross_attention(
        self, hidden: Tensor, layer: _Layer, cross: tuple[Tensor, Tensor]
    ) -> Tensor:
        queries = functional.linear(self._norm(hidden, layer.cross_norm), layer.cross_query)
        queries = queries.view(self.slots, self.beams, self.heads, self.width).transpose(1, 2)
        attended = self._attend(queries, *cross)
        return self._add(hidden, attended, layer.cross_out)

    def _feed_forward(self, hidden: Tensor, layer: _Layer) -> Tensor:
        inner = functional.linear(self._norm(hidden, layer.ff_norm), layer.ff_in)
        if self._gated:
            gate, inner = inner.chunk(2, -1)
            inner = self._activation(gate) * inner
        else:
            inner = self._activation(inner)
        return self._add(hidden, inner, layer.ff_out)

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """T5's attention, which has no scale.

        `queries` (S, H, K, D), `keys` and `values` (S, H, A, D), `bias` (S, H, K, A); the result is
        (S * K, H * D).
        """
        if self._eager:
            scores = queries @ keys.transpose(-2, -1)
            if bias is not None:
                scores = scores + bias
            attended = scores.softmax(-1, dtype=torch.float32).to(values.dtype) @ values
        else:
            attended = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=bias, scale=1.0
            )
        return attended.transpose(1, 2).reshape(self.slots * self.beams, -1)

    def _add(self, hidden: Tensor, inner: Tensor, out: Tensor) -> Tensor:
        """Apply the linear layer `out` to `inner` and add the result to `hidden`."""
        if self._eager:
            return hidden + functional.linear(inner, out)
        return hidden.addmm_(inner, out.t())

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        if self._eager:
            return weight * functional.rms_norm(hidden, weight.shape, None, self._epsilon)
        return functional.rms_norm(hidden, weight.shape, weight, self._epsilon)


def fuse(*linears: Any) -> Tensor:
    """Stack the weights of linear layers into one matrix, and make the layers share its memory."""
    together = torch.cat([linear.weight.detach() for linear in linears])
    start = 0
    for linear in linears:
        rows = len(linear.weight)
        linear.weight.data = together[start : start + rows]
        start += rows
    return together


def _weights(block: Any, gated: bool) -> _Layer:
    own, other, ff = block.layer
    attention, cross, dense = own.SelfAttention, other.EncDecAttention, ff.DenseReluDense
    return _Layer(
        self_norm=own.layer_norm.weight,
        self_qkv=fuse(attention.q, attention.k, attention.v),
        self_out=attention.o.weight,
        cross_norm=other.layer_norm.weight,
        cross_query=cross.q.weight,
        cross_out=cross.o.weight,
        ff_norm=ff.layer_norm.weight,
        ff_in=fuse(dense.wi_0, dense.wi_1) if gated else dense.wi.weight,
        ff_out=dense.wo.weight,
    )
