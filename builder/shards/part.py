"""Parts of a run, for machines that share a folder.

No part waits for another one, and none locks anything. Two machines that make the same shard write
the same bytes under names of their own, and rename them. So it does not matter which one is last.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One of `of` parts of all shards, from 1 on.

    The shards are dealt out in turn, and each source begins with the next part. So all parts have
    about the same number of shards, of one source or of a thousand.
    """

    number: int
    of: int

    def has(self, shard: int) -> bool:
        """Whether a shard belongs to this part, by its number plus the number of its source."""
        return shard % self.of == self.number - 1
