"""What an export wrote and left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.core.records import Json

COUNTS = (
    *("images", "masks", "written", "without_caption", "without_masks", "rejected_annotations"),
    *("left_out_without_caption", "left_out_without_masks", "turned"),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: `files` are the JSON files, `loaders` dictionaries for ASAM's main.py.

    Most of `counts` is about the images in the tree:

    - `images` and `masks`: how many there are
    - `written`: the images that this run wrote, because they were new or not whole
    - `without_caption`: the images that got an empty caption
    - `without_masks`: the images without a mask
    - `rejected_annotations`: the annotations of these images that the build rejected
    - `turned`: the images of an evaluation config that an EXIF orientation turns

    `left_out_without_caption` and `left_out_without_masks` count the images that are not in the
    tree. An image with neither a caption nor a mask counts as left out without a caption.
    """

    config: str
    kind: str
    folder: Path
    counts: dict[str, int]
    files: list[Path] = field(default_factory=list)
    loaders: list[Json] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> Json:
        """For `--json`."""
        return {
            "config": self.config,
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            **self.counts,
            "seconds": round(self.seconds, 3),
            "loaders": self.loaders,
        }
