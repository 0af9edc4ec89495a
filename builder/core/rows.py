"""Reading values from the rows of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.core.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
    return bytes(_image_of(row)["bytes"])


def image_pixels(row: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The image of a row of `load(size=)`, (h, w, 3) uint8; raises what `image_bytes` does."""
    pixels: npt.NDArray[np.uint8] = _image_of(row)
    return pixels


def _image_of(row: Mapping[str, Any]) -> Any:
    if row["image"] is None:
        raise SettingsError(
            "this config was built with --annotations-only and holds no pixels: give the tar or "
            "folder with the images as --image-root"
        )
    return row["image"]
