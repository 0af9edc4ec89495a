"""The releases' fixtures, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.sources.evaluation.fixtures import write_fixtures


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each release's fixture; not to be changed."""
    return write_fixtures(tmp_path_factory.mktemp("releases"))
