"""The device benchmark runs where there is no device, so that it is ready where there is one."""

from __future__ import annotations

import pytest

from tests.masks.images import annotate, draw

torch = pytest.importorskip("torch")


def test_the_device_benchmark_runs_on_a_cpu() -> None:
    from benchmarks.masks_device import device_table, measure_device

    results = measure_device(annotate(draw(1, 30, 40, 8)), torch.device("cpu"), 16, runs=1)
    assert results["masks"] == 16
    assert len(list(device_table(results))) == 4
    for size in ("full", "1024x1024", "256x256"):
        assert all(value > 0 for value in results[size].values())
