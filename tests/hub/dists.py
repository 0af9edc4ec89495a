"""Small dists, and publishing them to the loopback Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from asam_datasets import Index
from builder.card.top import write_top
from builder.core.layout import configs
from builder.hub.client import connect
from builder.hub.patience import Patience
from builder.hub.plan import Planner, Target
from builder.hub.upload import Published, Publisher
from builder.shards.config import build_config
from builder.shards.index import read_index
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources
from tests.factory import members, write_tar
from tests.loopback import LoopbackHub

REPO = "xhk/ASAM-Datasets"
QUICK = Patience(timeout=20, retries=3)


def make_dist(
    dist: Path,
    ids: Sequence[int] = range(1, 9),
    *,
    config: str = "sa_000000",
    shards: int = 2,
    fmt: str = "arrow",
    sample: bool = True,
    annotations_only: bool = False,
    card: bool = True,
) -> Path:
    """Add a config to a dist; a sample by default, whose terms let it be published."""
    dist.parent.mkdir(parents=True, exist_ok=True)
    tar = write_tar(dist.parent / f"{config}.tar", members(ids))
    (source,) = open_sources([str(tar)])
    source = replace(source, sample=sample, annotations_only=annotations_only)
    size = 1 << 30 if shards == 1 else 1 + sum(map(_weight, source.listing().items)) // shards
    build_config(source, dist, Settings(fmt, size), workers=1, quiet=True)
    if card:
        write_top(dist)
    return dist


def indexes_of(dist: Path, only: Sequence[str] | None = None) -> list[Index]:
    return [read_index(dist, config) for config in only or configs(dist)]


def api_of(hub: LoopbackHub, token: str = LoopbackHub.WRITE) -> HfApi:
    connect(QUICK)  # the HTTP client with timeouts
    return HfApi(endpoint=hub.endpoint, token=token)


def planner(
    hub: LoopbackHub,
    dist: Path,
    only: Sequence[str] | None = None,
    *,
    token: str = LoopbackHub.WRITE,
    repo: str = REPO,
    **target: Any,
) -> Planner:
    return Planner(api_of(hub, token), dist, indexes_of(dist, only), Target(repo, **target), QUICK)


def publish(
    hub: LoopbackHub, dist: Path, only: Sequence[str] | None = None, **options: Any
) -> Published:
    """Publish in this process, as the command does after its checks."""
    return Publisher(planner(hub, dist, only, **options), quiet=True).publish()


def command(
    hub: LoopbackHub, home: Path, *args: object, token: str | None = LoopbackHub.WRITE
) -> subprocess.CompletedProcess[str]:
    """`python -m builder.push ...` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "builder.push", *map(str, args), "--workers", "1", "--quiet"],
        env=hub.env(home, token),
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def run_code(
    code: str, home: Path, env: dict[str, str] | None = None, python: str = sys.executable
) -> str:
    """Run code in a process of its own; its stdout. Fails the test when it fails."""
    done = subprocess.run(
        [python, "-c", code],
        env=env or {**os.environ, "HF_HOME": str(home)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _weight(item: Any) -> int:
    return int(item.num_bytes)
