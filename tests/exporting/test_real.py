"""Real SA-1B photographs come back as they were; skipped where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.exporting.origin import Origin
from builder.exporting.tree import export_config
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources

REAL = Path(__file__).parents[3] / "shared" / "data" / "sa1b_images"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real photographs beside the checkout")
def test_real_photographs_and_records_round_trip(tmp_path: Path) -> None:
    (source,) = open_sources([str(REAL)], config="real")
    settings = Settings("arrow", 8 << 20)
    build_config(source, tmp_path / "dist", settings, quiet=True)
    origin = Origin(str(tmp_path / "dist"), "real")
    exported = export_config(origin, tmp_path / "out", missing_captions="empty")
    assert exported.counts["images"] == exported.counts["without_caption"] == 10
    for path in REAL.iterdir():
        written = exported.folder / path.name
        if path.suffix == ".jpg":
            assert written.read_bytes() == path.read_bytes()
            continue
        record = json.loads(path.read_bytes())
        assert json.loads(written.read_bytes()) == record
        assert len(list(written.with_suffix("").iterdir())) == len(record["annotations"])
