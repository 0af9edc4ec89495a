"""Turns images into what T5's decoder attends to: vision tower, Q-Former, projection, T5's encoder.

The modules are those of transformers. All batches have one size, so that on CUDA the work can be
one graph. As in LAVIS (blip2_t5.py), T5's encoder gets the 32 query embeddings, followed by the
tokens of the prompt. An empty prompt is the end-of-sentence token alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from builder.captioning.model import normalize
from builder.captioning.preprocess import Pixels, Preprocess


class Encoder:
    """Encodes up to `batch` images at a time.

    Parameters
    ----------
    model
        A `Blip2ForConditionalGeneration` with a T5, on its device.
    prompt_ids
        The tokens of the prompt, including the end token.
    batch
        The number of images that `pixels` holds.
    preprocess
        Gives the images' size, and the mean and deviation that they are normalized with.
    """

    def __init__(
        self,
        model: Any,
        prompt_ids: Sequence[int],
        batch: int,
        preprocess: Preprocess,
    ) -> None:
        self._model = model
        self.device: torch.device = next(model.parameters()).device
        self.batch = batch
        shape = (batch, *preprocess.size, 3)
        self.pixels = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        # These are made once, because a graph can't make a tensor from Python numbers.
        self._mean = torch.tensor(preprocess.mean, device=self.device)
        self._std = torch.tensor(preprocess.std, device=self.device)
        ids = torch.tensor(prompt_ids, dtype=torch.int64, device=self.device)
        embedding = self._model.language_model.get_input_embeddings()
        self._prompt = embedding(ids)[None]  # (1, prompt, d_model)
        self.tokens: int = self._model.config.num_query_tokens + len(prompt_ids)

    def put(self, images: Sequence[Pixels]) -> None:
        """Copy images to the first rows of `pixels`, without waiting for the device.

        The images are uint8 (height, width, 3), RGB.
        """
        host = torch.empty(
            (len(images), *self.pixels.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self.device.type == "cuda",
        )
        np.stack(images, out=host.numpy())
        self.pixels[: len(images)].copy_(host, non_blocking=True)

    @torch.no_grad()
    def see(self, pixels: Tensor) -> Tensor:
        """Run the vision tower and the Q-Former: uint8 pixels to (B, queries, Q-Former's width)."""
        model = self._model
        seen = model.vision_model(
            pixel_values=normalize(pixels, self._mean, self._std)
        ).last_hidden_state
        queries = model.query_tokens.expand(len(seen), -1, -1)
        output = model.qformer(query_embeds=queries, encoder_hidden_states=seen)
        features: Tensor = output.last_hidden_state.to(seen.dtype)
        return features

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Run all parts: uint8 pixels (B, height, width, 3) to (B, tokens, d_model)."""
        model = self._model
        queries = model.language_projection(self.see(pixels)).to(self._prompt.dtype)
        prompt = self._prompt.expand(len(queries), -1, -1)
        inputs = torch.cat([queries, prompt], dim=1)
        encoded: Tensor = model.language_model.encoder(inputs_embeds=inputs).last_hidden_state
        return encoded
