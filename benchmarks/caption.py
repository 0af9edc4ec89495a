"""Measures captioning with BLIP-2 against LAVIS's way and against plain `generate` in batches.

    python -m benchmarks.caption                     the real model of the preset asam, on a GPU
    python -m benchmarks.caption --preset pretrained the same at 224 pixels, without a prompt
    python -m benchmarks.caption --dtype fast        another precision
    python -m benchmarks.caption --tiny              a tiny model, on any machine
    python -m benchmarks.caption --images FOLDER     your own jpgs for the end-to-end part

The weights are random, which does not change the arithmetic. Random weights rarely end a sentence,
so each caption gets a length of 8 to 16 tokens and the end token, the same for all three ways. All
figures come from this process. The floor of a part is the number of its operations, divided by the
device's measured rate of matrix products. If a part fails, it is named and the others still run;
the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.caption_floor import operations
from benchmarks.caption_photographs import Photographs, photographs
from benchmarks.caption_report import Report
from builder.captioning.dtypes import MIXED
from builder.captioning.fast import ContinuousCaptioner
from builder.captioning.fast.captioner import ENCODE_BATCH
from builder.captioning.fast.encoder import Encoder
from builder.captioning.model import Loaded, adapt
from builder.captioning.plain import generate
from builder.captioning.preprocess import Preprocess
from builder.captioning.settings import DTYPES, CaptionSettings
from builder.captioning.stream import CaptionStream
from builder.captioning.synthetic import (
    FLAN_T5_XL,
    FLAN_T5_XL_COCO,
    TINY,
    ImposedLengths,
    random_model,
    random_processor,
)
from builder.core.console import EXIT_FAILED, EXIT_OK, emit_json, run_command, say
from builder.core.records import Json

BEAMS = 5
RUNS = 5
SEEING, ALL = "vision and q-former", "all"  # floors


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    config: dict[str, Any]
    batch: int  # the slots of ContinuousCaptioner
    images: int  # for ContinuousCaptioner
    plain_batch: int
    plain_images: int
    single_images: int
    parity_images: int
    photographs: int  # end to end
    photograph_size: tuple[int, int]
    matrix: int  # the side of the matrices that the rate is measured with


REAL = Scale(FLAN_T5_XL_COCO, 1024, 6144, 64, 256, 12, 64, 6144, (2250, 1500), 8192)
CONFIGS = {"asam": FLAN_T5_XL_COCO, "pretrained": FLAN_T5_XL}  # 364 and 224 px
PROMPTS = {"asam": "bane roti luba sha", "pretrained": ""}  # as many tokens as "a photo of" has
SMALL = Scale(TINY, 16, 96, 8, 24, 6, 24, 24, (640, 480), 512)


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything; a table to stderr, JSON to stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.caption",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny configuration")
    parser.add_argument("--preset", choices=tuple(CONFIGS), default="asam", help="(%(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, help="(asam on a GPU, float32 elsewhere)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=Path, help="a folder of jpgs (default: made by code)")
    parser.add_argument("--batch-size", type=int, help="images decoded at a time by ours")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    device = torch.device(args.device)
    if device.type == "cpu" and not args.tiny:
        parser.error("the real configuration needs a GPU; try --tiny")
    transformers.logging.set_verbosity_error()
    if args.tiny:
        torch.set_num_threads(1)  # more threads make such small products slower
    scale = SMALL if args.tiny else replace(REAL, config=CONFIGS[args.preset])
    dtype = args.dtype or ("asam" if device.type == "cuda" else "float32")
    settings = CaptionSettings(
        args.preset,
        "random",
        prompt=PROMPTS[args.preset],
        num_beams=BEAMS,
        search="transformers",
        dtype=dtype,
    )
    report = Report(_about(device, scale, settings))
    say(f"benchmarks.caption: {report.about}")
    _measure(scale, device, settings, args.batch_size or scale.batch, args.images, report)
    if args.json:
        emit_json({**report.about, "rows": report.rows, "failed": report.failed})
    return EXIT_FAILED if report.failed else EXIT_OK


def _measure(
    scale: Scale,
    device: torch.device,
    settings: CaptionSettings,
    batch: int,
    folder: Path | None,
    report: Report,
) -> None:
    """Measure all parts, the most important ones first."""
    other = replace(settings, dtype="bfloat16" if settings.dtype == "float32" else "float32")
    loaded, captioner = None, None
    with report.part("floor (operations of the matrix products over the measured rate)"):
        _floors(scale, device, settings, report)
    with report.part("random weights"):
        loaded = _loaded(scale, device, settings)
    if loaded is not None:
        with report.part("vision tower and Q-Former"):
            _vision(loaded, report)
        with report.part("captions from prepared images"):
            captioner = _ours(scale, loaded, batch, report)
        if captioner is not None:
            with report.part("from jpegs"):
                _end_to_end(
                    scale,
                    loaded,
                    captioner,
                    photographs(scale.photographs, scale.photograph_size, folder),
                    report,
                )
            captioner = None
        with report.part("the same, by generate"):
            _baselines(scale, loaded, report)
        with report.part(f"the same words as plain generate, {settings.dtype}"):
            _parity(scale, loaded, report)
        loaded = None
    with report.part(f"the same words as plain generate, {other.dtype}"):
        _parity(scale, _loaded(scale, device, other), report)


# ------------------------------------------------------------------------------------- floors


def _floors(scale: Scale, device: torch.device, settings: CaptionSettings, report: Report) -> None:
    """The images per second that the measured rate allows, for each part and for all."""
    rate = _matmul_rate(device, scale.matrix)
    tokens = statistics.mean(_lengths(scale.images))
    prompt = 1 + len(settings.prompt.split())
    parts = operations(scale.config, tokens, BEAMS, prompt)
    report.note(matmul_tflops=round(rate / 1e12, 3), mean_tokens=round(tokens, 2))
    parts[SEEING] = parts["vision"] + parts["q-former"]
    parts[ALL] = parts[SEEING] + parts["t5 encoder"] + parts["t5 decoder"]
    for name, count in parts.items():
        report.add(f"floor: {name}", rate / count, note=f"{count / 1e9:,.2f} GFLOP")


def _matmul_rate(device: torch.device, side: int) -> float:
    """Operations per second of a product of square matrices in bfloat16 (float32 on the CPU)."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return float(2 * side**3 / _seconds(lambda: left @ right, device, repeats=20))


def _seconds(function: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """The median time of a call after two warm-up calls; `repeats` calls are timed together."""
    for _ in range(2):
        function()
    times = []
    for _ in range(RUNS):
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        _wait(device)
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ------------------------------------------------------------------------------------- the parts


def _loaded(scale: Scale, device: torch.device, settings: CaptionSettings) -> Loaded:
    """The random model in the dtype of the settings."""
    model = random_model(scale.config, device=device)
    torch.set_float32_matmul_precision("highest")
    if settings.dtype in MIXED:
        MIXED[settings.dtype](model)
    elif settings.dtype == "bfloat16":
        model.bfloat16()
    return adapt(model, random_processor(scale.config), settings, {})


def _preprocess(loaded: Loaded) -> Preprocess:
    """How images are prepared for the model. It must be a simple processor, as BLIP-2 has."""
    if loaded.preprocess is None:
        raise TypeError("expected a processor that only resizes and normalizes")
    return loaded.preprocess


def _lengths(count: int) -> list[int]:
    """The imposed lengths: 8 to 16 tokens, and the end token."""
    lengths: list[int] = np.random.default_rng(8).integers(8, 17, count).tolist()
    return [length + 1 for length in lengths]


def _pictures(loaded: Loaded, count: int) -> list[Any]:
    """Prepared images: noise."""
    height, width = _preprocess(loaded).size
    random = np.random.default_rng(9)
    some = random.integers(0, 256, (min(count, 512), height, width, 3), dtype=np.uint8)
    return [some[i % len(some)] for i in range(count)]


def _generated(loaded: Loaded, pictures: Sequence[Any], lengths: Sequence[int]) -> list[list[int]]:
    """Caption one batch by plain `generate`; returns token ids up to the end token."""
    text = loaded.model.config.text_config
    processors = transformers.LogitsProcessorList(
        [ImposedLengths(lengths, BEAMS, text.eos_token_id)]
    )
    pixels = loaded.pixels(torch.from_numpy(np.stack(pictures)).to(loaded.device))
    rows = generate(loaded, pixels, logits_processor=processors).tolist()
    return [row[1 : 1 + length] for row, length in zip(rows, lengths, strict=True)]


def _parity(scale: Scale, loaded: Loaded, report: Report) -> None:
    """Count the captions that equal those of plain `generate`. In float32 it should be all."""
    count, dtype = scale.parity_images, loaded.settings.dtype
    lengths, pictures = _lengths(count), _pictures(loaded, count)
    half = count // 2
    expected = _generated(loaded, pictures[:half], lengths[:half])
    expected += _generated(loaded, pictures[half:], lengths[half:])
    made = {}
    for batch in (max(1, count // 3), count):
        captioner = ContinuousCaptioner(loaded, batch, lengths)
        found = dict(x for done in captioner.ids(enumerate(pictures)) for x in done)
        made[batch] = [found[i] for i in range(count)]
        same = sum(a == b for a, b in zip(made[batch], expected, strict=True))
        report.note(**{f"same_as_generate_{dtype}_batch_{batch}": f"{same} of {count}"})
    first, second = made.values()
    same = sum(a == b for a, b in zip(first, second, strict=True))
    report.note(**{f"same_at_both_batches_{dtype}": f"{same} of {count}"})


def _vision(loaded: Loaded, report: Report) -> None:
    """Measure the vision tower and the Q-Former, from pixels on the device."""
    batch = ENCODE_BATCH if loaded.device.type == "cuda" else 8
    encoder = Encoder(loaded.model, [1], batch, _preprocess(loaded))
    encoder.put(_pictures(loaded, batch))
    rate = batch / _seconds(lambda: encoder.see(encoder.pixels), loaded.device)
    floor = report.rate(f"floor: {SEEING}")
    report.add("vision tower and Q-Former", rate, floor, f"batches of {batch}")


def _baselines(scale: Scale, loaded: Loaded, report: Report) -> None:
    """Measure `generate` one image at a time, as LAVIS does, and in batches."""
    for what, batch, count in (
        ("one at a time, as LAVIS", 1, scale.single_images),
        ("plain batched generate", scale.plain_batch, scale.plain_images),
    ):
        pictures, lengths = _pictures(loaded, count), _lengths(count)
        _generated(loaded, pictures[:batch], lengths[:batch])
        _wait(loaded.device)
        start = time.perf_counter()
        for i in range(0, count, batch):
            _generated(loaded, pictures[i : i + batch], lengths[i : i + batch])
        _wait(loaded.device)
        rate = count / (time.perf_counter() - start)
        report.add(what, rate, report.rate(f"floor: {ALL}"), f"{count} images, batches of {batch}")


def _ours(scale: Scale, loaded: Loaded, batch: int, report: Report) -> ContinuousCaptioner:
    """Measure ContinuousCaptioner from its first image to its last."""
    captioner = ContinuousCaptioner(loaded, batch, _lengths(scale.images))
    pictures = _pictures(loaded, scale.images)
    for _ in captioner.ids(list(enumerate(pictures[:batch]))):
        pass
    _wait(loaded.device)
    start = time.perf_counter()
    made = sum(len(done) for done in captioner.ids(enumerate(pictures)))
    _wait(loaded.device)
    rate = made / (time.perf_counter() - start)
    report.add("ours", rate, report.rate(f"floor: {ALL}"), f"{made} images, {batch} at a time")
    if loaded.device.type == "cuda":
        report.note(gpu_memory_gb=round(torch.cuda.max_memory_allocated() / 1e9, 1))
    return captioner


# ------------------------------------------------------------------------------------- end to end


def _end_to_end(
    scale: Scale,
    loaded: Loaded,
    captioner: ContinuousCaptioner,
    photographs: Photographs,
    report: Report,
) -> None:
    """Measure from jpegs to captions, against the floor of decoding and resizing them here."""
    threads = len(os.sched_getaffinity(0))
    size = sum(map(len, photographs.jpegs)) / len(photographs.jpegs)
    report.note(cores=threads, jpeg_bytes=round(size))
    jpegs = [photographs.read(name) for name in photographs.names()]
    start = time.perf_counter()
    for jpeg in jpegs[:8]:
        loaded.prepare(jpeg)
    report.add("decode and resize, one thread", 8 / (time.perf_counter() - start))
    decoding = _decode_rate(_preprocess(loaded), jpegs, threads)
    report.add("floor: decode and resize, a thread per core", decoding)
    stream = CaptionStream(
        loaded, "continuous", captioner.batch, threads, check=False, captioner=captioner
    )
    todo = list(enumerate(photographs.names()))
    start = time.perf_counter()
    captions = dict(_numbered(stream, photographs, todo))
    rate = len(captions) / (time.perf_counter() - start)
    floor = min(decoding, report.rate("ours"))
    report.add("end to end", rate, floor, "of the lower: decoding, or ours")

    scaled = replace(_preprocess(loaded), dct_scaling=True)
    report.add("decode and resize with --dct-scaling", _decode_rate(scaled, jpegs, threads))
    loaded.preprocess, exact = scaled, loaded.preprocess
    some = todo[: 4 * len(photographs.jpegs)]
    changed = dict(_numbered(stream, photographs, some))
    loaded.preprocess = exact
    same = sum(changed[i] == captions[i] for i, _ in some)
    report.note(same_caption_with_dct_scaling=f"{same} of {len(some)} (random weights)")


def _numbered(
    stream: CaptionStream, photographs: Photographs, todo: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, object]]:
    for outcomes in stream(photographs, todo):
        for number, _, caption in outcomes:
            yield number, caption


def _decode_rate(preprocess: Preprocess, jpegs: Sequence[bytes], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        count = sum(1 for _ in pool.map(preprocess, jpegs))
        return count / (time.perf_counter() - start)


def _about(device: torch.device, scale: Scale, settings: CaptionSettings) -> Json:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "configuration": "tiny" if scale is SMALL else "flan-t5-xl",
        "preset": settings.preset,
        "pixels": scale.config["vision_config"]["image_size"],
        "dtype": settings.dtype,
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "beams": BEAMS,
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
