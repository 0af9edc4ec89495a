"""`Fault`: what is wrong with one image or one annotation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from builder.core.extras import needs


class Fault(Exception):
    """A record or annotation that can't be used.

    It is caught within this package and becomes a `builder.core.records.Reject`.
    """

    def __init__(self, reason: str, expected: str, found: str) -> None:
        super().__init__(reason, expected, found)
        self.reason, self.expected, self.found = reason, expected, found


def optional(module: str, what: str) -> Any:
    """Import a module of the `eval` extra; raises MissingExtraError where it is not installed."""
    with needs(what, "eval"):
        return import_module(module)
