"""Loads a SAM of transformers and ASAM's tokens, or makes a tiny SAM with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars

from builder.core.errors import ModelError
from builder.core.models import find_model

TINY = "tiny"  # the name of the tiny model
TOKENS = ("mask_tokens.weight", "iou_token.weight")  # ASAM changes only these in SAM's decoder


def load_sam(name: str) -> Any:
    """Load a SAM.

    Parameters
    ----------
    name
        A repo of the Hub, a folder, or "tiny" for `tiny_sam`.

    Returns
    -------
    transformers.SamModel
        In float32, on the CPU.

    Raises
    ------
    ModelError
        There is no such model, it is not a SAM, or it is incomplete.
    """
    if name == TINY:
        return tiny_sam()
    with model_errors(name, "a SAM"):
        config: Any = transformers.AutoConfig.from_pretrained(name)
        if not isinstance(config, transformers.SamConfig):
            raise ModelError(
                f"{name} is a {config.model_type} model, not a SAM: take one such as "
                "facebook/sam-vit-base"
            )
        model, report = transformers.SamModel.from_pretrained(name, output_loading_info=True)
    lacking = [*report["missing_keys"], *report["mismatched_keys"]]
    if lacking:
        raise ModelError(
            f"{name}: {len(lacking)} weights are missing or have another shape, such as "
            f"{min(map(str, lacking))}: download it again, or take another model"
        )
    return model


def silence() -> None:
    """Turn off the progress bars of transformers, datasets and the Hub's client, for --quiet."""
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    disable_progress_bars()


@contextmanager
def model_errors(name: str, kind: str) -> Iterator[None]:
    """Turn the errors of loading a model in this context into a ModelError of one line.

    Parameters
    ----------
    name
        The repo or folder, as the user gave it.
    kind
        What is looked for there, such as "a SAM".

    Raises
    ------
    ModelError
        `name` can't be a model's, or loading failed.
    """
    try:
        find_model(name)  # it says more plainly than the loaders what is wrong
        yield
    except ModelError:
        raise
    except Exception as error:  # each loader has its own: OSError, ValueError, SafetensorError ...
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(
            f"{name!r} can't be loaded as {kind}: {reason.rstrip('.')}; give a repo of the Hub, or "
            "a folder that save_pretrained wrote"
        ) from error


def tiny_sam() -> Any:
    """Make a SAM with random weights that is a thousand times smaller, to show that code runs."""
    return transformers.SamModel(
        transformers.SamConfig(
            vision_config=transformers.SamVisionConfig(
                hidden_size=32,
                output_channels=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=256,
                window_size=4,
                global_attn_indexes=[1],
                num_pos_feats=16,
                initializer_range=0.02,
            ),
            prompt_encoder_config=transformers.SamPromptEncoderConfig(
                hidden_size=32, image_size=256
            ),
            mask_decoder_config=transformers.SamMaskDecoderConfig(
                hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
            ),
        )
    )


def take_tokens(model: Any, path: Path) -> None:
    """Put the output tokens of one of ASAM's checkpoints into a SAM's mask decoder.

    Parameters
    ----------
    model
        A transformers.SamModel. Its `TOKENS` are overwritten.
    path
        A checkpoint of ASAM's decoder, of the whole ASAM, or `tokens.pth` of
        examples/finetune_sam.py.

    Raises
    ------
    ModelError
        There is no such file, it is not a checkpoint, or its tokens are missing or of another size.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file of tokens")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, EOFError, RuntimeError, KeyError ...
        raise ModelError(f"{path} is not a checkpoint that torch can load") from error
    weights = weights if isinstance(weights, dict) else {}
    for name in TOKENS:
        token = weights.get(name, weights.get(f"mask_decoder.{name}"))
        own = model.mask_decoder.get_parameter(name)
        if not isinstance(token, torch.Tensor):
            found = ", ".join(map(str, list(weights)[:5])) or "nothing by name"
            raise ModelError(f"{path} holds no {name}, the tokens that ASAM tunes: found {found}")
        if token.shape != own.shape:
            raise ModelError(
                f"{path}: {name} has the shape {tuple(token.shape)}, and the model's "
                f"{tuple(own.shape)}: take the model that was tuned"
            )
        own.data.copy_(token)
