"""The options of captioning: settings that decide a caption, presets of them, and run options.

This module does not import torch, so that `--help` is fast.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

DTYPES = ("asam", "fast", "bfloat16", "float32")
ENGINES = ("auto", "continuous", "generate")
SEARCHES = ("auto", "lavis", "transformers")


@dataclass(frozen=True, slots=True)
class CaptionSettings:
    """The settings that decide a caption. The defaults are those of the preset "asam".

    ASAM's script calls LAVIS's `blip2_t5` of the type `caption_coco_flant5xl`. The prompt comes
    from its configuration (lavis/configs/models/blip2/blip2_caption_flant5xl.yaml). The other
    settings are the defaults of `generate` (lavis/models/blip2_models/blip2_t5.py), which passes
    its `max_length` on as the number of new tokens. The images' size and normalization are not
    settings, because they are read from the model's own processor.

    Parameters
    ----------
    preset
        The name of the preset that the settings were made from; None if they were made from none.
        It has no effect on captions.
    model
        A repo of the Hub, or a folder that `save_pretrained` wrote.
    revision
        A branch, tag or commit of the Hub's repo; None for its main branch.
    prompt
        The text that the caption continues; "" for none.
    num_beams, max_new_tokens, min_length, length_penalty, repetition_penalty
        As in transformers' `generate`.
    search
        The rules of beam search (`builder.captioning.fast.search`). "lavis" are those of
        transformers 4.33.2, which LAVIS pins. Only a BLIP-2 with a T5 has them. "transformers" are
        those of transformers 5. "auto" is "lavis" for a BLIP-2 with a T5 and "transformers" for
        other models.
    dtype
        "asam" rounds where LAVIS's autocast does: float16 in the vision tower's layers, bfloat16 in
        T5's, float32 between them and in the Q-Former (`builder.captioning.dtypes`). "fast" rounds
        more: the vision tower and the projection are float16, T5 is bfloat16. "bfloat16" and
        "float32" are one dtype for all parts. Only a BLIP-2 with a T5 has "asam" and "fast". "auto"
        is "float32" on the CPU. On a GPU it is "asam" for a BLIP-2 with a T5 and "bfloat16" for
        other models.
    dct_scaling
        Let the JPEG decoder scale the image down first. This is faster and changes some captions.
        Only a model whose processor does no more than resize and normalize has the choice.
    """

    preset: str | None = "asam"
    model: str = "Salesforce/blip2-flan-t5-xl-coco"
    revision: str | None = None
    prompt: str = "a photo of"
    num_beams: int = 5
    max_new_tokens: int = 30
    min_length: int = 1
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    search: str = "auto"
    dtype: str = "auto"
    dct_scaling: bool = False


PRESETS = {
    "asam": CaptionSettings(),
    # The weights before the fine-tuning on COCO; LAVIS calls this type pretrain_flant5xl.
    "pretrained": CaptionSettings("pretrained", "Salesforce/blip2-flan-t5-xl", prompt=""),
}
_NOT_THE_WORDS = ("preset", "dtype")  # settings that are not part of a preset


def caption_settings(preset: str | None = None, **explicit: Any) -> CaptionSettings:
    """Take the settings of a preset and replace those that are given.

    Parameters
    ----------
    preset
        A key of `PRESETS`. None takes the preset of the given model, or "asam" if no model is
        given. A model that is of no preset has no prompt unless one is given.
    explicit
        Fields of `CaptionSettings`. None means that a field is not given.
    """
    given = {name: value for name, value in explicit.items() if value is not None}
    if preset is None:
        model = given.get("model", PRESETS["asam"].model)
        preset = next((name for name, each in PRESETS.items() if each.model == model), None)
    start = PRESETS[preset] if preset else CaptionSettings(preset=None, prompt="")
    return replace(start, **given)


def describe_preset(settings: CaptionSettings) -> str | None:
    """Name the preset and what differs from it: "asam", or "asam with another num_beams".

    Returns None for settings that were made from no preset. The "auto" of a preset's search counts
    as "lavis", because the presets' models are BLIP-2 with a T5.
    """
    if settings.preset is None:
        return None
    preset = PRESETS[settings.preset]
    if settings.search != "auto":
        preset = replace(preset, search="lavis")
    changed = [
        field.name
        for field in fields(settings)
        if field.name not in _NOT_THE_WORDS
        and getattr(settings, field.name) != getattr(preset, field.name)
    ]
    return settings.preset + (f" with another {', '.join(changed)}" if changed else "")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run works. None of these options changes a caption.

    Parameters
    ----------
    devices
        Such as ("cuda",), ("cuda:0", "cuda:1"), ("cpu",). "auto" is every GPU, or the CPU if there
        is none. If there are several, each has a process of its own.
    engine
        One of `ENGINES`; `builder.captioning.stream.CaptionStream` explains them.
    batch
        How many images a device takes at a time; None to take as many as fit its memory.
    threads
        The number of threads that decode images, for all devices together; None for one per core.
    limit
        Caption only this many images of a source, from its first on.
    force_mix
        Add to a captions file that was made with other settings.
    retry_rejects
        Try the images again that an earlier run rejected.
    quiet
        Do not say that the model is being loaded, and show no progress bar.
    address
        The address of a Ray cluster, whose devices caption; None for those of this machine.
    """

    devices: tuple[str, ...] = ("auto",)
    engine: str = "auto"
    batch: int | None = None
    threads: int | None = None
    limit: int | None = None
    force_mix: bool = False
    retry_rejects: bool = False
    quiet: bool = False
    address: str | None = None
