"""Whether a model that was loaded makes captions at all, and of the image."""

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
    """Try a model on a black and a white picture, whose first words must not be equally likely.

    A model may ignore the image without a sign of it, and a config.json that does not fit the
    weights may show only when a caption is made. Both are found here, before a long run.

    Raises
    ------
    CaptionError
        No caption can be made, the scores are no numbers, or the image changes nothing.
    """
    source = loaded.settings.model
    try:
        black, white = _first_scores(loaded)
    except Exception as error:  # whatever a config.json that does not fit leads to
        if is_out_of_memory(error):
            return  # the stream that follows says what to do about that
        what = what_went_wrong(error).splitlines()[0][:200]
        raise CaptionError(
            f"{source}: no caption can be made with this model on {loaded.device}: "
            f"{type(error).__name__}: {what}; check its config.json, or download it again"
        ) from error
    if bool(torch.isnan(black).any() or torch.isnan(white).any()):
        raise CaptionError(
            f"{source}: its scores are no numbers; choose another --dtype, or download it again"
        )
    if torch.equal(black, white):
        raise CaptionError(
            f"{source}: a black and a white picture give the same scores, so it does not look at "
            "the image; choose another model"
        )


def _first_scores(loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores (vocabulary,) of the first word for a black and for a white picture."""
    pictures = [loaded.prepare(_png(color)) for color in ("black", "white")]
    pixels = loaded.pixels(torch.from_numpy(np.stack(pictures)).to(loaded.device))
    options = {"num_beams": 1, "max_new_tokens": 1, "output_scores": True}
    made: Any = generate(loaded, pixels, return_dict_in_generate=True, **options)
    return made.scores[0][0], made.scores[0][1]


def _png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "png")
    return file.getvalue()
