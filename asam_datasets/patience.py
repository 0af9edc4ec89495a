"""How long a request may take, and how often it is repeated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """What is asked of a server.

    Parameters
    ----------
    timeout
        Seconds that any request may take.
    rate
        Bytes per second. A request of N bytes may take N / rate seconds more.
    retries
        How often a request is repeated after a failure that may pass.
    longest_wait
        If a server asks to wait for more seconds than these (Retry-After), the request fails.
    """

    timeout: float = 60.0
    rate: float = 20_000.0
    retries: int = 5
    longest_wait: float = 330.0  # the Hub counts requests in windows of five minutes

    def deadline(self, size: float = 0) -> float:
        """The seconds that a request of so many bytes may take."""
        return self.timeout + size / self.rate


PATIENT = Patience()
