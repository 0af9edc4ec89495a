"""Checks that a loaded model makes captions, and that they depend on the image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from builder.captioning.model import Loaded
from builder.captioning.plain import generate
from builder.captioning.stream import is_out_of_memory
from builder.core.errors import CaptionError, what_went_wrong


def check_sight(loaded: Loaded) -> None:
    """Try a model on a black and a white picture, and compare the scores of the first token.

    A model may ignore the image without an error. A config.json that does not fit the weights may
    fail only when a caption is made. Both are found here, before a long run.

    Raises
    ------
    CaptionError
        No caption can be made, a score is NaN, or both pictures have the same scores.
    """
    source = loaded.settings.model
    try:
        black, white = _first_scores(loaded)
    except Exception as error:  # a config.json that does not fit can raise any error
        if is_out_of_memory(error):
            return  # the stream that runs next handles this
        what = what_went_wrong(error).splitlines()[0][:200]
        raise CaptionError(
            f"{source}: no caption can be made with this model on {loaded.device}: "
            f"{type(error).__name__}: {what}; check its config.json, or download it again"
        ) from error
    if bool(torch.isnan(black).any() or torch.isnan(white).any()):
        raise CaptionError(
            f"{source}: its scores are NaN; choose another --dtype, or download the model again"
        )
    if torch.equal(black, white):
        raise CaptionError(
            f"{source}: a black and a white picture give the same scores, so the model ignores "
            "the image; choose another model"
        )


def _first_scores(loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores (vocabulary,) of the first token for a black and for a white picture."""
    pictures = [loaded.prepare(_png(color)) for color in ("black", "white")]
    pixels = loaded.pixels(torch.from_numpy(np.stack(pictures)).to(loaded.device))
    options = {"num_beams": 1, "max_new_tokens": 1, "output_scores": True}
    made: Any = generate(loaded, pixels, return_dict_in_generate=True, **options)
    return made.scores[0][0], made.scores[0][1]


def _png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "png")
    return file.getvalue()
