"""All datasets from their fixtures, on the Hub: pushed under their terms, listed, streamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from asam_datasets import EVAL_DATASETS
from builder.core.console import EXIT_FAILED, EXIT_OK
from builder.shards.index import read_index
from builder.sources.evaluation import row
from tests.hub.dists import REPO, command, run_code
from tests.loopback import LoopbackHub

pytestmark = pytest.mark.network

# Lists the configs, and streams every split of each: rows, and instances.
READ = f"""
import json
import shutil
from datasets import get_dataset_config_names, load_dataset

found = {{}}
for name in get_dataset_config_names("{REPO}"):
    for split, rows in load_dataset("{REPO}", name, streaming=True).items():
        rows = list(rows)
        assert all(row["image"].size == (row["width"], row["height"]) for row in rows)
        found[f"{{name}} {{split}}"] = len(rows)
print(json.dumps(found))
"""


def test_all_thirty_are_pushed_listed_and_streamed(
    hub: LoopbackHub, tmp_path: Path, eval_dist: Path
) -> None:
    dist = tmp_path / "dist"
    shutil.copytree(eval_dist, dist)
    asked = [name for name in EVAL_DATASETS if row(name).redistribution != "allowed"]
    refused = command(hub, tmp_path / "hf", dist, "--repo", REPO)
    assert refused.returncode == EXIT_FAILED
    assert all(f"{name} ({row(name).redistribution})" in refused.stderr for name in asked)
    flags = [flag for name in asked for flag in ("--i-may-redistribute", name)]
    pushed = command(hub, tmp_path / "hf", dist, "--repo", REPO, *flags)
    assert pushed.returncode == EXIT_OK, pushed.stderr
    home = tmp_path / "reader"
    found = json.loads(run_code(READ, home, hub.env(home, hub.READ)))
    expected = {
        f"{name} {split}": described.num_rows
        for name in EVAL_DATASETS
        for split, described in read_index(dist, name).splits.items()
    }
    assert found == expected
