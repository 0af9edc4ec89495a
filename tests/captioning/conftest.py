"""A tiny BLIP-2 of the real architecture, saved and loaded as the real one is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from builder.captioning.model import Loaded, load
from builder.captioning.settings import CaptionSettings
from builder.captioning.synthetic import TINY, write_random_model

CPU = torch.device("cpu")


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is slower on more threads, and so are the other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Loading the dtypes of "fast" lets float32 products be TF32."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-blip2"
    write_random_model(folder)
    return folder


@pytest.fixture(scope="session")
def settings(model_folder: Path) -> CaptionSettings:
    """ASAM's settings for it, but for the rules of beam search: so `generate` can check them."""
    return CaptionSettings(model=str(model_folder), search="transformers", dtype="float32")


@pytest.fixture(scope="session")
def loaded(settings: CaptionSettings) -> Loaded:
    """The model, loaded."""
    return load(settings, CPU)


@pytest.fixture(scope="session")
def pictures() -> list[npt.NDArray[Any]]:
    """Prepared images, no two alike."""
    side = TINY["vision_config"]["image_size"]
    random = np.random.default_rng(4)
    noise = random.integers(0, 256, (90, side, side, 3), dtype=np.uint8)
    return list(noise)
