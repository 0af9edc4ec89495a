"""A shard whose receipt is of other settings is built again."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.layout import receipts_folder
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources
from tests.contracts import rewrite, set_in
from tests.factory import members, write_tar


@pytest.mark.parametrize("field", ["settings_sha256", "plan_sha256"])
def test_a_receipt_of_other_settings_or_items_proves_nothing(tmp_path: Path, field: str) -> None:
    (source,) = open_sources([str(write_tar(tmp_path / "sa_000000.tar", members(range(1, 9))))])
    dist, settings = tmp_path / "dist", Settings("arrow", 20_000)
    shards = len(build_config(source, dist, settings, quiet=True).index.shards)
    assert shards > 1
    assert build_config(source, dist, settings, quiet=True).reused == shards
    receipt = min(receipts_folder(dist, "sa_000000").glob("*.arrow.json"))
    rewrite(receipt, set_in(field, value="0" * 64))
    assert build_config(source, dist, settings, quiet=True).reused == shards - 1
