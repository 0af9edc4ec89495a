"""The adapter of a captioning model: loading it, its identity, its pixels and its words."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from builder.captioning.dtypes import MIXED
from builder.captioning.families import Family, check_engine, family_of, read_processor
from builder.captioning.preprocess import Preprocess, decode
from builder.captioning.settings import CaptionSettings
from builder.core.errors import CaptionError
from builder.core.extras import needs
from builder.core.files import sha256_file
from builder.core.records import Json

_SAMPLES, _SAMPLE = 16, 1 << 16  # of a weights file, to tell it from another


@dataclass(slots=True)
class Loaded:
    """A captioning model, ready.

    Parameters
    ----------
    model
        What has transformers' `generate`, on its device.
    processor
        Its tokenizer, and its image processor where `preprocess` is None.
    preprocess
        How photographs are made ready, where a resize and a normalization is all there is to it.
    prompt_ids
        The token ids that `generate` starts from, as the family makes them of the prompt; None
        where `generate` finds them itself.
    family
        What kind of model it is.
    """

    model: Any
    processor: Any
    settings: CaptionSettings
    preprocess: Preprocess | None
    prompt_ids: list[int] | None
    family: Family
    identity: Json = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def is_blip2_t5(self) -> bool:
        """Whether the model is a BLIP-2 with a T5: what `continuous` makes captions with."""
        return self.family.parts.get("text_config") == "t5"

    def prepare(self, data: bytes) -> npt.NDArray[Any]:
        """An image's bytes to what `pixels` takes; raises UndecodableError. Runs in threads."""
        if self.preprocess:
            return self.preprocess(data)
        image = Image.fromarray(decode(data))
        values = self.processor.image_processor(images=image, return_tensors="np")["pixel_values"]
        return np.asarray(values[0])

    def pixels(self, prepared: Tensor) -> Tensor:
        """Prepared images (B, ...) to pixel values (B, 3, height, width)."""
        if self.preprocess is None:
            return prepared.to(next(self.model.parameters()).dtype)
        mean = torch.tensor(self.preprocess.mean, device=prepared.device)
        std = torch.tensor(self.preprocess.std, device=prepared.device)
        return normalize(prepared, mean, std)

    def generation(self) -> Json:
        """The generation settings as `generate` takes them."""
        settings = self.settings
        return {
            "num_beams": settings.num_beams,
            "max_new_tokens": settings.max_new_tokens,
            "min_length": settings.min_length,
            "length_penalty": settings.length_penalty,
            "repetition_penalty": settings.repetition_penalty,
            "do_sample": False,
            "early_stopping": False,
        }

    @property
    def prompt_words(self) -> str:
        """What each caption begins with because of the prompt; "" where that is left out."""
        if not self.family.repeats_prompt or self.prompt_ids is None:
            return ""
        return self.decode([self.prompt_ids])[0].strip()

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids to text."""
        texts: list[str] = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts


def normalize(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B, height, width, 3) uint8 to (B, 3, height, width) float32; `mean` and `std` of [0, 1]."""
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def load(settings: CaptionSettings, device: torch.device, engine: str = "auto") -> Loaded:
    """Load a captioning model that is to be used with an engine of `CaptionStream`.

    Raises
    ------
    CaptionError
        There is no such model, it is incomplete, or it is of no accepted family, or of one
        that the engine is not for.
    """
    with needs("captioning", "caption"):
        import transformers

    transformers.logging.set_verbosity_error()  # an untied lm_head and such, in every T5
    transformers.logging.disable_progress_bar()
    source: str = settings.model
    where = {"revision": settings.revision, "trust_remote_code": False}
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(source, **where)
        if not raw:
            raise CaptionError(f"{source}: no complete captioning model there: no config.json")
        family = family_of(raw, source)
        check_engine(engine, family, settings)
        config: Any = transformers.AutoConfig.from_pretrained(source, **where)
        processor: Any = read_processor(source, family, **where)
        family.start(config, processor.tokenizer, settings)  # refused before the weights are read
        mixed = MIXED.get(settings.dtype)
        if mixed and family.parts.get("text_config") != "t5":
            mixed, settings = None, replace(settings, dtype="bfloat16")
        dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            source,
            **where,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below
        )
    except CaptionError:
        raise
    except Exception as error:  # each loader has its own: OSError, ValueError, SafetensorError ...
        raise CaptionError(
            f"{source}: no complete captioning model there: {_first_line(error)}"
        ) from error
    lacking = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if lacking:
        raise CaptionError(
            f"{source} is incomplete: {len(lacking)} weights are missing or have another shape, "
            f"such as {lacking[0]}; download it again"
        )
    if mixed:
        mixed(model)
    return adapt(model.to(device), processor, settings, fingerprint(settings, config))


def adapt(model: Any, processor: Any, settings: CaptionSettings, weights: Json) -> Loaded:
    """Make a model and its processor ready; `weights` says which they are."""
    torch.backends.cudnn.allow_tf32 = False  # or a float32 convolution would be none
    torch.backends.cuda.enable_cudnn_sdp(False)  # preferred on Hopper; its tiles are for long rows
    model.eval().requires_grad_(False)
    preprocess = _preprocess(processor.image_processor, settings)
    _check_size(model.config, preprocess, settings)
    family = family_of(model.config.to_dict(), settings.model)
    ids = family.start(model.config, processor.tokenizer, settings)
    loaded = Loaded(model, processor, settings, preprocess, ids, family)
    if not loaded.is_blip2_t5:  # `generate` captions it
        loaded.settings = settings = replace(settings, search="transformers")
    described = asdict(settings)
    for elsewhere in ("preset", "model", "revision", "dct_scaling"):
        del described[elsewhere]
    if preprocess:
        described["image"] = preprocess.settings()
    loaded.identity = {**weights, "settings": described}
    return loaded


def fingerprint(settings: CaptionSettings, config: Any) -> Json:
    """Which weights these are: the Hub's commit, or a hash over samples of a folder's files."""
    folder = Path(settings.model)
    if not folder.is_dir():
        return {"model": settings.model, "revision": getattr(config, "_commit_hash", None)}
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            digest.update(f"{path.name} {sha256_file(path)}\n".encode())
        elif path.suffix in (".safetensors", ".bin"):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for part in range(_SAMPLES):
                    file.seek(part * max(0, size - _SAMPLE) // (_SAMPLES - 1), os.SEEK_SET)
                    digest.update(file.read(_SAMPLE))
    return {"model": folder.name, "revision": f"sha256:{digest.hexdigest()}"}


def _preprocess(image_processor: Any, settings: CaptionSettings) -> Preprocess | None:
    """The processor's steps as ours, or None where it does more than resize and normalize."""
    size = dict(getattr(image_processor, "size", None) or {})
    simple = (
        size.keys() == {"height", "width"}
        and all(getattr(image_processor, f"do_{x}", False) for x in ("resize", "normalize"))
        and not getattr(image_processor, "do_center_crop", False)
        and not getattr(image_processor, "do_pad", False)
    )
    if not simple:
        return None
    return Preprocess(
        (size["height"], size["width"]),
        Image.Resampling(image_processor.resample),
        tuple(image_processor.image_mean),
        tuple(image_processor.image_std),
        settings.dct_scaling,
    )


def _check_size(config: Any, preprocess: Preprocess | None, settings: CaptionSettings) -> None:
    """Refuse a processor whose images are not of the size that the vision tower was trained for.

    transformers says nothing where the images are smaller: it takes the first position embeddings,
    which belong to other places of the image.
    """
    part = "encoder" if hasattr(config, "encoder") else "vision_config"
    side = getattr(getattr(config, part, None), "image_size", None)
    if preprocess and isinstance(side, int) and preprocess.size != (side, side):
        height, width = preprocess.size
        raise CaptionError(
            f"{settings.model}: its processor makes images of {width} x {height} pixels, its "
            f"config.json ({part}.image_size) expects {side} x {side}; take both files from "
            "one model"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
