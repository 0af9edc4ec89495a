"""Our beam search makes what transformers' `generate` makes, word for word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Blip2Config, Blip2ForConditionalGeneration, LogitsProcessorList

from builder.captioning.dtypes import MIXED
from builder.captioning.fast import ContinuousCaptioner
from builder.captioning.fast.decoder import BeamDecoder
from builder.captioning.fast.encoder import Encoder
from builder.captioning.fast.search import BeamSearch, SearchSettings
from builder.captioning.model import Loaded, adapt, load
from builder.captioning.plain import PlainCaptioner, generate
from builder.captioning.preprocess import Preprocess
from builder.captioning.settings import CaptionSettings
from builder.captioning.synthetic import FLAN_T5_XL, TINY, ImposedLengths, random_model

Pictures = list[npt.NDArray[Any]]


def continuous(
    loaded: Loaded, batch: int, numbered: list[tuple[int, npt.NDArray[Any]]]
) -> dict[int, str]:
    made = ContinuousCaptioner(loaded, batch)(numbered)
    pairs = [pair for done in made for pair in done]
    assert len(pairs) == len(dict(pairs))  # each image once
    return dict(pairs)


def test_the_captions_are_those_of_generate_at_any_batch_size_order_and_company(
    loaded: Loaded, pictures: Pictures
) -> None:
    reference = [PlainCaptioner(loaded, 1).captions([picture])[0] for picture in pictures[:6]]
    reference += PlainCaptioner(loaded, 1).captions(pictures[6:])
    assert len(set(reference)) > len(pictures) // 2
    assert min(len(text.split()) for text in reference) < 15  # some end early, some do not
    numbered = list(enumerate(pictures))
    assert continuous(loaded, 1, numbered[:8]) == dict(enumerate(reference[:8]))
    for batch in (7, 64, 128):
        assert continuous(loaded, batch, numbered) == dict(enumerate(reference))
    shuffled = [numbered[i] for i in np.random.default_rng(1).permutation(len(numbered))]
    assert continuous(loaded, 16, shuffled) == dict(enumerate(reference))
    assert continuous(loaded, 16, numbered[40:45]) == {i: reference[i] for i in range(40, 45)}


@pytest.mark.parametrize(
    "changes",
    [
        {"num_beams": 1},
        {"num_beams": 3, "max_new_tokens": 5},
        {"max_new_tokens": 8},
        {"max_new_tokens": 1},
        {"length_penalty": -1.0},
        {"length_penalty": 2.0},
        {"prompt": ""},
    ],
)
def test_other_settings_agree_too(
    settings: CaptionSettings, pictures: Pictures, changes: dict[str, Any]
) -> None:
    loaded = load(replace(settings, **changes), torch.device("cpu"))
    some = pictures[:24]
    reference = PlainCaptioner(loaded, 8).captions(some)
    assert continuous(loaded, 10, list(enumerate(some))) == dict(enumerate(reference))


def test_other_weights_agree_too(loaded: Loaded, pictures: Pictures) -> None:
    for seed in range(1, 4):
        model = random_model(TINY, seed=seed)
        other = adapt(model, loaded.processor, loaded.settings, {})
        reference = PlainCaptioner(other, 30).captions(pictures[:30])
        assert continuous(other, 12, list(enumerate(pictures[:30]))) == dict(enumerate(reference))


def test_no_prompt_is_the_end_token_alone_as_in_lavis(
    settings: CaptionSettings, pictures: Pictures
) -> None:
    loaded = load(replace(settings, prompt=""), torch.device("cpu"))
    model = loaded.model
    queries = model.config.num_query_tokens
    assert loaded.prompt_ids == [model.config.image_token_index] * queries + [1]
    pixels = loaded.pixels(torch.from_numpy(np.stack(pictures[:9])))
    by_default = model.generate(pixel_values=pixels, **loaded.generation())
    assert torch.equal(by_default, generate(loaded, pixels))


def test_imposed_lengths_agree_with_generate(loaded: Loaded, pictures: Pictures) -> None:
    lengths = np.random.default_rng(3).integers(3, 17, len(pictures)).tolist()
    captioner = ContinuousCaptioner(loaded, 32, lengths)
    made = dict(pair for done in captioner.ids(enumerate(pictures)) for pair in done)
    assert [len(made[i]) for i in range(len(pictures))] == lengths
    pixels = loaded.pixels(torch.from_numpy(np.stack(pictures)))
    processors = LogitsProcessorList([ImposedLengths(lengths, 5, 1)])
    reference = generate(loaded, pixels, logits_processor=processors)
    for i, row in enumerate(reference.tolist()):
        assert row[1 : 1 + lengths[i]] == made[i]


class OnDeviceAlone(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails at what can't be recorded as a CUDA graph because it involves the host."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            assert not isinstance(value, torch.Tensor) or value.device.type != "cpu", func
        # A number put at indices: CUDA alone makes a tensor of it on the host, and copies that.
        assert func is not torch.ops.aten.index_put_.default or args[2].ndim, func
        return out


@pytest.mark.parametrize(
    ("dtype", "rules"), [("asam", "lavis"), ("fast", "lavis"), ("float32", "transformers")]
)
def test_nothing_of_what_is_recorded_depends_on_the_host(dtype: str, rules: str) -> None:
    """No value is waited for, and none is copied from the host: on tensors that have only shapes.

    A build without CUDA has no such tensors of its device; the lazy one stands in for it.
    """
    device = "cuda:0" if torch.version.cuda else "lazy:0"
    model = random_model(TINY)
    if dtype in MIXED:
        MIXED[dtype](model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to(device)
        encoder = Encoder(model, [1], 4, Preprocess((28, 28)))
        decoder = BeamDecoder(model.language_model, 8, 5, 30, encoder.tokens)
        search = BeamSearch(decoder, SearchSettings(5, 30, 1.0, 0, 1, 0, rules), imposed=True)
        slots = torch.zeros(4, dtype=torch.int64, device=device)
        with OnDeviceAlone():  # type: ignore[no-untyped-call]
            encoded = encoder.encode(encoder.pixels)
            assert encoded.shape == (4, 5, 32)
            assert encoded.dtype == (torch.bfloat16 if dtype in MIXED else torch.float32)
            search.admit(encoded, slots, slots)
            assert search.step(16).shape == (8, 1 + 32)


def test_the_real_architecture_has_the_real_size() -> None:
    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(Blip2Config(**FLAN_T5_XL))
    millions = {
        name: sum(weight.numel() for weight in getattr(model, name).parameters()) / 1e6
        for name in ("vision_model", "qformer", "language_model")
    }
    # The paper's: ViT-g, 1.0 B; Q-Former, 107 M with cross-attention (text embeddings and the
    # text's feed-forward are not in captioning); Flan-T5 XL, 2.85 B.
    assert 950 < millions["vision_model"] < 1020
    assert 95 < millions["qformer"] < 110
    assert 2750 < millions["language_model"] < 2900
    assert (FLAN_T5_XL["vision_config"]["image_size"] // 14) ** 2 + 1 == 257
