"""Captions a stream of images in a fixed number of slots.

`generate` is slow for three reasons. It finishes a batch when the longest caption is complete. It
moves all keys and values at each step. It launches thousands of kernels for each step.

Here a slot takes the next image as soon as its caption is complete. Keys and values are not moved
(see `decoder`). The work has three parts: encode a batch, admit encoded images to slots, make one
step of all slots. On CUDA each part is a graph, which is launched as a whole.

The rules of the search are those of `generate` (see `search`). A caption does not depend on the
number of slots or on the other images, apart from rounding.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from builder.captioning.fast.decoder import BeamDecoder
from builder.captioning.fast.encoder import Encoder
from builder.captioning.fast.graph import Recorded, graph_memory
from builder.captioning.fast.search import BeamSearch, SearchSettings
from builder.captioning.model import Loaded
from builder.captioning.plain import PlainCaptioner
from builder.core.errors import CaptionError

ENCODE_BATCH = 128  # images; with 257 or 677 tokens each, they keep a GPU busy
_ADMIT = 32  # the most images that are admitted at a time
_REACH = 8  # for each multiple of this, a step is recorded that reads the positions below it

Numbered = tuple[int, npt.NDArray[Any]]


class ContinuousCaptioner:
    """Captions a stream of images in `batch` slots.

    Parameters
    ----------
    loaded
        A BLIP-2 with a T5.
    batch
        The number of slots: how many images are decoded at a time.
    lengths
        The number of tokens that the caption of each image must have, including the end token.
        Benchmarks use it, because random weights rarely end a sentence.

    Raises
    ------
    CaptionError
        The settings have a min_length or a repetition_penalty, which this search does not support.
    ValueError
        The model is not a BLIP-2 with a T5.
    """

    def __init__(self, loaded: Loaded, batch: int, lengths: Iterable[int] | None = None) -> None:
        if loaded.preprocess is None or loaded.prompt_ids is None:
            raise ValueError("not a BLIP-2 with a T5")
        if loaded.settings.min_length > 1 or loaded.settings.repetition_penalty != 1:
            raise CaptionError(
                "the engine continuous does not support min_length and repetition_penalty; use "
                "the engine generate"
            )
        self._loaded, self.batch = loaded, batch
        self._lengths = None if lengths is None else list(lengths)
        settings, text = loaded.settings, loaded.model.config.text_config
        prompt = loaded.prompt_ids[loaded.model.config.num_query_tokens :]
        memory = graph_memory(loaded.device)
        self._encoder = Encoder(loaded.model, prompt, min(batch, ENCODE_BATCH), loaded.preprocess)
        self._encode_recorded = Recorded(
            functools.partial(self._encoder.encode, self._encoder.pixels), loaded.device, memory
        )
        self._decoder = BeamDecoder(
            loaded.model.language_model,
            batch,
            settings.num_beams,
            settings.max_new_tokens,
            self._encoder.tokens,
        )
        self._pad, self._end = text.pad_token_id, text.eos_token_id
        self._search = BeamSearch(
            self._decoder,
            SearchSettings(
                settings.num_beams,
                settings.max_new_tokens,
                settings.length_penalty,
                text.decoder_start_token_id,
                text.eos_token_id,
                text.pad_token_id,
                settings.search,
            ),
            imposed=lengths is not None,
        )
        device = self._decoder.device
        self._admitted = max(1, min(_ADMIT, self._encoder.batch // 4))
        self._new = torch.zeros(
            (self._admitted, self._encoder.tokens, text.d_model),
            dtype=self._decoder.dtype,
            device=device,
        )
        self._new_slots = torch.zeros(self._admitted, dtype=torch.int64, device=device)
        self._new_rows = torch.zeros_like(self._new_slots)
        self._new_lengths = torch.ones_like(self._new_slots)
        self._admit_recorded = Recorded(
            functools.partial(self._search.admit, self._new, self._new_slots, self._new_lengths),
            device,
            memory,
        )
        self._steps: dict[int, Recorded[Tensor]] = {}
        for reach in range(_REACH, self._decoder.positions + 1, _REACH):
            self._steps[reach] = Recorded(
                functools.partial(self._search.step, reach), device, memory
            )
        self._search.open.fill_(False)  # recording has put an image into slot 0
        self._result = torch.empty(
            (batch, 1 + self._decoder.positions),
            dtype=torch.int32,
            pin_memory=device.type == "cuda",
        )
        self._fetched: Any = None
        if device.type == "cuda":  # the wait must not keep a core busy: threads decode images
            self._fetched = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def __call__(self, images: Iterable[Numbered]) -> Iterator[list[tuple[int, str]]]:
        """Caption images.

        Parameters
        ----------
        images
            Pairs of a number and a prepared image, uint8 (height, width, 3), RGB.

        Yields
        ------
        list of (int, str)
            The numbers and captions of images that are complete, in the order of completion.
        """
        for done in self.ids(images):
            texts = self._loaded.decode([ids for _, ids in done])
            yield [(n, text.strip()) for (n, _), text in zip(done, texts, strict=True)]

    def retry(self, image: npt.NDArray[Any]) -> str:
        """Caption a prepared image once more, by `generate` with `plain.retry_options`."""
        return PlainCaptioner(self._loaded, 1).retry(image)

    def ids(self, images: Iterable[Numbered]) -> Iterator[list[tuple[int, list[int]]]]:
        """Like `__call__`, but yields token ids, up to and including the end token, not text."""
        numbered = iter(images)
        staged = self._stage(numbered)  # numbers of the images that are encoded next
        waiting: deque[tuple[int, int]] = deque()  # an image's number, its row in `encoded`
        encoded = torch.empty(0)
        free = list(range(self.batch))
        busy: dict[int, int] = {}  # slot to number
        made = np.zeros(self.batch, dtype=np.int64)  # how many tokens each slot has made
        captions: list[tuple[int, list[int]]] = []
        while staged or waiting or busy:
            while (staged or waiting) and len(free) >= (self._admitted if busy else 1):
                if not waiting:
                    encoded = self._encode(len(staged))
                    waiting.extend((number, row) for row, number in enumerate(staged))
                    staged = self._stage(numbered)
                count = min(len(free), len(waiting), self._admitted)
                new = [waiting.popleft() for _ in range(count)]
                slots = [free.pop() for _ in range(count)]
                self._admit(encoded, new, slots)
                busy.update(zip(slots, (number for number, _ in new), strict=True))
                made[slots] = 0
            active = list(busy)
            reach = -(-(int(made[active].max()) + 1) // _REACH) * _REACH
            made[active] += 1
            step = self._steps[reach]()
            if captions:  # of the step before; the device works on this step meanwhile
                yield captions
            result = self._fetch(step)
            done = [slot for slot in active if result[slot, 0]]
            free += done
            captions = [(busy.pop(slot), self._caption(result[slot, 1:])) for slot in done]
        if captions:
            yield captions

    def _stage(self, numbered: Iterator[Numbered]) -> list[int]:
        """Copy the next batch to the device, which works meanwhile; returns the images' numbers."""
        batch = list(itertools.islice(numbered, self._encoder.batch))
        if batch:
            self._encoder.put([image for _, image in batch])
        return [number for number, _ in batch]

    def _encode(self, count: int) -> Tensor:
        """Encode the encoder's first `count` images; later rows of the result are undefined."""
        if self._decoder.device.type == "cuda":
            return self._encode_recorded()
        return self._encoder.encode(self._encoder.pixels[:count])

    def _admit(self, encoded: Tensor, new: list[tuple[int, int]], slots: list[int]) -> None:
        padding = self._admitted - len(new)  # the first one is repeated, which changes nothing
        rows = [row for _, row in new]
        _put(self._new_rows, rows + rows[:1] * padding)
        torch.index_select(encoded, 0, self._new_rows, out=self._new)
        _put(self._new_slots, slots + slots[:1] * padding)
        if self._lengths is not None:
            lengths = [self._lengths[number] for number, _ in new]
            _put(self._new_lengths, lengths + lengths[:1] * padding)
        self._admit_recorded()

    def _fetch(self, result: Tensor) -> npt.NDArray[np.int32]:
        """Wait for a step's result and copy it to the host."""
        self._result.copy_(result, non_blocking=True)
        if self._fetched is not None:
            self._fetched.record(torch.cuda.current_stream(result.device))
            self._fetched.synchronize()
        return self._result.numpy()

    def _caption(self, row: npt.NDArray[np.int32]) -> list[int]:
        tokens: list[int] = row.tolist()
        if self._end in tokens:
            return tokens[: tokens.index(self._end) + 1]
        return tokens[: self._loaded.settings.max_new_tokens]


def _put(target: Tensor, values: list[int]) -> None:
    """Copy numbers to a device's tensor without waiting for the device."""
    on_device = target.device.type == "cuda"
    target.copy_(torch.tensor(values, pin_memory=on_device), non_blocking=True)
