"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where.

    Parameters
    ----------
    config
        The config, or "the dist" or "the repo" where the problem is of no one config.
    what
        What is wrong, in words.
    shard
        The file's name: a shard's, or another's.
    row
        The row, from 0 within the shard.
    """

    config: str
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = self.config
        where += f"/{self.shard}" if self.shard else ""
        where += f", row {self.row}" if self.row is not None else ""
        return f"{where}: {self.what}"
