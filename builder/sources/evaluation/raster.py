"""Reads ground truth from images, as maps of ids or binary masks, and encodes it as RLE."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from pycocotools import mask as coco

from builder.core.errors import what_went_wrong
from builder.core.shown import show
from builder.core.text import brief
from builder.sources.evaluation.faults import Fault, optional

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

THRESHOLD = 127  # a binary mask is foreground above this
HDF5 = (".hdf5", ".h5")
HDF5_KEY = "dataset"
_HDF5_BYTES = 8 * 10**8  # 100 megapixels of 8 bytes
_EIGHT_BITS = ("1", "L", "P")
_MORE_BITS = ("I;16", "I;16B", "I;16L", "I")
_COLOUR = ("RGB", "RGBA")
_LOSSY = ("JPEG", "MPO")
_HOLE = bytes(4096)
_NOISE = 16  # a JPEG without foreground has values up to about this
_VALUES = 6  # listed in a message
_MEAN_RUN = (
    2.0  # pixels; a value whose runs along columns or rows are shorter on average is scattered
)
_SCATTERED = 4  # such values, and more than half of all, make a map a noisy one


def check_size(array: npt.NDArray[np.generic], height: int, width: int, what: str) -> None:
    """Raise a Fault unless an array is (height, width)."""
    if array.shape != (height, width):
        found = f"{array.shape[1]} x {array.shape[0]}" if array.ndim == 2 else str(array.shape)
        raise Fault("mask_size", f"{width} x {height} pixels, as the image", f"{what}: {found}")


def read_ids(
    path: Path, *, colour: Literal["refuse", "accept", "require"] = "refuse", bits: int = 8
) -> Ids:
    """Read a map of ids: palette indices, gray values, 24-bit colours or an HDF5 dataset.

    Parameters
    ----------
    path
        An image that PIL opens, or an HDF5 file.
    colour
        Whether 24-bit ids, R + 256 G + 65536 B, are refused, accepted or required.
    bits
        Bits per value that a gray or palette image must have at least.

    Returns
    -------
    numpy.ndarray
        (H, W) int32.

    Raises
    ------
    Fault
        The file can't be read, or its pixels are not what `colour` and `bits` require.
    """
    if path.suffix in HDF5:
        return _read_hdf5(path)
    with _opened(path) as image:
        mode = image.mode
        if image.format in _LOSSY:
            raise Fault("truth_lossy", "a lossless image such as PNG", f"{path.name}: JPEG")
        if mode in _COLOUR and colour != "refuse":
            rgb = np.asarray(image)[:, :, :3].astype(np.int32)
            ids: Ids = rgb[:, :, 0] + 256 * rgb[:, :, 1] + 65536 * rgb[:, :, 2]
            return ids
        if colour == "require" or mode not in _EIGHT_BITS + _MORE_BITS:
            wanted = {
                "refuse": "palette indices or gray values (was it saved anew as colours?)",
                "accept": "palette indices, gray values or 24-bit colours",
                "require": "24-bit colours (RGB)",
            }[colour]
            raise Fault("truth_mode", wanted, f"{path.name}: mode {mode}")
        if bits > 8 and mode in _EIGHT_BITS:
            raise Fault(
                "truth_depth",
                f"{bits}-bit values (8 bits lose ids above 255: was it saved anew?)",
                f"{path.name}: 8-bit, mode {mode}",
            )
        return np.asarray(image).astype(np.int32)


def read_binary(path: Path, *, lenient: bool = False) -> Mask:
    """A binary mask: the first channel above `THRESHOLD`, or a 1-bit image's ones.

    Parameters
    ----------
    path
        An image that PIL opens.
    lenient
        Also read a mask of 0 and 1, and one in another channel (alpha, green) if the first has one
        value only.

    Returns
    -------
    numpy.ndarray
        (H, W) bool. It is empty if all pixels are 0.

    Raises
    ------
    Fault
        The file can't be read, or the mask has other values or stands in another channel.
    """
    with _opened(path) as image:
        lossy = image.format in _LOSSY
        if image.mode == "1":
            return np.asarray(image, np.bool_)
        if image.mode in _MORE_BITS:
            raise Fault("truth_mode", "8-bit gray or colour", f"{path.name}: mode {image.mode}")
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        pixels, bands = np.atleast_3d(np.asarray(image)), image.getbands()
    plane = pixels[:, :, _channel(pixels, bands, path, lenient=lenient)]
    mask: Mask = plane > THRESHOLD
    highest = plane.max(initial=0)
    if mask.any() or highest == 0 or (lossy and highest <= _NOISE):
        return mask
    if lenient and highest == 1 and not lossy:
        return np.asarray(plane == 1)
    found = f"{path.name} holds {_shown(plane)}"
    raise Fault("mask_values", f"0 and 255 (foreground is above {THRESHOLD})", found)


def _channel(
    pixels: npt.NDArray[np.generic], bands: tuple[str, ...], path: Path, *, lenient: bool
) -> int:
    """The channel that a mask stands in: the first, unless it has one value and another has not."""
    varied = [i for i in range(len(bands)) if np.ptp(pixels[:, :, i]) > 0] if pixels.size else []
    if not varied or varied[0] == 0:
        return 0
    same = all(np.array_equal(pixels[:, :, i], pixels[:, :, varied[0]]) for i in varied)
    if lenient and same:
        return varied[0]
    held = [f"{bands[i]} holds {_shown(pixels[:, :, i])}" for i in (0, *varied)]
    expected = "the mask in one channel" if lenient else "the mask in the first channel"
    raise Fault("mask_channel", expected, f"{path.name}: {', '.join(held)}")


def _shown(plane: npt.NDArray[np.generic]) -> str:
    """The values of a channel, in the words of a message."""
    values = [str(value) for value in np.unique(plane).tolist()]
    if len(values) > _VALUES:
        return f"{', '.join(values[:_VALUES])} and {len(values) - _VALUES} more values"
    return " and ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def check_hole(data: bytes) -> None:
    """Raise a ValueError if zeros stand where a JPEG's data should be.

    A download that was preallocated and has not finished has such zeros. Pillow decodes them
    without a word. libjpeg's warnings alone prove nothing, since whole releases have some.
    """
    at = data.find(_HOLE) if data.startswith(b"\xff\xd8") else -1
    if at < 0:
        return
    try:
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8
        )
    except ValueError as error:
        raise ValueError(
            f"zeros from byte {at} on, so a download has not finished: {error}"
        ) from error


def check_labels(ids: Ids, what: str) -> None:
    """Raise a Fault if most values of a map stand in scattered pixels.

    A map that was resized with interpolation, or saved as JPEG in between, has such values along
    all edges. Each would become an instance.

    Parameters
    ----------
    ids
        The map, (H, W).
    what
        The file, for the message.
    """
    if ids.size == 0:
        return
    values, pixels = np.unique(ids, return_counts=True)
    runs = np.maximum(_runs_down(ids, values), _runs_down(ids.T, values))
    scattered = int((pixels < _MEAN_RUN * runs).sum())
    if scattered >= _SCATTERED and 2 * scattered > len(values):
        found = f"{what}: {len(values)} values, {scattered} of them in scattered pixels"
        expected = "labels of whole regions (was it resized, or saved as JPEG?)"
        raise Fault("truth_noise", expected, found)


def _runs_down(ids: Ids, values: Ids) -> npt.NDArray[np.int64]:
    """How many runs each of the sorted values has down the columns."""
    flat = ids.ravel(order="F")
    firsts = np.concatenate((flat[:1], flat[1:][flat[1:] != flat[:-1]]))
    return np.bincount(np.searchsorted(values, firsts), minlength=len(values))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image as viewers show it, as the photographs; raises Fault if it can't be decoded."""
    try:
        with decompression_bound():
            data = path.read_bytes()
            check_hole(data)
            yield show(data)
    except Fault:
        raise
    except Exception as error:  # Pillow's plugins raise errors of any kind for a damaged file
        found = f"{path.name}: {what_went_wrong(error, str(path))}"
        raise Fault("truth_unreadable", "an image file", found) from error


@contextmanager
def decompression_bound() -> Iterator[None]:
    """Make PIL refuse images of more than `Image.MAX_IMAGE_PIXELS` (89 megapixels), by a Fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            limit = f"at most {Image.MAX_IMAGE_PIXELS} pixels"
            raise Fault("image_too_large", limit, str(error)) from error


def _read_hdf5(path: Path) -> Ids:
    h5py = optional("h5py", "reading HDF5 ground truth")
    try:
        with h5py.File(path, "r") as file:
            stored = file.get(HDF5_KEY)
            if not isinstance(stored, h5py.Dataset):
                raise Fault("truth_unreadable", f"a dataset {HDF5_KEY!r}", brief(list(file)))
            if (stored.nbytes or 0) > _HDF5_BYTES:  # a small file can state any size
                found = f"{path.name}: {stored.nbytes} bytes"
                raise Fault("image_too_large", f"at most {_HDF5_BYTES} bytes", found)
            array = np.asarray(stored)
    except Fault:
        raise
    except Exception as error:  # h5py raises errors of any kind for a damaged file
        found = f"{path.name}: {what_went_wrong(error, str(path))}"
        raise Fault("truth_unreadable", "an HDF5 file", found) from error
    if array.ndim != 2 or array.dtype.kind not in "iu":
        found = f"{path.name}: {array.dtype} {array.shape}"
        raise Fault("truth_mode", "integers (height, width)", found)
    return array.astype(np.int32)


def rle_of_ids(ids: npt.NDArray[np.generic]) -> Iterator[tuple[int, bytes]]:
    """Yield each value of a map (H, W), in ascending order, with the compressed RLE of its pixels.

    The runs of all values are found in one pass down the columns, without making a mask for each.
    """
    if ids.size == 0:
        return
    flat = ids.ravel(order="F")
    begins = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.append(begins[1:], flat.size)
    values = flat[begins]
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    for runs in np.split(order, edges):
        bounds = np.zeros(2 * len(runs) + 2, np.int64)
        bounds[1:-1:2], bounds[2:-1:2] = begins[runs], ends[runs]
        bounds[-1] = flat.size
        counts = np.diff(bounds)
        if counts[-1] == 0:
            counts = counts[:-1]
        yield int(values[runs[0]]), compress(counts.tolist(), *ids.shape)


def compress(counts: list[int], height: int, width: int) -> bytes:
    """Compress the run lengths of a COCO RLE. The first run is that of zeros."""
    rle = coco.frPyObjects([{"counts": counts, "size": [height, width]}], height, width)
    return bytes(rle[0]["counts"])


def rle_of_mask(mask: Mask) -> bytes:
    """The compressed COCO RLE of a mask (H, W)."""
    return bytes(coco.encode(np.asfortranarray(mask, np.uint8))["counts"])
