"""Photographs, the reading of one of which ends the process."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.captioning.test_run import photograph


@dataclass(frozen=True)
class DeadlyPhotographs:
    """A source. Its image of this number ends the process that reads it.

    Parameters
    ----------
    deadly
        The image's number.
    marker
        Is made when it has done so. With it, the image is one like others.
    """

    deadly: int
    marker: Path
    config: str = "deadly"
    images: int = 12

    @property
    def name(self) -> str:
        return self.config

    def names(self) -> list[str]:
        return [f"{number}.jpg" for number in range(self.images)]

    def read(self, name: str) -> bytes:
        number = int(name.removesuffix(".jpg"))
        if number == self.deadly and not self.marker.exists():
            with suppress(FileNotFoundError):  # in a folder that is absent: it happens each time
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return photograph(number)
