"""The build tells which device makes its masks."""

from __future__ import annotations

import pytest

from builder.core.errors import SettingsError
from builder.masks.device import choose_device


@pytest.mark.parametrize("requested", ["auto", "cpu", "cuda"])
def test_the_build_says_what_it_chose_and_why(requested: str) -> None:
    device, reason = choose_device(requested)
    assert device == "cpu"
    assert reason
    if requested == "cuda":
        assert "cuda" in reason


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(SettingsError, match="auto, cpu or cuda"):
        choose_device("tpu")
