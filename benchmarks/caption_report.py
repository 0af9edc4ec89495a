"""The report of the caption benchmark. It prints each figure as soon as it is measured."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from builder.core.console import say
from builder.core.records import Json


@dataclass
class Report:
    """The figures so far, and the parts that failed."""

    about: Json
    rows: list[Json] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Run a part of the benchmark in this context. If it fails, the other parts still run."""
        say(f"{what}:")
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.failed.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")
            say(f"  failed: {self.failed[-1]}")
            traceback.clear_frames(error.__traceback__)  # this frees their tensors on the device
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(f"  ({time.perf_counter() - start:.1f} s)")

    def rate(self, what: str) -> float:
        """The images/s of a row; 0 if there is none."""
        return next((row["images_per_s"] for row in self.rows if row["what"] == what), 0.0)

    def add(self, what: str, rate: float, floor: float = 0.0, note: str = "") -> None:
        """Add a rate in images per second, beside its floor."""
        row: Json = {"what": what, "images_per_s": round(rate, 3), "note": note}
        if floor:
            row |= {"floor_images_per_s": round(floor, 3), "share_of_floor": round(rate / floor, 4)}
        self.rows.append(row)
        share = f"{rate / floor:7.1%}" if floor else " " * 7
        say(f"  {what:<46} {rate:10,.1f} images/s {1000 / rate:10.3f} ms  {share}  {note}")

    def note(self, **values: Any) -> None:
        """Add figures that are not rates."""
        self.about |= values
        for key, value in values.items():
            say(f"  {key.replace('_', ' ')}: {value}")
