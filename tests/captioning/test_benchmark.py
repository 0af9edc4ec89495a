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
from benchmarks.caption_parity import config_of
from builder.captioning.fast.decoder import BeamDecoder
from builder.captioning.fast.encoder import Encoder
from builder.captioning.fast.search import BeamSearch, SearchSettings
from builder.captioning.model import _preprocess
from builder.captioning.settings import CaptionSettings
from builder.captioning.synthetic import (
    FLAN_T5_XL,
    FLAN_T5_XL_COCO,
    random_model,
    random_processor,
)


def in_place(_: torch.Tensor, left: torch.Tensor, right: torch.Tensor, **__: Any) -> int:
    """The counter knows `addmm`, and not the one that adds in place."""
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


def counted(work: Any) -> int:
    in_place._get_raw = True  # type: ignore[attr-defined]
    counting = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place})
    with sdpa_kernel(SDPBackend.MATH), counting as counter:
        work()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("side", "prompt"), [(28, [1]), (364, [5, 6, 7, 8, 1])])
def test_the_floor_counts_the_operations_that_run(side: int, prompt: list[int]) -> None:
    tokens, beams = 6, 5
    config = config_of(side, deep=False)
    expected = operations(config, tokens, beams, len(prompt))
    model = random_model(config)
    preprocess = _preprocess(random_processor(config).image_processor, CaptionSettings())
    assert preprocess is not None
    encoder = Encoder(model, prompt, 1, preprocess)
    pixels = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    seen = expected["vision"] + expected["q-former"]
    assert counted(lambda: encoder.see(pixels)) == pytest.approx(seen, rel=0.01)
    encoded = encoder.encode(pixels)
    whole = seen + expected["t5 encoder"]
    assert counted(lambda: encoder.encode(pixels)) == pytest.approx(whole, rel=0.01)

    decoder = BeamDecoder(model.language_model, 1, beams, 30, encoder.tokens)
    search = BeamSearch(decoder, SearchSettings(beams, 30, 1.0, 0, 1, 0))

    def caption() -> None:
        search.admit(encoded, torch.zeros(1, dtype=torch.int64))
        for _ in range(tokens):
            search.step(8)

    # A step attends to more keys than the floor counts: those of the other beams, and later ones.
    assert 1 <= counted(caption) / expected["t5 decoder"] < 1.2


def test_the_table_of_floors_is_that_of_the_counts() -> None:
    """GFLOP of the vision tower, the Q-Former, T5's encoder, its decoder, and all."""
    readme = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text()
    for name, config, prompt in (("224", FLAN_T5_XL, 1), ("364", FLAN_T5_XL_COCO, 5)):
        parts = operations(config, 13, 5, prompt)
        parts["all"] = sum(parts.values())
        for part, count in parts.items():
            (row,) = (
                line for line in readme.splitlines() if line.startswith(f"| {part}, {name} px")
            )
            cells = [cell.strip() for cell in row.split("|")]
            assert cells[2] == f"{count / 1e9:,.1f}"
            assert cells[3].startswith(f"{790e12 / count:,.0f} images/s")


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
