"""Reading values from the rows of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.core.errors import SettingsError


def image_bytes(row: Mapping[str, Any]) -> bytes:
    """The file of a row's image.

    Parameters
    ----------
    row
        A row whose column `image` is not decoded.

    Raises
    ------
    SettingsError
        The row has no pixels, since its config was built with --annotations-only.
    """
    if row["image"] is None:
        raise SettingsError(
            "this config was built with --annotations-only and holds no pixels: give the tar or "
            "folder with the images as --image-root"
        )
    data: bytes = row["image"]["bytes"]
    return data
