"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass

from asam_datasets.contract import REMEDY


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where.

    Parameters
    ----------
    config
        The config; None where the problem is of no one config.
    what
        What is wrong, in words.
    shard
        The file's name: a shard's, or another's. Without a config, it is the path in the dist or
        repo.
    row
        The row, from 0 within the shard.
    """

    config: str | None
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = "/".join(filter(None, (self.config, self.shard)))
        where += f", row {self.row}" if self.row is not None else ""
        return f"{where}: {self.what}" if where else self.what


def reason(error: Exception, path: str) -> str:
    """What an error says of a file, for a problem that names the file and the remedy itself.

    Parameters
    ----------
    error
        An error whose message may begin with the file's path and end with advice.
    path
        The file's name or path, or the end of it.

    >>> reason(ValueError(f"dist/manifest.json: expected JSON; {REMEDY}"), "manifest.json")
    'expected JSON'
    """
    text = str(error).removesuffix(f"; {REMEDY}")
    before, found, after = text.partition(f"{path}: ")
    return after if found and " " not in before.rpartition("/")[2] else text
