"""How long a request to the Hub is waited for, and how often it is tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: seconds without a byte, and attempts at one call."""

    timeout: float = 120.0
    attempts: int = 8


PATIENT = Patience()
