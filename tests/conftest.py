"""Fixtures that every room may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

os.environ["HF_HUB_DISABLE_XET"] = "1"  # read when huggingface_hub is imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in its background; a command that a test stops would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest

from tests.loopback import LoopbackHub

# No test is timed: a busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub on loopback, empty."""
    with LoopbackHub() as running:
        yield running
