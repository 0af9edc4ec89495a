"""Measures how close each dtype comes to LAVIS's captioning on a GPU.

    python -m benchmarks.caption_parity                      a tiny model at 364 px, any machine
    python -m benchmarks.caption_parity --deep --pixels 28   as many layers as the real model has
    python -m benchmarks.caption_parity --json               for machines

`caption_emulation` emulates LAVIS. Weights are random and seeded, images are noise, and the prompt
has three words. An error is the root mean square of the difference from the emulation, divided by
that of the emulation. The table also counts the captions that differ from those of the emulation.
Both search by the rules of transformers 5. The logits of random weights are nearly equal, so many
more captions differ than with real weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from benchmarks.caption_emulation import bfloat16_t5, encoder_input, vision_tower
from builder.captioning.dtypes import MIXED
from builder.captioning.fast import ContinuousCaptioner
from builder.captioning.fast.encoder import Encoder
from builder.captioning.model import Loaded, adapt
from builder.captioning.preprocess import Pixels
from builder.captioning.settings import DTYPES, CaptionSettings
from builder.captioning.synthetic import FLAN_T5_XL, TINY, random_model, random_processor
from builder.core.console import EXIT_OK, emit_json, run_command, say
from builder.core.options import whole
from builder.core.records import Json

PARTS = ("vision tower", "Q-Former", "T5's encoder, input", "T5's encoder, output")
_BATCH = 20


@dataclass(slots=True)
class Made:
    """The results for some pictures: each part's output in float32, and the captions' tokens."""

    parts: dict[str, list[Tensor]] = field(default_factory=lambda: {part: [] for part in PARTS})
    captions: list[list[int]] = field(default_factory=list)

    def keep(self, *outputs: Tensor) -> None:
        """Add the outputs of `PARTS` for one batch."""
        for part, output in zip(PARTS, outputs, strict=True):
            self.parts[part].append(output.float())

    def compared_with(self, other: Made) -> Json:
        """The error of each part, and the number of captions that differ."""
        errors: Json = {}
        for part in PARTS:
            mine, theirs = (torch.cat(made.parts[part]) for made in (self, other))
            errors[part] = float((mine - theirs).square().mean() / theirs.square().mean()) ** 0.5
        pairs = zip(self.captions, other.captions, strict=True)
        return {**errors, "captions": sum(a != b for a, b in pairs)}


def main(argv: Sequence[str] | None = None) -> int:
    """Emulate LAVIS, run each dtype, print a table to stderr or JSON to stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.caption_parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--deep", action="store_true", help="the real number of layers")
    parser.add_argument("--pixels", type=whole(14, multiple_of=14), default=364, metavar="SIDE")
    parser.add_argument("--images", type=whole(1), default=100, help="(%(default)s)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the weights (%(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    transformers.logging.set_verbosity_error()
    config = config_of(args.pixels, deep=args.deep)
    random = np.random.default_rng(364)
    pictures = random.integers(0, 256, (args.images, args.pixels, args.pixels, 3), dtype=np.uint8)
    expected = emulate(_load(config, args.seed, "float32"), pictures)
    rows = []
    say(f"| dtype | {' | '.join(PARTS)} | captions that differ |", "|---" * (len(PARTS) + 2) + "|")
    for dtype in DTYPES:
        row = run(_load(config, args.seed, dtype), pictures).compared_with(expected)
        rows.append({"dtype": dtype, **row})
        errors = " | ".join(f"{row[part]:.1e}" for part in PARTS)
        say(f"| {dtype} | {errors} | {row['captions']} of {args.images} |")
    if args.json:
        emit_json({**vars(args), "rows": rows})
    return EXIT_OK


def config_of(pixels: int, *, deep: bool) -> dict[str, Any]:
    """The tiny configuration for images of this side, with the real number of layers if `deep`."""
    made: dict[str, Any] = {
        name: dict(part) if isinstance(part, dict) else part for name, part in TINY.items()
    }
    made["vision_config"]["image_size"] = pixels
    if deep:
        for part in ("vision_config", "qformer_config", "text_config"):
            made[part] |= {
                name: count for name, count in FLAN_T5_XL[part].items() if name.endswith("_layers")
            }
    return made


@torch.no_grad()
def emulate(loaded: Loaded, pictures: Pixels) -> Made:
    """The emulation's results for pictures (N, side, side, 3), with a float32 model's weights."""
    made, model = Made(), loaded.model
    end = model.config.text_config.eos_token_id
    model.language_model.set_attn_implementation("eager")
    for batch in _batches(pictures):
        seen = vision_tower(model, loaded.pixels(batch))
        bridged, given = encoder_input(model, seen, _prompt(loaded))
        with bfloat16_t5(model):
            encoded = model.language_model.encoder(inputs_embeds=given).last_hidden_state
            rows = model.language_model.generate(
                inputs_embeds=given,
                attention_mask=torch.ones(given.shape[:2]),
                **loaded.generation(),
            )
        made.keep(seen, bridged, given, encoded)
        for row in rows[:, 1:].tolist():
            made.captions.append(row[: row.index(end) + 1] if end in row else row)
    return made


@torch.no_grad()
def run(loaded: Loaded, pictures: Pixels) -> Made:
    """The results of `builder.captioning.fast` for pictures (N, side, side, 3)."""
    if loaded.preprocess is None:
        raise TypeError("expected a processor that only resizes and normalizes")
    made, model = Made(), loaded.model
    given: list[Tensor] = []
    hook = model.language_model.encoder.register_forward_pre_hook(
        lambda _, __, kwargs: given.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    for batch in _batches(pictures):
        encoder = Encoder(model, _prompt(loaded), len(batch), loaded.preprocess)
        seen = model.vision_model(pixel_values=loaded.pixels(batch)).last_hidden_state
        encoded = encoder.encode(batch)
        made.keep(seen, encoder.see(batch), given.pop(), encoded)
    hook.remove()
    captioner = ContinuousCaptioner(loaded, _BATCH)
    captions = dict(each for done in captioner.ids(enumerate(pictures)) for each in done)
    made.captions = [captions[i] for i in range(len(pictures))]
    return made


def _load(config: dict[str, Any], seed: int, dtype: str) -> Loaded:
    model = random_model(config, seed=seed)
    torch.set_float32_matmul_precision("highest")
    if dtype in MIXED:
        MIXED[dtype](model)
    elif dtype == "bfloat16":
        model.bfloat16()
    settings = CaptionSettings(
        model="random", prompt="bane roti luba", search="transformers", dtype=dtype
    )
    return adapt(model, random_processor(config), settings, {})


def _batches(pictures: Pixels) -> Iterator[Tensor]:
    for start in range(0, len(pictures), _BATCH):
        yield torch.from_numpy(pictures[start : start + _BATCH])


def _prompt(loaded: Loaded) -> list[int]:
    """The tokens of the prompt, without the image tokens before them."""
    return (loaded.prompt_ids or [])[loaded.model.config.num_query_tokens :]


if __name__ == "__main__":
    sys.exit(run_command(main))
