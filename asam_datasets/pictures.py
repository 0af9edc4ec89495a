"""Pictures as `load_dataset` shows them: turned as their EXIF orientation says.

`datasets.Image` applies `ImageOps.exif_transpose` after decoding, in datasets 3 and later. Width,
height and masks of a row belong to the turned picture. Therefore the picture of a row is opened
here, and nowhere else.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, ImageOps

from asam_datasets.errors import what_went_wrong


def open_picture(data: bytes) -> Image.Image:
    """A picture whose header was read, and its pixels were not.

    Raises
    ------
    Exception
        It is no picture, or one that Pillow lets another program draw. Pillow raises what it likes.
    """
    image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise OSError("an EPS file, which Pillow lets another program draw")
    return image


def orientation(data: bytes) -> int:
    """The orientation that an encoded picture states, 1 to 8, in EXIF or else in XMP.

    Parameters
    ----------
    data
        The file's bytes. Only the header is read, except of a PNG.

    Returns
    -------
    int
        1 if it states none, or one that is not defined: then nothing is turned.

    Raises
    ------
    OSError
        It is no picture.
    ValueError
        Its EXIF data can't be read, so `load_dataset` can't show it either.
    """
    with _opened(data) as image:
        return stated_orientation(image)


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the picture as it is shown; raises what `orientation` does."""
    with _opened(data) as image:
        width, height = image.size
        return (height, width) if is_sideways(image) else (width, height)


def show(data: bytes, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode a picture, and turn it.

    Parameters
    ----------
    data
        The file's bytes.
    least
        The width and height that are enough. A JPEG is then decoded at about this size, which is
        fast. Defaults to the full size.

    Raises
    ------
    OSError
        It can't be decoded.
    ValueError
        Its EXIF data can't be read, so `load_dataset` can't show it either.
    """
    with _opened(data) as image:
        if least:
            image.draft("RGB", least[::-1] if is_sideways(image) else least)
        image.load()
        turn(image)
        return image


def turn(image: Image.Image) -> None:
    """Turn a picture, in place, as its orientation says, and as `datasets.Image` does."""
    with _exif_errors():
        if image.getexif().get(ExifTags.Base.Orientation) is not None:
            ImageOps.exif_transpose(image, in_place=True)


def stated_orientation(image: Image.Image) -> int:
    """The orientation that an opened picture states, as `orientation` gives it."""
    with _exif_errors():
        value = image.getexif().get(ExifTags.Base.Orientation)
        return next((number for number in range(1, 9) if number == value), 1)


def is_sideways(image: Image.Image) -> bool:
    """Whether turning swaps the sides; Pillow itself swaps those of a TIFF."""
    return stated_orientation(image) > 4 and image.format != "TIFF"


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow skips malformed EXIF tags
        try:
            yield open_picture(data)
        except (OSError, ValueError, Warning, Image.DecompressionBombError):
            raise
        except Exception as error:  # a plugin of Pillow's raises what it likes
            raise OSError(what_went_wrong(error)) from error


@contextmanager
def _exif_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow raises what it likes
        found = f"{type(error).__name__}: {what_went_wrong(error)}"
        raise ValueError(f"EXIF data that Pillow can't read ({found})") from error
