"""The timeout of a request to the Hub, and the number of attempts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """The seconds without a byte after which a request fails, and the attempts at one call."""

    timeout: float = 120.0
    attempts: int = 8


PATIENT = Patience()
