"""The benchmark's floor counts what the model does, and the benchmark runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.caption import main
from benchmarks.caption_floor import operations
from builder.captioning.fast.decoder import BeamDecoder
from builder.captioning.fast.encoder import Encoder
from builder.captioning.fast.search import BeamSearch, SearchSettings
from builder.captioning.model import Loaded
from builder.captioning.preprocess import Preprocess
from builder.captioning.synthetic import FLAN_T5_XL, TINY


def in_place(_: torch.Tensor, left: torch.Tensor, right: torch.Tensor, **__: Any) -> int:
    """The counter knows `addmm`, and not the one that adds in place."""
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


def counted(work: Any) -> int:
    in_place._get_raw = True  # type: ignore[attr-defined]
    counting = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place})
    with sdpa_kernel(SDPBackend.MATH), counting as counter:
        work()
    return int(counter.get_total_flops())


def test_the_floor_counts_the_operations_that_run(loaded: Loaded) -> None:
    tokens, beams = 6, 5
    expected = operations(TINY, tokens, beams)
    encoder = Encoder(loaded.model, [1], 1, Preprocess((28, 28)))
    pixels = torch.zeros((1, 28, 28, 3), dtype=torch.uint8)
    seen = expected["vision"] + expected["q-former"]
    assert counted(lambda: encoder.see(pixels)) == pytest.approx(seen, rel=0.01)
    encoded = encoder.encode(pixels)
    whole = seen + expected["t5 encoder"]
    assert counted(lambda: encoder.encode(pixels)) == pytest.approx(whole, rel=0.01)

    decoder = BeamDecoder(loaded.model.language_model, 1, beams, 30, encoder.tokens)
    search = BeamSearch(decoder, SearchSettings(beams, 30, 1.0, 0, 1, 0))

    def caption() -> None:
        search.admit(encoded, torch.zeros(1, dtype=torch.int64))
        for _ in range(tokens):
            search.step(8)

    # A step attends to more keys than the floor counts: those of the other beams, and later ones.
    assert 1 <= counted(caption) / expected["t5 decoder"] < 1.2


def test_the_real_configuration_takes_what_the_paper_says() -> None:
    parts = operations(FLAN_T5_XL, 13, 5)
    assert parts["vision"] == pytest.approx(0.52e12, rel=0.03)
    assert sum(parts.values()) == pytest.approx(0.82e12, rel=0.05)


def test_the_benchmark_runs_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    assert main(["--tiny", "--device", "cpu", "--json"]) == 0
    torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out)
    for key, value in result.items():
        if key.startswith("same_as_generate_float32"):
            assert value == "24 of 24"
    assert result["failed"] == []
    rates = {row["what"]: row["images_per_s"] for row in result["rows"]}
    assert all(np.isfinite(rate) and rate > 0 for rate in rates.values())
    assert {"ours", "plain batched generate", "one at a time, as LAVIS", "end to end"} <= set(rates)


def test_a_part_that_fails_leaves_the_figures_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no jpeg")
    threads = torch.get_num_threads()
    assert main(["--tiny", "--device", "cpu", "--json", "--images", str(tmp_path)]) == 1
    torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out)
    (failed,) = result["failed"]
    assert failed.startswith("from jpegs: UndecodableError")
    whats = {row["what"] for row in result["rows"]}
    assert {"ours", "plain batched generate"} <= whats
    assert "end to end" not in whats
    assert result["same_as_generate_float32_batch_24"] == "24 of 24"
