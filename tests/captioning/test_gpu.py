"""The same captions on a GPU: graphs, slots and all. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from builder.captioning.fast import ContinuousCaptioner
from builder.captioning.model import Loaded, load
from builder.captioning.plain import PlainCaptioner
from builder.captioning.settings import CaptionSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_gpu_makes_the_captions_of_generate_on_the_cpu(
    settings: CaptionSettings, loaded: Loaded, pictures: list[npt.NDArray[Any]]
) -> None:
    reference = dict(enumerate(PlainCaptioner(loaded, 30).captions(pictures)))
    on_gpu = load(settings, torch.device("cuda"))
    for batch in (1, 7, 64):
        captioner = ContinuousCaptioner(on_gpu, batch)
        for _ in range(2):  # the graphs are used again
            made = dict(x for done in captioner(enumerate(pictures)) for x in done)
            assert made == reference


def test_the_dtypes_of_asam_make_captions_in_any_company(
    settings: CaptionSettings, pictures: list[npt.NDArray[Any]]
) -> None:
    captioner = ContinuousCaptioner(load(replace(settings, dtype="asam"), torch.device("cuda")), 32)
    numbered = list(enumerate(pictures))
    first = dict(x for done in captioner(numbered) for x in done)
    order = np.random.default_rng(0).permutation(len(numbered))
    second = dict(x for done in captioner([numbered[i] for i in order]) for x in done)
    assert first.keys() == second.keys() == dict(numbered).keys()
    same = sum(first[i] == second[i] for i in first)
    assert same > len(first) // 2  # near-flat logits: some beams may flip
