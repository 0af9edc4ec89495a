"""Fixtures that every room may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loopback import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub on loopback, empty."""
    with LoopbackHub() as running:
        yield running
