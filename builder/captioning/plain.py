"""Captions by transformers' own `generate`, for each accepted family of models.

It is slow, because a batch waits for its longest caption, and because keys and values of the image
are stored once for each beam. For a BLIP-2 with a T5, `builder.captioning.fast` is faster. This
module is the reference that it is compared with.
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
from builder.captioning.settings import CaptionSettings


def retry_options(settings: CaptionSettings) -> dict[str, int]:
    """Options for a second try when a caption is degenerate: some words, no pair of tokens twice.

    The second caption has 5 tokens or more, but never more than the settings allow.
    """
    return {"min_new_tokens": min(5, settings.max_new_tokens), "no_repeat_ngram_size": 2}


class PlainCaptioner:
    """Captions batches of images with `generate`."""

    def __init__(self, loaded: Loaded, batch: int) -> None:
        self._loaded, self.batch = loaded, batch

    def __call__(
        self, images: Iterable[tuple[int, npt.NDArray[Any]]]
    ) -> Iterator[list[tuple[int, str]]]:
        """Caption pairs of a number and a prepared image; yields (number, caption) by batches."""
        numbered = iter(images)
        while batch := list(itertools.islice(numbered, self.batch)):
            numbers, arrays = zip(*batch, strict=True)
            yield list(zip(numbers, self.captions(arrays), strict=True))

    def retry(self, image: npt.NDArray[Any]) -> str:
        """Caption a prepared image once more, with `retry_options`."""
        return self.captions([image], **retry_options(self._loaded.settings))[0]

    def captions(self, images: Sequence[npt.NDArray[Any]], **options: Any) -> list[str]:
        """Caption prepared images of one batch; `options` are added to the generation settings."""
        loaded = self._loaded
        pixels = loaded.pixels(torch.from_numpy(np.stack(images)).to(loaded.device))
        ids = generate(loaded, pixels, **options)
        return [text.strip() for text in loaded.decode(ids.tolist())]


@torch.no_grad()
def generate(loaded: Loaded, pixels: Tensor, **options: Any) -> Tensor:
    """Call the model's `generate`.

    Parameters
    ----------
    loaded
        The model.
    pixels
        Pixel values (B, 3, height, width), as `Loaded.pixels` gives them.
    options
        Added to the generation settings of the model.

    Returns
    -------
    Tensor
        Token ids (B, L) int64, or what `generate` returns with `return_dict_in_generate`.
    """
    settings = {**loaded.generation(), **options}
    if loaded.prompt_ids is not None:
        # Repeated, not expanded: BLIP writes into the rows.
        ids = torch.tensor([loaded.prompt_ids], device=pixels.device).repeat(len(pixels), 1)
        settings[loaded.family.argument] = ids
        if loaded.family.argument == "input_ids":
            settings["attention_mask"] = torch.ones_like(ids)
    made: Tensor = loaded.model.generate(pixel_values=pixels, **settings)
    return made
