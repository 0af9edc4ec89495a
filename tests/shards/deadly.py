"""A source with records that end the process which reads them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.records import Item, Json, Listing, Outcome, Reader
from builder.sources.sa1b import Sa1bSource

# In place of a signal's number: the record raises MemoryError, or waits to be ended from outside.
MEMORY, WAIT = 0, -1


@dataclass(frozen=True)
class DeadlySource:
    """Sa1bSource, except that reading some records sends a signal to the process itself.

    Parameters
    ----------
    source
        The source.
    deeds
        By the key of an item, the number of a signal, MEMORY or WAIT.
    times
        How often each does so; without end by default.
    folder
        Where the times are counted.
    """

    source: Sa1bSource
    deeds: Mapping[str, int]
    times: int | None = None
    folder: Path = field(default_factory=Path)

    @property
    def config(self) -> str:
        return self.source.config

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def kind(self) -> str:
        return self.source.kind

    def listing(self) -> Listing:
        return self.source.listing()

    def settings(self) -> Json:
        return self.source.settings()

    @contextmanager
    def open(self) -> Iterator[DeadlyReader]:
        with self.source.open() as reader:
            yield DeadlyReader(self, reader)


@dataclass(frozen=True)
class DeadlyReader:
    """Reads, or ends this process."""

    source: DeadlySource
    reader: Reader

    def inputs(self, item: Item) -> str:
        return self.reader.inputs(item)

    def read(self, item: Item) -> Outcome:
        deed = self.source.deeds.get(item.key)
        if deed is not None and self._once_more(item.key):
            if deed == MEMORY:
                raise MemoryError
            if deed == WAIT:
                time.sleep(600)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), deed)
        return self.reader.read(item)

    def _once_more(self, key: str) -> bool:
        if self.source.times is None:
            return True
        path = self.source.folder / key
        done = len(path.read_bytes()) if path.exists() else 0
        path.write_bytes(b"." * (done + 1))
        (self.source.folder / f"{key}.pid").write_text(str(os.getpid()))
        return done < self.source.times
