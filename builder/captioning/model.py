"""Loads a captioning model and describes it: its identity, how it takes pixels, its tokens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from builder.captioning.dtypes import MIXED
from builder.captioning.families import (
    Family,
    check_choices,
    choose_engine,
    family_of,
    read_processor,
)
from builder.captioning.preprocess import Preprocess, decode
from builder.captioning.settings import CaptionSettings
from builder.core.errors import CaptionError, ModelError
from builder.core.extras import needs
from builder.core.files import sha256_file
from builder.core.models import find_model
from builder.core.records import Json

_SAMPLES, _SAMPLE = 16, 1 << 16  # a weights file is identified by 16 samples of 64 KiB


@dataclass(frozen=True, slots=True)
class Described:
    """A captioning model whose weights are not loaded yet.

    Parameters
    ----------
    config, processor
        Those of transformers.
    settings
        The settings, without "auto".
    engine
        The engine of `CaptionStream` that captions with it, not "auto".
    identity
        The weights and the settings that decide a caption, as JSON values.
    where
        The arguments of `from_pretrained` that say where the weights are.
    """

    config: Any
    processor: Any
    settings: CaptionSettings
    engine: str
    identity: Json
    where: Json


@dataclass(slots=True)
class Loaded:
    """A captioning model that is ready to use.

    Parameters
    ----------
    model
        A model of transformers with a method `generate`, on its device.
    processor
        Has the attributes `tokenizer` and `image_processor`.
    settings
        The settings that it was loaded with.
    preprocess
        How images are prepared. None if the processor does more than resize and normalize; its
        image processor is used then.
    prompt_ids
        The token ids that `generate` starts from. None if `generate` finds them itself.
    family
        What kind of model it is.
    identity
        The weights and the settings that decide a caption, as JSON values.
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
        """The device that the model is on."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def is_blip2_t5(self) -> bool:
        """Whether the model is a BLIP-2 with a T5, which the engine "continuous" needs."""
        return self.family.is_blip2_t5

    def prepare(self, data: bytes) -> npt.NDArray[Any]:
        """Decode and resize an image. Threads may call it.

        Parameters
        ----------
        data
            An image file's bytes.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB, or what the image processor makes.

        Raises
        ------
        UndecodableError
            The image can't be decoded.
        """
        if self.preprocess:
            return self.preprocess(data)
        image = Image.fromarray(decode(data))
        values = self.processor.image_processor(images=image, return_tensors="np")["pixel_values"]
        return np.asarray(values[0])

    def pixels(self, prepared: Tensor) -> Tensor:
        """Turn a batch of prepared images into pixel values (B, 3, height, width)."""
        if self.preprocess is None:
            return prepared.to(next(self.model.parameters()).dtype)
        mean = torch.tensor(self.preprocess.mean, device=prepared.device)
        std = torch.tensor(self.preprocess.std, device=prepared.device)
        return normalize(prepared, mean, std)

    def generation(self) -> Json:
        """The generation settings as keyword arguments of `generate`."""
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
        """The prompt as each caption begins with it; "" if captions do not repeat the prompt."""
        if not self.family.repeats_prompt or self.prompt_ids is None:
            return ""
        return self.decode([self.prompt_ids])[0].strip()

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids to text."""
        texts: list[str] = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts


def normalize(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalize uint8 pixels (B, height, width, 3) to float32 (B, 3, height, width).

    `mean` and `std` (3,) are those of pixels between 0 and 1.
    """
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def load(settings: CaptionSettings, device: torch.device, engine: str = "auto") -> Loaded:
    """Load a captioning model: `describe` it, then `load_weights`; raises CaptionError."""
    return load_weights(describe(settings, device, engine), device)


def describe(settings: CaptionSettings, device: torch.device, engine: str = "auto") -> Described:
    """Read a model's small files, and check that the settings fit it. This takes seconds.

    Parameters
    ----------
    settings
        They name the model.
    device
        Where it will be.
    engine
        The engine of `CaptionStream` that is to use it.

    Raises
    ------
    CaptionError
        There is no such model, the Hub can't be reached, its family is not accepted, the engine
        can't caption with it, or a setting has no effect on it.
    """
    with needs("captioning", "caption"):
        import transformers

    transformers.logging.set_verbosity_error()  # every T5 would warn of an untied lm_head
    transformers.logging.disable_progress_bar()
    source: str = settings.model
    if settings.revision and Path(source).is_dir():
        raise CaptionError(
            f"--revision is for a repo of the Hub, and {source} is a folder: leave it out"
        )
    with _incomplete(source):
        where = {**find_model(source, settings.revision), "trust_remote_code": False}
        raw, _ = transformers.PretrainedConfig.get_config_dict(source, **where)
        if not raw:
            raise CaptionError(f"{source}: no complete captioning model there: no config.json")
        family = family_of(raw, source)
        check_choices(family, settings)
        settings = _resolved(settings, family, device)
        engine = choose_engine(engine, family, settings)
        config: Any = transformers.AutoConfig.from_pretrained(source, **where)
        processor: Any = read_processor(source, family, **where)
        if settings.dct_scaling and _preprocess(processor.image_processor, settings) is None:
            raise CaptionError(
                f"{source}: --dct-scaling is only for models whose processor does no more than "
                f"resize and normalize, and that of this {family.name} model does more; leave the "
                "option out"
            )
        family.start(config, processor.tokenizer, settings)  # refuses a prompt before a long load
        identity = _identity(settings, processor, fingerprint(settings, config))
    return Described(config, processor, settings, engine, identity, where)


def load_weights(described: Described, device: torch.device) -> Loaded:
    """Load the weights of a model onto a device.

    Raises
    ------
    CaptionError
        The model is incomplete.
    """
    import transformers

    settings = described.settings
    source: str = settings.model
    with _incomplete(source):
        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            source,
            **described.where,
            dtype=torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the error below reports them
        )
    lacking = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if lacking:
        raise CaptionError(
            f"{source} is incomplete: {len(lacking)} weights are missing or have another shape, "
            f"such as {lacking[0]}; download it again"
        )
    if settings.dtype in MIXED:
        MIXED[settings.dtype](model)
    weights = {key: described.identity[key] for key in ("model", "revision")}
    return adapt(model.to(device), described.processor, settings, weights)


@contextmanager
def _incomplete(source: str) -> Iterator[None]:
    """Turn what the loaders raise in this context into a CaptionError of one line."""
    try:
        yield
    except CaptionError:
        raise
    except ModelError as error:
        raise CaptionError(str(error)) from error
    except Exception as error:  # each loader raises its own type: OSError, SafetensorError ...
        raise CaptionError(
            f"{source}: no complete captioning model there: {_first_line(error)}"
        ) from error


def _resolved(settings: CaptionSettings, family: Family, device: torch.device) -> CaptionSettings:
    """Replace each "auto" by what the family uses on the device."""
    search, dtype = settings.search, settings.dtype
    if search == "auto":
        search = "lavis" if family.is_blip2_t5 else "transformers"
    if dtype == "auto" and device.type == "cpu":
        dtype = "float32"
    elif dtype == "auto":
        dtype = "asam" if family.is_blip2_t5 else "bfloat16"
    return replace(settings, search=search, dtype=dtype)


def adapt(model: Any, processor: Any, settings: CaptionSettings, weights: Json) -> Loaded:
    """Make a loaded model and its processor ready.

    Parameters
    ----------
    model
        A model of transformers on its device. Its gradients are turned off.
    processor
        Has the attributes `tokenizer` and `image_processor`.
    settings
        The settings, without "auto".
    weights
        Which weights these are, as `fingerprint` says it.

    Raises
    ------
    CaptionError
        The prompt does not fit, or the processor's images have a size that the model does not take.
    """
    torch.backends.cudnn.allow_tf32 = False  # TF32 would round float32 convolutions
    # torch prefers cuDNN's attention on Hopper. It is slower here, as it is made for long rows.
    torch.backends.cuda.enable_cudnn_sdp(False)
    model.eval().requires_grad_(False)
    preprocess = _preprocess(processor.image_processor, settings)
    _check_size(model.config, preprocess, settings)
    family = family_of(model.config.to_dict(), settings.model)
    ids = family.start(model.config, processor.tokenizer, settings)
    loaded = Loaded(model, processor, settings, preprocess, ids, family)
    loaded.identity = _identity(settings, processor, weights)
    return loaded


def _identity(settings: CaptionSettings, processor: Any, weights: Json) -> Json:
    """The weights and the settings that decide a caption, as JSON values."""
    described = asdict(settings)
    for elsewhere in ("preset", "model", "revision", "dct_scaling"):
        del described[elsewhere]
    if preprocess := _preprocess(processor.image_processor, settings):
        described["image"] = preprocess.settings()
    return {**weights, "settings": described}


def fingerprint(settings: CaptionSettings, config: Any) -> Json:
    """Identify the weights: by the Hub's commit, or by a hash over samples of a folder's files."""
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
    """The processor's steps as a Preprocess; None if it does more than resize and normalize."""
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
    """Refuse a processor whose images do not have the size that the vision tower expects.

    transformers accepts smaller images without an error. It then uses position embeddings that
    belong to other places of the image.
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
