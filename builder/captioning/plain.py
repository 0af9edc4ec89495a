"""Captioning by transformers' own `generate`, for each accepted family; the reference.

Batches wait for their slowest image and hold the past of the encoder once per beam, so it is slow;
`builder.captioning.fast.captioner` makes the same captions of a BLIP-2 with a T5 faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from builder.captioning.model import Loaded

# A second try at a degenerate caption: these force words, and no pair of words twice.
RETRY = {"min_new_tokens": 5, "no_repeat_ngram_size": 2}


class PlainCaptioner:
    """Captions batches of images with `generate`."""

    def __init__(self, loaded: Loaded, batch: int) -> None:
        self._loaded, self.batch = loaded, batch

    def __call__(
        self, images: Iterable[tuple[int, npt.NDArray[Any]]]
    ) -> Iterator[list[tuple[int, str]]]:
        """Caption numbered, prepared images; yields numbered captions, a batch at a time."""
        numbered = iter(images)
        while batch := list(itertools.islice(numbered, self.batch)):
            numbers, arrays = zip(*batch, strict=True)
            yield list(zip(numbers, self.captions(arrays), strict=True))

    def retry(self, image: npt.NDArray[Any]) -> str:
        """Another caption of a prepared image, under the constraints of RETRY."""
        return self.captions([image], **RETRY)[0]

    def captions(self, images: Sequence[npt.NDArray[Any]], **options: Any) -> list[str]:
        """The captions of prepared images; `options` are added to the generation settings."""
        loaded = self._loaded
        pixels = loaded.pixels(torch.from_numpy(np.stack(images)).to(loaded.device))
        ids = generate(loaded, pixels, **options)
        return [text.strip() for text in loaded.decode(ids.tolist())]


@torch.no_grad()
def generate(loaded: Loaded, pixels: Tensor, **options: Any) -> Tensor:
    """The token ids (B, L) that `generate` makes of pixel values (B, 3, height, width)."""
    settings = {**loaded.generation(), **options}
    if loaded.prompt_ids is not None:
        # Rows of their own: BLIP writes into them.
        ids = torch.tensor([loaded.prompt_ids], device=pixels.device).repeat(len(pixels), 1)
        settings[loaded.family.argument] = ids
        if loaded.family.argument == "input_ids":
            settings["attention_mask"] = torch.ones_like(ids)
    made: Tensor = loaded.model.generate(pixel_values=pixels, **settings)
    return made
