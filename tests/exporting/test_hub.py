"""An export from a repo is the export of the dist that was published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from builder.exporting.origin import Origin
from builder.exporting.tree import export_config
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import Sa1bSource, open_sources
from tests.factory import members, write_tar
from tests.loopback import LoopbackHub

CONFIG = "sa_000000"


def test_a_repo_exports_as_the_dist_does(tmp_path: Path, hub: LoopbackHub) -> None:
    tar = write_tar(tmp_path / f"{CONFIG}.tar", members(range(1, 7)))
    (opened,) = open_sources([str(tar)])
    captions = {f"sa_{i}.jpg": "noise" for i in range(1, 7)}
    source = Sa1bSource(opened.archive, CONFIG, captions=captions)
    dist = tmp_path / "dist"
    build_config(source, dist, Settings("arrow", 12_000), quiet=True)
    commit = hub.seed("xhk/ASAM-Datasets", dist)
    export_config(Origin(str(dist), CONFIG), tmp_path / "local")

    options = ["--from", "xhk/ASAM-Datasets", "--revision", commit, "--quiet", "--workers", "2"]
    command = [sys.executable, "-m", "builder.export", CONFIG, *options]
    subprocess.run(
        [*command, "--out", str(tmp_path / "remote")],
        check=True,
        env=hub.env(tmp_path / "home"),
        cwd=tmp_path,
    )
    found = {
        folder: {
            path.relative_to(tmp_path / folder): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file() and ".export" not in path.parts
        }
        for folder in ("local", "remote")
    }
    assert len(found["local"]) == 6 * (3 + 3) + 2
    assert found["remote"] == found["local"]
