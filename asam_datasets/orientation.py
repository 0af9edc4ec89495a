"""Sets the orientation that a JPEG states to 1, and leaves its pixels as they are.

`datasets.Image` turns a picture as its EXIF orientation says (Pillow's `ImageOps.exif_transpose`).
Masks that were made for the stored pixels do not fit the turned picture. So such an image is
published with orientation 1, and `image_root` makes the same change to the user's own copy.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_MARKER = re.compile(rb"\xff[^\xff]")
_APP1, _SCAN = 0xE1, 0xDA
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_MOST_MARKERS = 10_000  # before the scan; files of 64 MiB have a thousand segments of full size
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Pillow looks for this text where there is no EXIF orientation.
_XMP_TURN = re.compile(rb'(tiff:Orientation(?:="|>))[2-8]')
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_ORIENTATION, _SHORT = 0x0112, 3  # TIFF's tag, and its type of 16 bits


def upright(data: bytes) -> bytes:
    """A JPEG with each orientation that turns it set to 1, in EXIF and in XMP.

    No byte is added or removed, so the entropy-coded pixels and all offsets stay. Orientations that
    are not defined, such as 0 and 9, turn nothing and stay, too. The fields are those of Exif 2.32
    (CIPA DC-008), section 4.6.4; several APP1 segments are joined, as Pillow joins them.

    Parameters
    ----------
    data
        A file. It may be anything, and may be malformed.

    Returns
    -------
    bytes
        The file with the changed fields; `data` itself if it is not a JPEG or needs no change.
    """
    exif: list[tuple[int, int]] = []
    xmp: list[tuple[int, int]] = []
    for start, end in _app1_segments(data):
        if data.startswith(_EXIF, start, end):
            start += len(_EXIF)
            if not exif and data.startswith(_EXIF, start, end):  # Pillow accepts it twice
                start += len(_EXIF)
            exif.append((start, end))
        elif data.startswith(_XMP, start, end):
            xmp.append((start, end))
    if not exif and not xmp:
        return data
    tiff = bytearray().join(data[start:end] for start, end in exif)
    _reset(tiff)
    changed = bytearray(data)
    for start, end in exif:
        changed[start:end] = tiff[: end - start]
        del tiff[: end - start]
    for start, end in xmp:
        changed[start:end] = _XMP_TURN.sub(rb"\g<1>1", data[start:end])
    return data if changed == data else bytes(changed)


def _app1_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each whole APP1 segment before the scan."""
    at = 2
    if not data.startswith(b"\xff\xd8"):
        return
    for _ in range(_MOST_MARKERS):
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.end() - 1] == _SCAN:
            return
        code, at = data[marker.end() - 1], marker.end()
        if code in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if at + length > len(data):
            return
        if code == _APP1:
            yield at + 2, at + length
        at += length


def _reset(tiff: bytearray) -> None:
    """Set each orientation in the first directory of a TIFF structure to 1, in place.

    An entry whose type or count is unusual is written anew: Pillow reads, for example, a float.
    """
    order = _BYTE_ORDERS.get(bytes(tiff[:2]))
    if order is None or len(tiff) < 8:
        return
    (at,) = struct.unpack_from(f"{order}L", tiff, 4)
    if at + 2 > len(tiff):
        return
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number, value = struct.unpack_from(f"{order}HHLH", tiff, entry)
        harmless = (kind, number) == (_SHORT, 1) and value not in range(2, 9)
        if tag == _ORIENTATION and not harmless:
            struct.pack_into(f"{order}HHLH", tiff, entry, tag, _SHORT, 1, 1)
