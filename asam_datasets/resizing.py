"""Pictures become arrays of a wanted size: photographs by DCT scaling, labels by nearest neighbour.

A JPEG stores blocks of 8 x 8 pixels as frequencies. Its decoder can leave out the high ones, and
give a picture of 1/8, 2/8, ... of the size in a fraction of the time (libjpeg's `scale_num`,
libjpeg.txt, "Decompression parameter selection"). simplejpeg offers every eighth. Pillow's
`Image.draft` offers 1/8, 1/4 and 1/2. What was decoded is then resized once, by Pillow's bilinear
filter, whose support grows with the reduction.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from asam_datasets.frames import Frame
from asam_datasets.pictures import is_sideways, open_picture, stated_orientation, turn

# What `ImageOps.exif_transpose` does for each orientation of Exif 2.32 (CIPA DC-008), 4.6.4.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RIGHT_TO_LEFT, _UPSIDE_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)  # of the stored pixels, when shown
_PLAIN = ("RGB", "L")  # modes of JPEGs that simplejpeg decodes as Pillow does

# Takes the (height, width) of a picture as it is shown, and says how it is framed.
Framing = Callable[[tuple[int, int]], Frame]


def photograph(data: bytes, framing: Framing, exact: bool) -> npt.NDArray[np.uint8]:
    """A picture in its frame, turned as its EXIF orientation says.

    Parameters
    ----------
    data
        The file's bytes.
    framing
        Called once with the picture's size.
    exact
        Whether a JPEG is decoded at its full size, by Pillow, as `load_dataset` does.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) uint8, RGB. Padding is black.

    Raises
    ------
    Exception
        It can't be decoded. Pillow raises what it likes.
    """
    image = open_picture(data)
    orientation, sideways = stated_orientation(image), is_sideways(image)
    width, height = image.size
    frame = framing((width, height) if sideways else (height, width))
    least = frame.resized[::-1] if sideways else frame.resized
    least = min(least[0], height), min(least[1], width)
    pixels = None
    if not exact and image.format == "JPEG" and image.mode in _PLAIN:
        pixels = _scaled(data, (height, width), least)
    if pixels is None:
        if not exact:
            image.draft("RGB", least[::-1])
        image.load()
        turn(image)
        picture = image.convert("RGB")
    else:
        picture = Image.fromarray(pixels)
        if orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
    extent = _extent((picture.height, picture.width), frame.full)
    box = frame.box(extent)
    # What lies beyond the extent is on the right and below, unless the picture was turned.
    over_y, over_x = picture.height - extent[0], picture.width - extent[1]
    left, top = over_x * (orientation in _RIGHT_TO_LEFT), over_y * (orientation in _UPSIDE_DOWN)
    box = box[0] + left, box[1] + top, box[2] + left, box[3] + top
    part = picture.resize(frame.shown[::-1], Image.Resampling.BILINEAR, box=box)
    return _padded(np.array(part), frame)


def _extent(size: tuple[int, int], full: tuple[int, int]) -> tuple[float, float]:
    """What a picture of (height, width) `full` takes of one decoded at `size`, in pixels.

    The decoder rounds a side up: 3/8 of 1500 pixels are 562.5, and it gives 563. To take the 563 as
    the whole picture would move what it shows by up to half a pixel.
    """
    for eighths in range(8, 0, -1):
        if all(-(-side * eighths // 8) == n for side, n in zip(full, size, strict=True)):
            return full[0] * eighths / 8, full[1] * eighths / 8
    return size


def _scaled(
    data: bytes, size: tuple[int, int], least: tuple[int, int]
) -> npt.NDArray[np.uint8] | None:
    """A JPEG decoded by simplejpeg to the next size that has `least` (height, width) pixels.

    None if simplejpeg is not installed, or does not take the file. Then Pillow, which takes more
    files, is to say what is wrong. `size` is the one that Pillow found.
    """
    if (jpeg := _simplejpeg()) is None:
        return None
    try:
        if jpeg.decode_jpeg_header(data)[:2] != size:
            return None
        found: npt.NDArray[np.uint8] = jpeg.decode_jpeg(
            data, "RGB", min_height=least[0], min_width=least[1]
        )
    except ValueError:
        return None
    return found


@functools.cache
def _simplejpeg() -> Any:
    """The module simplejpeg; None where it is not installed."""
    if importlib.util.find_spec("simplejpeg") is None:
        return None
    return importlib.import_module("simplejpeg")


def colors(data: bytes, framing: Framing) -> npt.NDArray[np.uint8]:
    """A control image in its frame, (h, w, 3) uint8, by nearest neighbour; padding is black.

    A picture with a palette becomes colours after it was made small.
    """
    image = open_picture(data)
    image.load()
    turn(image)
    frame = framing((image.height, image.width))
    if image.mode != "P":
        return _padded(_sampled(image.convert("RGB"), frame), frame)
    small = Image.fromarray(_sampled(image, frame))
    small.putpalette(image.getpalette("RGB") or [])
    return _padded(np.array(small.convert("RGB")), frame)


def bitmap(data: bytes, framing: Framing) -> npt.NDArray[np.uint8]:
    """A mask in its frame, (h, w) uint8 of 0 and 1, by nearest neighbour; padding is 0."""
    image = open_picture(data)
    image.load()
    turn(image)
    frame = framing((image.height, image.width))
    if image.mode not in ("1", "L", "P"):
        image = image.convert("L")
    return _padded((_sampled(image, frame) != 0).astype(np.uint8), frame)


def _sampled(image: Image.Image, frame: Frame) -> npt.NDArray[Any]:
    """The pixels of a picture that its frame shows, without the padding."""
    return _pixels(image)[frame.rows][:, frame.columns]


def _pixels(image: Image.Image) -> npt.NDArray[Any]:
    """The pixels of a picture; without a copy, which takes a millisecond, where that can be."""
    if image.mode in ("L", "P") and hasattr(image, "__arrow_c_array__"):
        try:
            pixels: npt.NDArray[np.uint8] = pa.array(image).to_numpy()
            return pixels.reshape(image.height, image.width)
        except ValueError:  # Pillow keeps a very large picture in several parts
            pass
    return np.asarray(image)


def _padded(part: npt.NDArray[np.uint8], frame: Frame) -> npt.NDArray[np.uint8]:
    """What is shown, with zeros on the right or below to the size of the frame."""
    if frame.shown == frame.size:
        return part
    out = np.zeros((*frame.size, *part.shape[2:]), np.uint8)
    out[: part.shape[0], : part.shape[1]] = part
    return out
