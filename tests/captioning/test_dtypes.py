"""The mixed precisions: "asam" is LAVIS's, "fast" is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.caption_parity import PARTS, main
from builder.captioning.model import load
from builder.captioning.settings import DTYPES, CaptionSettings
from builder.captioning.stream import CaptionStream
from builder.core.console import EXIT_OK

CPU = torch.device("cpu")
HALF, BRAIN, FLOAT = torch.float16, torch.bfloat16, torch.float32


def test_asam_rounds_where_lavis_does_and_the_others_do_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = 24
    assert main(["--pixels", "28", "--images", str(images), "--json"]) == EXIT_OK
    rows = {row["dtype"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert list(rows) == list(DTYPES)
    for part in PARTS[:3]:
        # Equal where the machine sums products in one order; else a rounding here and there.
        assert rows["asam"][part] < 1e-4
        assert rows["asam"][part] < rows["float32"][part] < 1e-2
        assert rows["float32"][part] < rows["fast"][part] < 1e-2
    encoded = PARTS[3]
    assert rows["asam"][encoded] < rows["float32"][encoded] / 2
    assert rows["asam"]["captions"] <= images // 8 < rows["fast"]["captions"] + 1


@pytest.mark.parametrize(
    ("dtype", "expected", "precision"),
    [
        ("asam", (HALF, FLOAT, FLOAT, BRAIN), "highest"),
        ("fast", (HALF, FLOAT, HALF, BRAIN), "high"),
        ("bfloat16", (BRAIN,) * 4, "highest"),
    ],
)
def test_the_dtypes_of_a_gpu_are_loaded_and_run(
    dtype: str,
    expected: tuple[torch.dtype, ...],
    precision: str,
    settings: CaptionSettings,
    pictures: list[npt.NDArray[np.uint8]],
) -> None:
    loaded = load(replace(settings, dtype=dtype), CPU)
    model = loaded.model
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    assert torch.get_float32_matmul_precision() == precision
    layers = (model.vision_model.encoder.layers[0].mlp.fc1, model.qformer)
    parts = (*layers, model.language_projection, model.language_model)
    assert tuple(next(part.parameters()).dtype for part in parts) == expected
    stream = model.vision_model.encoder.layers[0].layer_norm1.weight.dtype
    assert stream == (FLOAT if dtype == "asam" else expected[0])
    numbered = list(enumerate(pictures[:20]))
    made = {}
    for engine in ("continuous", "generate"):
        captioner = CaptionStream(loaded, engine, 8, 1).open()
        made[engine] = dict(pair for done in captioner(iter(numbered)) for pair in done)
    same = sum(made["continuous"][i] == made["generate"][i] for i, _ in numbered)
    assert same > (16 if dtype == "asam" else 8)  # near-flat logits: some beams flip
