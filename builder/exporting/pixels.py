"""The bytes of a row's image: the row's own, or the user's for a dist without pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from builder.errors import SourceError
from builder.records import Json


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where images come from; `root` is a folder with files named as the rows name them."""

    root: Path | None = None

    def of(self, row: Json) -> bytes:
        """The bytes of a row's image.

        Raises
        ------
        SourceError
            The row has none, and the folder has none with the sha256 that the row states.
        """
        if row["image"] is not None:
            return bytes(row["image"]["bytes"])
        if self.root is None:
            raise SourceError(
                f"{row['file_name']}: the dist was built with --annotations-only and holds no "
                "pixels; give the folder with the images as --image-root"
            )
        path = self.root / row["file_name"]
        try:
            data: bytes = path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path}: can't be read: {error}") from error
        if (found := hashlib.sha256(data).hexdigest()) != row["image_sha256"]:
            raise SourceError(
                f"{path}: expected sha256 {row['image_sha256']}, found {found}: it is not the "
                "image that the annotations were made for"
            )
        return data
