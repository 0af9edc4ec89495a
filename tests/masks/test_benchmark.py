"""The benchmarks run: against the recipe, and on a device where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.masks.images import annotate, draw


def test_the_benchmark_prints_its_ratio_as_json(tmp_path: Path) -> None:
    record = tmp_path / "sa_1.json"
    record.write_text(json.dumps({"annotations": annotate(draw(1, 300, 400, 8))}))
    command = [sys.executable, "-m", "benchmarks.masks", "--json", str(record)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)
    assert results["ratio_to_recipe"] > 0
    assert results["inputs"][str(record)]["masks"] == 8


def test_what_is_no_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "sa_1.json").write_text("[]")
    command = [sys.executable, "-m", "benchmarks.masks", str(tmp_path)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not SA-1B records" in done.stderr


def test_the_device_benchmark_runs_on_a_cpu() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.masks_device import device_table, measure_device

    results = measure_device(annotate(draw(1, 30, 40, 8)), torch.device("cpu"), 8, runs=1)
    assert results["masks"] == 8
    assert len(list(device_table(results))) == 4
    for size in ("full", "1024x1024", "256x256"):
        assert all(value > 0 for value in results[size].values())
