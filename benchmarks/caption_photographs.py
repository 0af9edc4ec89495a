"""The photographs that the caption benchmark captions from end to end."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Photographs:
    """An ImageSource of jpegs in memory. Each jpeg is read many times, under different names."""

    jpegs: tuple[bytes, ...]
    count: int
    config: str = "photographs"
    name: str = "photographs"

    def names(self) -> list[str]:
        """Their numbers."""
        return [str(i) for i in range(self.count)]

    def read(self, name: str) -> bytes:
        """A jpeg."""
        return self.jpegs[int(name) % len(self.jpegs)]


def photographs(count: int, size: tuple[int, int], folder: Path | None) -> Photographs:
    """The jpgs of a folder, or some of a width and height made here, as detailed as photographs."""
    if folder:
        return Photographs(tuple(path.read_bytes() for path in sorted(folder.glob("*.jpg"))), count)
    random = np.random.default_rng(10)
    width, height = size
    made = []
    for _ in range(8):
        coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = random.normal(0, 12, (height, width, 1))
        pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=75)
        made.append(file.getvalue())
    return Photographs(tuple(made), count)
