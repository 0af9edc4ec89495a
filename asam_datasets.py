"""ASAM-Datasets as its users see it: schemas, configs, loading, and masks for training.

This file is version 0.1.0 of the project's package asam_datasets/, written into one file by
`python -m tools.amalgamate`. Never edit it by hand: change the package, and make the file again.

It stands alone. It needs datasets, pyarrow, numpy and pillow, and torch for masks on a device.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import copy
import difflib
import functools
import glob
import hashlib
import heapq
import importlib
import importlib.util
import io
import json
import logging
import math
import operator
import os
import posixpath
import re
import reprlib
import struct
import subprocess
import sys
import tarfile
import threading
import time
import warnings
import zlib
from collections import deque
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from functools import partial
from itertools import accumulate
from itertools import chain
from itertools import pairwise
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import ClassVar
from typing import NamedTuple
from typing import NoReturn
from typing import TYPE_CHECKING
from typing import TypeVar
from typing import cast
from typing import overload
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urljoin
from urllib.parse import urlsplit

import datasets
import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import HfApi
from huggingface_hub import HfFileSystem
from huggingface_hub import get_hf_file_metadata
from huggingface_hub import hf_hub_url
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HUGGINGFACE_HEADER_X_REPO_COMMIT
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import are_progress_bars_disabled
from huggingface_hub.utils import build_hf_headers
from huggingface_hub.utils import get_session
from huggingface_hub.utils import hf_raise_for_status

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"

__all__ = [
    "AHEAD_BATCHES",
    "AHEAD_BYTES",
    "CONFIG_NAME",
    "EVAL_DATASETS",
    "EVAL_FEATURES",
    "FORMAT_VERSION",
    "GAP_BYTES",
    "PROTOCOLS",
    "REPO_ID",
    "TRAIN_CONFIG",
    "TRAIN_FEATURES",
    "VERSION",
    "WINDOW",
    "AnyConfig",
    "AsamConfig",
    "AsamDatasets",
    "AsamDatasetsError",
    "ContractError",
    "CorruptDataError",
    "Files",
    "Hub",
    "ImageRoot",
    "ImageRootError",
    "Index",
    "MaskRuns",
    "Reader",
    "RowStream",
    "Shard",
    "Split",
    "UnknownNameError",
    "UnreachableError",
    "config_names",
    "control_colors",
    "decode_control",
    "decode_masks",
    "features_of",
    "legacy_metadata",
    "load",
    "mask_bits",
    "mask_boxes",
    "mask_order",
    "open_index",
    "open_store",
    "parse_index",
    "parse_rle",
    "units",
]

# --------------------------------------------------------------------------------------------------
# rle.py. Parses compressed COCO RLE: all strings of an image at once, without a loop over masks.
# --------------------------------------------------------------------------------------------------


Ints = npt.NDArray[np.int64]
MAX_PIXELS = 2**31 - 1  # of a mask: the sums of its counts stay far below 2**63
MAX_GROUP = 12  # characters of one count: 60 bits, so that no sum below leaves int64
# The characters that a mask may have: its counts add up to its pixels, so without counts of zero
# there are at most two for each. Twice that leaves room for those.
_PER_PIXEL, _MORE = 4, 128


@dataclass(frozen=True, slots=True)
class MaskRuns:
    """The runs of ones of N masks, as pixel numbers in column-major order.

    Run k covers the pixels [starts[k], ends[k]) and is never empty; mask i owns the runs
    offsets[i] to offsets[i + 1]. `problems` maps the masks whose RLE is malformed, which have no
    runs, to (reason, expected, found).
    """

    starts: Ints  # (R,)
    ends: Ints  # (R,)
    offsets: Ints  # (N + 1,)
    problems: dict[int, tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def parse_rle(counts: Sequence[str | bytes], pixels: int | npt.ArrayLike) -> MaskRuns:
    """Parse compressed COCO RLE strings, one per mask.

    The format is that of `rleFrString` in pycocotools' maskApi.c. A count is one or more
    characters, each a number less 48. A character holds 5 bits of the count, the lowest first. Its
    bit 5 is set when more characters follow, and bit 4 of the last one is the sign. From the fourth
    count on, what stands there is the difference from the count two before it.

    Parameters
    ----------
    counts
        The strings.
    pixels
        The height times the width, one number for all masks or one for each. A mask of more than
        `MAX_PIXELS` is malformed.

    Returns
    -------
    MaskRuns
        The runs of each mask. A malformed string raises no error: its mask has no runs, and
        `problems` says why.

    Examples
    --------
    Of six pixels, the first mask has one zero, one 1 and four zeros. The second ends too early.

    >>> runs = parse_rle(["114", "11"], 6)
    >>> runs.starts.tolist(), runs.ends.tolist(), runs.offsets.tolist()
    ([1], [2], [0, 1, 1])
    >>> runs.problems
    {1: ('rle_too_short', '6 pixels', 'counts that add up to 2')}
    """
    number = len(counts)
    sizes = np.broadcast_to(np.asarray(pixels, np.int64), (number,))
    problems: dict[int, tuple[str, str, str]] = {}
    for i in np.flatnonzero((sizes < 0) | (sizes > MAX_PIXELS)).tolist():
        problems[i] = ("rle_size", f"a mask of 0 to {MAX_PIXELS} pixels", f"{sizes[i]} pixels")
    sizes = np.clip(sizes, 0, MAX_PIXELS)
    for i, most in enumerate(_PER_PIXEL * size + _MORE for size in sizes.tolist()):
        if (
            i not in problems and len(counts[i]) > most
        ):  # before it is parsed, which takes 60 times its bytes
            expected = f"at most {most} characters for {sizes[i]} pixels"
            problems[i] = ("rle_too_long", expected, f"{len(counts[i])} characters")
    data, lengths = characters([b"" if i in problems else c for i, c in enumerate(counts)])
    for i in np.flatnonzero(lengths == 0).tolist():
        if i in problems:
            continue
        problems[i] = ("rle_empty", "a compressed COCO RLE", "an empty string")
    if not len(data):
        nothing = np.zeros(0, np.int64)
        return MaskRuns(nothing, nothing, np.zeros(number + 1, np.int64), problems)

    stops = np.cumsum(lengths)  # the end of each mask's characters
    codes = data - np.uint8(48)
    if codes.max() > 63:
        bad = np.flatnonzero(codes > 63)
        masks, first = np.unique(np.searchsorted(stops, bad, side="right"), return_index=True)
        for i, at in zip(masks.tolist(), bad[first].tolist(), strict=True):
            found = f"byte 0x{data[at]:02x} at {at - stops[i] + lengths[i]}"
            problems[i] = ("rle_bad_character", "characters from '0' to 'o'", found)
    final = (codes & 32) == 0  # the last character of a group
    last = stops[lengths > 0] - 1
    for i in np.flatnonzero(lengths > 0)[~final[last]].tolist():
        expected = "a last character without the continuation bit"
        found = repr(chr(data[stops[i] - 1]))
        problems.setdefault(i, ("rle_unterminated", expected, found))
    final[last] = True

    values, group_sizes = _group_values(codes, final)
    counted = np.concatenate(([0], np.cumsum(final)))[stops]  # groups up to each mask's end
    if group_sizes.max() > MAX_GROUP:
        bad = np.flatnonzero(group_sizes > MAX_GROUP)
        masks, first = np.unique(np.searchsorted(counted, bad, side="right"), return_index=True)
        for i, size in zip(masks.tolist(), group_sizes[bad[first]].tolist(), strict=True):
            expected = f"at most {MAX_GROUP} characters a count"
            problems.setdefault(i, ("rle_overflow", expected, f"{size} characters"))
    per_mask = np.diff(counted, prepend=0)
    for i in problems:
        values[counted[i] - per_mask[i] : counted[i]] = 0
    limit = int(sizes.max()) + 1  # above every valid count, so that sums stay small
    np.clip(values, -limit, limit, out=values)

    # The table has two columns: counts of zeros and counts of ones. Each mask begins on a new line.
    # A count is then its difference added to the count above it, so a running sum down the columns
    # gives all counts. The first count of a mask is no difference and is left out of the sum.
    lines = (per_mask + 1) // 2
    tops = np.cumsum(lines) - lines
    table = np.zeros((int(lines.sum()), 2), np.int64)
    shift = np.repeat(2 * tops - (counted - per_mask), per_mask)
    table.reshape(-1)[np.arange(len(values)) + shift] = values
    some = np.flatnonzero(lines)
    tops, bottoms, lines = tops[some], (tops + lines - 1)[some], lines[some]
    firsts = table[tops, 0]
    table[tops, 0] = 0
    np.cumsum(table, axis=0, out=table)
    table[bottoms[0] + 1 :] -= np.repeat(table[bottoms[:-1]], lines[1:], axis=0)
    table[tops, 0] = firsts
    table[bottoms[per_mask[some] % 2 == 1], 1] = 0

    if table.min() < 0 or table.max() > sizes.min():
        owners = np.repeat(some, lines)
        bad = np.flatnonzero((table < 0) | (table > sizes[owners, None]))
        masks, first = np.unique(owners[bad // 2], return_index=True)
        for i, count in zip(masks.tolist(), table.reshape(-1)[bad[first]].tolist(), strict=True):
            if count < 0:
                problem = ("rle_negative", "counts of 0 or more", f"a count of {count}")
            else:
                problem = ("rle_too_long", f"{sizes[i]} pixels", f"a count of {count} or more")
            problems.setdefault(i, problem)
        table[np.isin(owners, masks)] = 0
    edges = np.cumsum(table.reshape(-1)).reshape(-1, 2)
    edges[bottoms[0] + 1 :] -= np.repeat(edges[bottoms[:-1], 1], lines[1:])[:, None]
    totals = edges[bottoms, 1]
    wrong = totals != sizes[some]
    for i, total in zip(some[wrong].tolist(), totals[wrong].tolist(), strict=True):
        reason = "rle_too_short" if total < sizes[i] else "rle_too_long"
        found = f"counts that add up to {total}"
        problems.setdefault(i, (reason, f"{sizes[i]} pixels", found))

    keep = edges[:, 1] > edges[:, 0]
    if problems:
        keep &= ~np.isin(np.repeat(some, lines), list(problems))
    offsets = np.zeros(number + 1, np.int64)
    offsets[some + 1] = np.add.reduceat(keep, tops, dtype=np.int64)
    np.cumsum(offsets, out=offsets)
    kept = np.flatnonzero(keep)
    starts, ends = edges[:, 0].take(kept), edges[:, 1].take(kept)
    return MaskRuns(starts, ends, offsets, dict(sorted(problems.items())))


def _group_values(codes: npt.NDArray[np.uint8], final: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The signed number that each group of characters encodes, and the group's size, (G,) each."""
    stops = np.flatnonzero(final)
    sizes = np.diff(stops, prepend=-1)
    starts = stops - sizes + 1
    signed = (codes & 48) == 16  # a last character below 0: its 5 bits less 32
    parts = ((codes & 31) - signed * np.uint8(32)).view(np.int8)
    values = parts.take(starts).astype(np.int64)
    more = np.flatnonzero(sizes > 1)
    for k in range(1, min(int(sizes.max()), MAX_GROUP)):
        values[more] += parts.take(starts.take(more) + k).astype(np.int64) << (5 * k)
        more = more.take(np.flatnonzero(sizes.take(more) > k + 1))
    return values, sizes


def characters(counts: Sequence[str | bytes]) -> tuple[npt.NDArray[np.uint8], Ints]:
    """All strings in one array of bytes, and the length of each."""
    encoded = [c.encode("utf-8", "surrogatepass") if isinstance(c, str) else c for c in counts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), lengths


# --------------------------------------------------------------------------------------------------
# patience.py. How long a request may take, and how often it is repeated.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Patience:
    """What is asked of a server.

    Parameters
    ----------
    timeout
        Seconds that any request may take.
    rate
        Bytes per second. A request of N bytes may take N / rate seconds more.
    retries
        How often a request is repeated after a failure that may pass.
    longest_wait
        If a server asks to wait for more seconds than these (Retry-After), the request fails.
    """

    timeout: float = 60.0
    rate: float = 20_000.0
    retries: int = 5
    longest_wait: float = 330.0  # the Hub counts requests in windows of five minutes

    def deadline(self, size: float = 0) -> float:
        """The seconds that a request of so many bytes may take."""
        return self.timeout + size / self.rate


PATIENT = Patience()


# --------------------------------------------------------------------------------------------------
# redaction.py. Hides what grants access in text that a person may see, log or publish.
#
# A signed URL is a password: its query holds a signature or a token, and a URL may hold a user's name
# and password. Every error of this project passes its message through `redacted`.
# --------------------------------------------------------------------------------------------------


_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:/{1,3})"  # a Path makes one slash of two
    r"(?P<user>[^\s/?@]*@)?"
    r"(?P<path>[^\s?#]*)"
    r"(?P<query>[?#]\S*)?"
)
_CLOSING = ":;,.)]}'\"<>"  # at the end of a URL, these belong to the sentence
# What is not in a URL, such as a header in a library's message, or a URL without its scheme.
_SECRET = re.compile(
    r"(?i:\b(bearer\s+(?=\S{8})|authorization\W{1,4}basic\s+|hf_(?=[a-z0-9]{20})))[^\s'\",;]+"
)
_PARAMETER = re.compile(
    r"(?<=[?&;#])((?i:[\w.-]*(?:signature|token|secret|password|credential|sig|key))=)[^\s&]+"
)
_SHORTEST = 6  # characters of a secret; fewer would hide parts of common words

_given: dict[str, str] = {}  # URLs that a person gave, and the secrets in them


def remember(text: str) -> None:
    """Hide what a URL holds wherever it stands later, however a library quotes it.

    Parameters
    ----------
    text
        What a person gave. If it is no URL with a user, a query or a fragment, nothing happens.
    """
    found = _URL.match(text)
    if found is None:
        return
    user, at, _ = text[len(found["scheme"]) :].partition("/")[0].rpartition("@")
    query = "" if _is_harmless(found) else text.partition(found["query"][:1])[2]
    for secret, shown in ((user + at, "...@"), (query, "...")):
        if len(secret) >= _SHORTEST:
            _given[secret] = shown


def redacted(text: str) -> str:
    """The text with users, passwords and queries of URLs hidden, and access tokens too.

    >>> redacted("https://me:secret@host/a.tar?X-Amz-Signature=0f9a: 403")
    'https://...@host/a.tar?...: 403'
    >>> redacted("s3://bucket/sa_00000?.tar matches nothing")
    's3://bucket/sa_00000?.tar matches nothing'
    """
    for secret in sorted(_given, key=len, reverse=True):
        text = text.replace(secret, _given[secret])
    if ":/" in text:
        text = _URL.sub(_hide, text)
    if "=" in text:
        text = _PARAMETER.sub(r"\1...", text)
    return _SECRET.sub(lambda match: f"{match[1]}...", text)


def _is_harmless(match: re.Match[str]) -> bool:
    """Whether there is no query: only a heading of a page, or a glob's question mark."""
    query = match["query"] or ""
    is_query = query.startswith("?") and match["scheme"].lower().startswith("http")
    return "=" not in query and not (is_query and query[1:].strip(_CLOSING))


def _hide(match: re.Match[str]) -> str:
    user = "...@" if match["user"] else ""
    query = match["query"] or ""
    if not _is_harmless(match):
        query = query[0] + "..." + query[len(query.rstrip(_CLOSING)) :]
    return f"{match['scheme']}{user}{match['path']}{query}"


def hide_in(error: BaseException) -> BaseException:
    """Hide the same in the messages of a library's error and of its causes; returns the error.

    A traceback prints the causes of an error.
    """
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        step.args = tuple(redacted(x) if isinstance(x, str) else x for x in step.args)
        step = step.__cause__ or step.__context__
    return error


class _Redacting(logging.Filter):
    """Hides the same in log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


_REDACTING = _Redacting()


def redact_logs_of_the_hub() -> None:
    """Hide the same in what huggingface_hub logs when it repeats a request to a signed URL."""
    for name in ("huggingface_hub.utils._http", "huggingface_hub.file_download"):
        logging.getLogger(name).addFilter(_REDACTING)  # a filter is added once


# --------------------------------------------------------------------------------------------------
# folders.py. Walks a folder through symbolic links, as the Hub's cache and DVC make them.
# --------------------------------------------------------------------------------------------------


def walk_folder(top: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, in the order of names, and with links followed.

    A link to a folder that it stands in is not entered, so a circle of links ends. A link to
    nothing is listed as a file.

    Raises
    ------
    OSError
        A folder can't be listed.
    """
    within = {Path(top): {_identity(Path(top))}}  # the folders that each stands in, and itself
    for parent, folders, names in os.walk(top, followlinks=True, onerror=_raise):
        above = within.pop(Path(parent))
        found = {name: _identity(Path(parent, name)) for name in sorted(folders)}
        folders[:] = [name for name, identity in found.items() if identity not in above]
        within |= {Path(parent, name): above | {found[name]} for name in folders}
        yield parent, folders, sorted(names)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _raise(error: OSError) -> None:
    raise error


# --------------------------------------------------------------------------------------------------
# headers.py. Walks the headers of a plain tar that may come from anyone.
#
# `tarfile` trusts what a header states. A negative size sends it back to where it was, a size of
# terabytes makes it allocate them, and a chain of extended headers recurses. Here each member costs a
# bounded number of bytes, and the next header lies behind the one before.
# --------------------------------------------------------------------------------------------------


# Of the headers of one member. A path and the target of a link have 4,096 bytes each at the most.
MAX_HEADER_BYTES = 64 << 10


class _Headers:
    """A file that gives no more than MAX_HEADER_BYTES until `begin` is called again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES

    def begin(self) -> None:
        self._left = MAX_HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(
                f"a header at byte {self._file.tell()} states {size} bytes of its own: expected 0 "
                f"to {self._left}"
            )
        self._left -= size
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def is_tar(path: str) -> bool:
    """Whether a file is a tar, also one that is compressed; reads no more than its start."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return tarfile.is_tarfile(_Headers(file))  # type: ignore[arg-type]
    except (OSError, ValueError, OverflowError, RecursionError, LookupError, EOFError):
        return False


def tar_entries(file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield each header of a plain tar, and the byte at which the next one is expected.

    The walk ends at the first block that is no header. The caller checks what stands there.

    Parameters
    ----------
    file
        A file to read from anywhere in it, which stands where the tar begins.

    Raises
    ------
    tarfile.ReadError
        The file is no tar, a header can't be read, or it leads backwards.
    """
    end = file.tell()
    headers = _Headers(file)
    try:
        with tarfile.open(fileobj=headers, mode="r:") as tar:  # type: ignore[call-overload]
            while (entry := tar.next()) is not None:
                if entry.size < 0 or tar.offset <= end:
                    raise tarfile.ReadError(
                        f"the header at byte {end} states a size of {entry.size} bytes"
                    )
                end = tar.offset
                tar.members = []  # they would fill the memory
                yield entry, end
                headers.begin()
    # A field that is no number, an offset that no file has, an extended header without its end.
    except (ValueError, OverflowError, IndexError, RecursionError) as error:
        raise tarfile.ReadError(
            f"the header at byte {end} can't be read: {error or type(error).__name__}"
        ) from error


# --------------------------------------------------------------------------------------------------
# orientation.py. Sets the orientation that a JPEG states to 1, and leaves its pixels as they are.
#
# `datasets.Image` turns a picture as its EXIF orientation says (Pillow's `ImageOps.exif_transpose`).
# Masks that were made for the stored pixels do not fit the turned picture. So such an image is
# published with orientation 1, and `image_root` makes the same change to the user's own copy.
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# values.py. What the values of a column must be, beside their type.
#
# `datasets.Image` opens the file or the URL that a picture names when the picture has no bytes. So a
# dist from someone else could have a reader's own files read. A picture in a dist holds its bytes.
# --------------------------------------------------------------------------------------------------


# Values that may be absent. `path` is the name of a picture.
OPTIONAL = frozenset(
    {"image", "text", "conditioning_image", "void_mask", "category", "category_id", "path"}
)
# The least value of integers: of a side, of an RLE's sides, of an area in pixels.
_LEAST = {"width": 1, "height": 1, "size": 1, "area": 0}
_BOX = 4  # a bbox is [x, y, width, height]
_PICTURE = {"bytes", "path"}  # the fields of `datasets.Image`


def check_values(name: str, values: pa.Array) -> None:
    """Check a column: nothing is absent that every row must have, and sizes and boxes are some.

    Numbers are finite, too: a NaN among scores would spread into every mean of them.

    Parameters
    ----------
    name
        The column's name. Columns of other names than this project's own are checked alike.
    values
        A valid array.

    Raises
    ------
    ValueError
        It names the field. It says how many values are absent, or what was expected and found.
    """
    _check(name, name, values)


def check_pictures(name: str, values: pa.Array) -> None:
    """Check of a column of pictures that each holds its bytes; reads none of them.

    Raises ValueError.
    """
    if pa.types.is_struct(values.type) and {f.name for f in values.type} == _PICTURE:
        _check(name, name, values)


def _check(path: str, field: str, values: pa.Array) -> None:
    if values.null_count and field not in OPTIONAL:
        raise ValueError(f"{path}: {values.null_count} of {len(values)} values are absent")
    kind = values.type
    if pa.types.is_struct(kind):
        present = values.is_valid() if values.null_count else None
        for i in range(kind.num_fields):
            child = values.field(i)
            name = kind.field(i).name
            _check(f"{path}.{name}", name, child if present is None else child.filter(present))
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        if field == "bbox":
            _check_boxes(path, values)
        _check(f"{path}[]", field, values.flatten())
    elif pa.types.is_floating(kind):
        if not pc.all(pc.is_finite(values), min_count=0).as_py():
            raise ValueError(f"{path}: expected finite numbers, found NaN or an infinite one")
    elif field in _LEAST and len(values) and (found := pc.min(values).as_py()) < _LEAST[field]:
        raise ValueError(f"{path}: expected at least {_LEAST[field]}, found {found}")


def _check_boxes(path: str, values: pa.Array) -> None:
    numbers = values.flatten().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    good = bool((lengths == _BOX).all()) and bool(np.isfinite(numbers).all())
    if not good or (numbers.reshape(-1, _BOX)[:, 2:] < 0).any():
        raise ValueError(
            f"{path}: expected {_BOX} finite numbers, the last two not negative; found another box"
        )


# --------------------------------------------------------------------------------------------------
# bits.py. Runs become bits: the masks' bounding boxes, and the pixels within them, packed.
# --------------------------------------------------------------------------------------------------


_CANVAS_WORDS = 1 << 17  # one MiB of bits at a time: it stays in the cache


@dataclass(frozen=True, slots=True)
class MaskSegments:
    """Runs cut at the ends of columns: segment k covers the rows [tops[k], bottoms[k]).

    Mask i owns the segments offsets[i] to offsets[i + 1].
    """

    columns: Ints  # (S,)
    tops: Ints  # (S,)
    bottoms: Ints  # (S,)
    offsets: Ints  # (N + 1,)


def mask_segments(runs: MaskRuns, height: int) -> MaskSegments:
    """The runs, cut where a column ends."""
    columns = runs.starts // height
    tops = runs.starts - columns * height
    bottoms = runs.ends - runs.starts
    bottoms += tops
    if not len(bottoms) or bottoms.max() <= height:
        return MaskSegments(columns, tops, bottoms, runs.offsets)
    last = (runs.ends - 1) // height
    parts = last - columns + 1
    bottoms = runs.ends - last * height
    ends = np.cumsum(parts)
    which = np.repeat(np.arange(len(parts)), parts)
    columns = np.arange(len(which)) + (columns - (ends - parts))[which]
    all_tops, all_bottoms = np.zeros_like(columns), np.full_like(columns, height)
    all_tops[ends - parts] = tops
    all_bottoms[ends - 1] = bottoms
    offsets = np.concatenate(([0], ends))[runs.offsets]
    return MaskSegments(columns, all_tops, all_bottoms, offsets)


def mask_boxes(runs: MaskRuns, height: int) -> Ints:
    """The (x0, y0, x1, y1) of each mask's ones, ends excluded, (N, 4); zeros for empty masks.

    Examples
    --------
    A pixel in the second row and the first column of an image of two rows.

    >>> from asam_datasets.rle import parse_rle
    >>> mask_boxes(parse_rle(["114"], 6), height=2).tolist()
    [[0, 1, 1, 2]]
    """
    return _boxes(mask_segments(runs, height))


def _boxes(segments: MaskSegments) -> Ints:
    offsets = segments.offsets
    boxes = np.zeros((len(offsets) - 1, 4), np.int64)
    some = np.flatnonzero(np.diff(offsets))
    if len(some):
        begins = offsets[some]
        boxes[some, 0] = segments.columns[begins]
        boxes[some, 1] = np.minimum.reduceat(segments.tops, begins)
        boxes[some, 2] = segments.columns[offsets[some + 1] - 1] + 1
        boxes[some, 3] = np.maximum.reduceat(segments.bottoms, begins)
    return boxes


def mask_bits(
    runs: MaskRuns, height: int
) -> Iterator[tuple[int, int, int, int, npt.NDArray[np.uint8]]]:
    """Each mask that is not empty as packed bits of its bounding box.

    Yields (mask, y0, x0, x1, bits): bits[r] are the pixels from x0, a multiple of 8, to x1 of row
    y0 + r, most significant bit first, as `np.packbits` gives them; bits past x1 are 0.

    Many masks share one canvas of 64-bit words. Each box is cut into columns that are 64 pixels
    wide. The columns follow one another on the canvas, one word a row. A bit is flipped where a run
    begins and where it ends. A running exclusive or along the canvas then sets all bits between, in
    all masks at once. Each column has one row more than the box. A run that reaches the bottom of
    the box ends in that row, so the next column starts with zeros.
    """
    segments = mask_segments(runs, height)
    boxes = _boxes(segments)
    x0, y0 = boxes[:, 0] & ~7, boxes[:, 1]
    rows = boxes[:, 3] - y0 + 1
    words = (boxes[:, 2] - x0 + 63) // 64  # 0 for empty masks
    sizes = rows * words
    ends = np.cumsum(sizes)
    table = np.stack((x0, y0, boxes[:, 2], rows, words, ends), axis=1)
    groups = np.flatnonzero(np.diff(ends // _CANVAS_WORDS, prepend=-1))
    for first, stop in pairwise([*groups.tolist(), len(sizes)]):
        start = ends[first] - sizes[first]
        span = slice(segments.offsets[first], segments.offsets[stop])
        owner = np.repeat(np.arange(first, stop), np.diff(segments.offsets[first : stop + 1]))
        x = segments.columns[span] - x0[owner]
        column = (ends - sizes - start - y0)[owner] + (x >> 6) * rows[owner]
        bit = np.left_shift(np.uint64(1), ((x & 63) ^ 7).astype(np.uint64))
        canvas = np.zeros(ends[stop - 1] - start, "<u8")
        np.bitwise_xor.at(canvas, column + segments.tops[span], bit)
        np.bitwise_xor.at(canvas, column + segments.bottoms[span], bit)
        np.bitwise_xor.accumulate(canvas, out=canvas)
        for i, (left, top, right, high, wide, end) in enumerate(table[first:stop].tolist(), first):
            if wide:
                block = canvas[end - start - high * wide : end - start].reshape(wide, high)
                bits = np.ascontiguousarray(block[:, :-1].T).view(np.uint8)
                yield i, top, left, right, bits[:, : (right - left + 7) // 8]


# --------------------------------------------------------------------------------------------------
# errors.py. What is raised on purpose: one base, and a class for each kind of trouble.
# --------------------------------------------------------------------------------------------------


# An object as Python shows it, such as `<_io.BytesIO object at 0x7f1c4a041d50>`.
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


class AsamDatasetsError(Exception):
    """Base of every error that this project raises on purpose.

    Its message holds no password: see `asam_datasets.redaction`.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(x) if isinstance(x, str) else x for x in args))


class UnknownNameError(AsamDatasetsError, ValueError):
    """No config, split, column or dataset of that name; the message says which there are."""


class UnreachableError(AsamDatasetsError):
    """A file can't be read: access was refused, or every retry failed."""


class CorruptDataError(AsamDatasetsError):
    """A file is not what the index says."""


class ContractError(CorruptDataError):
    """An index.json or a receipt is damaged, or is no such file.

    The message names the file and the field, and says what was expected and what was found.
    """


class ImageRootError(AsamDatasetsError):
    """An image is missing from `image_root`, or is not the one that was annotated."""


def what_went_wrong(error: BaseException, path: str = "") -> str:
    """The message of a library's error, in a form that is the same in every run on any machine.

    Libraries put the address of an object, or the whole path of a file, into their messages.
    Addresses differ between runs, and paths between machines. Rejects must not.

    Parameters
    ----------
    error
        An error of a library such as Pillow or h5py.
    path
        The file that was read. Its name alone stays in the text.

    Returns
    -------
    str
        The text without addresses; the error's type where there is no text.

    >>> what_went_wrong(OSError("cannot identify image file <_io.BytesIO object at 0x7f1c>"))
    'cannot identify image file'
    >>> what_went_wrong(OSError("no image: '/home/me/1.png'"), "/home/me/1.png")
    "no image: '1.png'"
    >>> what_went_wrong(EOFError())
    'EOFError'
    """
    text = str(error)
    name = path.rsplit("/", 1)[-1]
    for shown in filter(None, (path, repr(path)[1:-1])):
        text = text.replace(shown, name)
    return _OBJECT.sub("", text).strip() or type(error).__name__


# --------------------------------------------------------------------------------------------------
# tars.py. What a tar holds: the members whose bytes can be read in place, and whether it is whole.
#
# A tar ends with two zero blocks of 512 bytes. GNU tar, Python, Java and star fill the last record of
# 10,240 bytes with zeros, and GNU tar with -b N one of N blocks. Go, Rust, libarchive and npm add
# nothing (the tools' own sources; POSIX, pax, "ustar Interchange Format"). Any other zeros stand for
# bytes that are missing: of a header that was lost, or of a download that has not finished.
# --------------------------------------------------------------------------------------------------


MAX_NAME = 1024  # characters of a member's path or target; each of its rejects holds it
TAR_BLOCK = tarfile.BLOCKSIZE
_END = 2 * TAR_BLOCK
_USUAL_RECORDS = (1, tarfile.RECORDSIZE // TAR_BLOCK)  # in blocks
_NO_ZERO = (".jpg", ".jpeg", ".json", ".png")
# GNU tar's -b in use: powers of two, cpio's 10, and those of old tape drives. Not any number, since
# a tar with a hole at its end could always be made of records of some size.
_OTHER_RECORDS = (2, 4, 8, 10, 16, 32, 64, 126, 127, 128, 256, 512, 1024, 2048)


class TarPlace(NamedTuple):
    """A file of a tar: `size` bytes from `offset` on."""

    name: str
    offset: int
    size: int


class TarReject(NamedTuple):
    """A member that is no file of the tar, and why."""

    name: str
    reason: str
    expected: str
    found: str


@dataclass(slots=True)
class TarListing:
    """What a tar holds.

    `places` are its files in its own order. A link to one of them is a file, too. `starts` says
    where each archive begins, if several stand one behind the other. `damage` says what is wrong
    with the end of what was read, and is empty if the tar is whole.
    """

    places: list[TarPlace] = field(default_factory=list)
    unusable: list[TarReject] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    damage: str = ""


class _Damage(Exception):
    """Raised and caught within this module: the tar ends where it should not."""


def list_tar(file: BinaryIO, size: int, most: int) -> TarListing:
    """List a tar, and the archives that were joined to it (`cat a.tar b.tar`).

    Parameters
    ----------
    file
        The tar. It must be seekable.
    size
        Its length in bytes.
    most
        The listing ends after this many members and one more, so that the caller can refuse it.
    """
    found = _Members(size)
    listing = found.listing
    start: int | None = 0
    try:
        while start is not None:
            listing.starts.append(start)
            end = _read_archive(file, start, found, most)
            if found.count > most:
                break
            start = _next_archive(file, start, end, found.last)
    except (tarfile.ReadError, _Damage) as error:
        listing.damage = str(error)
    return found.settle()


class _Members:
    """Collects the members of a tar, and settles its links when all of them are known."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.listing = TarListing()
        self.count = 0
        self.last: TarPlace | None = None  # the last file that stands in the tar
        self.order: list[TarPlace | tarfile.TarInfo] = []  # files, and links to settle
        self._known: dict[str, TarPlace] = {}
        self._names: list[str] = []  # of files, links and folders

    def take(self, entry: tarfile.TarInfo) -> None:
        """Add one member."""
        self.count += 1
        name = posixpath.normpath(entry.name)
        if len(entry.name) > MAX_NAME or len(entry.linkname) > MAX_NAME:
            found = f"{max(len(entry.name), len(entry.linkname))}"
            self._refuse(entry, "name_too_long", f"at most {MAX_NAME} characters", found)
        elif entry.isdir():
            self._names.append(name)
        elif entry.name.startswith("/") or ".." in entry.name.split("/"):
            self._refuse(entry, "unsafe_member_name", "a relative path without ..", entry.name)
        elif entry.islnk() and (before := self._known.get(_target(entry))):
            # A hard link means the file that stood before it, whatever follows by that name.
            self._known[name] = before._replace(name=name)
            self.order.append(self._known[name])
            self._names.append(name)
        elif entry.islnk() or entry.issym():
            self.order.append(entry)
            self._names.append(name)
        elif not entry.isreg() or entry.issparse():
            kind = f"tar type {entry.type!r}"
            self._refuse(entry, "not_a_regular_file", "a regular file", kind)
        elif entry.offset_data + entry.size > self.size:
            found = f"{self.size - entry.offset_data} bytes before the tar ends"
            self._refuse(entry, "truncated_member", f"{entry.size} bytes", found)
        else:
            self.last = self._known[name] = TarPlace(name, entry.offset_data, entry.size)
            self.order.append(self.last)
            self._names.append(name)

    def settle(self) -> TarListing:
        """Give each link to a file the place of that file; other links are unusable."""
        links = {
            posixpath.normpath(e.name): e for e in self.order if isinstance(e, tarfile.TarInfo)
        }
        settled: dict[str, TarPlace | str] = {**self._known}
        self._names.sort()
        for entry in self.order:
            if isinstance(entry, TarPlace):
                self.listing.places.append(entry)
                continue
            name = target = posixpath.normpath(entry.name)
            passed: list[str] = []
            while target in links and target not in settled:
                passed.append(target)
                settled[target] = "link_in_a_circle"
                target = _target(links[target])
            place = settled.get(target) or self._elsewhere(target)
            settled |= dict.fromkeys(passed, place)
            place = settled[name]
            if isinstance(place, TarPlace):
                self.listing.places.append(place._replace(name=name))
            elif place != "folder":  # its files have names of their own
                self._refuse(entry, place, "a link to a file of the tar", entry.linkname)
        return self.listing

    def _elsewhere(self, target: str) -> str:
        first = bisect.bisect_left(self._names, target)
        inside = bisect.bisect_left(self._names, f"{target}/")
        if (
            target == "."
            or target in self._names[first : first + 1]
            or any(name.startswith(f"{target}/") for name in self._names[inside : inside + 1])
        ):
            return "folder"
        outside = target.startswith(("/", "../")) or target == ".."
        return "link_outside" if outside else "link_to_nothing"

    def _refuse(self, entry: tarfile.TarInfo, reason: str, expected: str, found: str) -> None:
        name, found = entry.name[:MAX_NAME], found[:MAX_NAME]
        self.listing.unusable.append(TarReject(name, reason, expected, found))


def _target(link: tarfile.TarInfo) -> str:
    """The path that a link names: a hard link from the tar's root, a symbolic from its folder."""
    folder = "" if link.islnk() else posixpath.dirname(link.name)
    return posixpath.normpath(posixpath.join(folder, link.linkname))


def _read_archive(file: BinaryIO, start: int, found: _Members, most: int) -> int:
    """Read the members of the archive at `start`; returns the offset at which they end."""
    end = file.seek(start)
    for entry, following in tar_entries(file):
        end = following
        found.take(entry)
        if found.count > most:
            break
    return end


def _next_archive(file: BinaryIO, start: int, end: int, last: TarPlace | None) -> int | None:
    """Check what stands behind the members; returns where a joined archive begins, if one does.

    Raises _Damage if it is not the end of a tar.
    """
    file.seek(end)
    most = _END + TAR_BLOCK * max(_OTHER_RECORDS)
    tail = file.read(most)
    zeros = len(tail) - len(tail.lstrip(b"\0"))
    expected = f"expected a header or the end-of-archive marker at byte {end}"
    if not tail:
        raise _Damage(f"{expected}, found the file's end")
    if zeros < min(TAR_BLOCK, len(tail)):
        raise _Damage(f"{expected}, found something that is not a tar header")
    to_the_end = zeros == len(tail) < most
    gap = zeros if to_the_end else zeros // TAR_BLOCK * TAR_BLOCK
    joined = not to_the_end and _is_header(tail[gap : gap + TAR_BLOCK])
    records = _USUAL_RECORDS if joined else _USUAL_RECORDS + _OTHER_RECORDS
    whole = _fills(records, end + gap - start, gap)
    if gap > _END and whole:  # a hole rarely begins where a member ends
        whole = not _ends_in_zero(file, last)
    if whole and (joined or to_the_end):
        return end + gap if joined else None
    more = "" if zeros < len(tail) or to_the_end else "at least "
    behind = "the file's end" if to_the_end else "more zeros" if more else "other data"
    if joined:
        behind = "another header"
    raise _Damage(
        f"{expected}: {_END} zero bytes, and as many as fill a record of "
        f"{tarfile.RECORDSIZE} bytes; found {more}{zeros} zero bytes, then {behind}: a header was "
        "lost, or a download has not finished"
    )


def _fills(records: Iterable[int], length: int, gap: int) -> bool:
    """Whether an archive of `length` bytes ends in `gap` zeros to fill one of these records.

    The zeros are the end marker and less than a record. Records are given in blocks.
    """
    sizes = (blocks * TAR_BLOCK for blocks in records)
    return gap >= _END and any(gap - _END < size and length % size == 0 for size in sizes)


def _ends_in_zero(file: BinaryIO, last: TarPlace | None) -> bool:
    """Whether a file that ends in no zero when it is whole ends in one."""
    if last is None or last.size == 0 or not last.name.lower().endswith(_NO_ZERO):
        return False
    file.seek(last.offset + last.size - 1)
    return file.read(1) == b"\0"


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


# --------------------------------------------------------------------------------------------------
# arguments.py. Checks of arguments: a wrong one is named before anything is opened.
# --------------------------------------------------------------------------------------------------


def check_whole(name: str, value: Any) -> int:
    """A whole number of 0 or more; raises AsamDatasetsError that names the argument.

    >>> check_whole("epoch", 3)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise AsamDatasetsError(f"{name} must be a whole number, 0 or more, not {value!r}")
    return number


def check_above_zero(name: str, value: Any) -> float:
    """A finite number above 0; raises AsamDatasetsError that names the argument."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise AsamDatasetsError(f"{name} must be a number above 0, not {value!r}")
    return float(number)


def check_text(name: str, value: Any, example: str) -> str:
    """A string; raises AsamDatasetsError that names the argument and shows an example."""
    if not isinstance(value, str):
        raise AsamDatasetsError(f"{name} must be a string such as {example!r}, not {value!r}")
    return value


# --------------------------------------------------------------------------------------------------
# contract.py. JSON from someone else, checked field by field.
#
# index.json and the receipts are read through `Node`, which checks the kind and the range of each
# value. Both files state the sha256 of their own content, so a flipped bit anywhere is found.
# --------------------------------------------------------------------------------------------------


MAX_CONTRACT_BYTES = 256 << 20  # the index of a whole SA-1B tar has about 2 MB
MAX_DEPTH = 64  # lists and objects within one another; an index has 8
_NESTED = frozenset((dict, list))
MAX_COUNT = 2**53  # what JSON readers of any language hold exactly
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHECKSUM = "sha256"  # the field that holds a document's own checksum
REMEDY = "the file is damaged or was not written by this project: get it or build it again"


@dataclass(slots=True)  # a frozen one takes three times as long to make, and an index has 10,000
class Node:
    """A value of a JSON document, and where it stands.

    Parameters
    ----------
    file
        The document's name, for messages.
    path
        The value's place in the document, such as `splits.train.shards[0].rows`.
    value
        What `json.loads` gave.

    Each method returns the value in the form that its name says, and raises ContractError if the
    value is something else.
    """

    file: str
    path: str
    value: Any

    def fail(self, expected: str) -> NoReturn:
        """Raise a ContractError that says what was expected here and what was found."""
        where = self.path or "the document"
        found = reprlib.repr(self.value)
        raise ContractError(f"{self.file}: {where}: expected {expected}, found {found}; {REMEDY}")

    def __getitem__(self, key: str) -> Node:
        """A member of an object; raises ContractError if there is none."""
        members = self.mapping()
        if key not in members:
            where = self.path or "the document"
            raise ContractError(
                f"{self.file}: {where}: expected a field {key!r}, found none; {REMEDY}"
            )
        name = key if key.isprintable() and len(key) < 100 else reprlib.repr(key)
        return Node(self.file, f"{self.path}.{name}" if self.path else name, members[key])

    def mapping(self) -> dict[str, Any]:
        """An object, as plain values."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def members(self) -> dict[str, Node]:
        """An object's members."""
        return {key: self[key] for key in self.mapping()}

    def items(self) -> list[Node]:
        """A list's items."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return [Node(self.file, f"{self.path}[{i}]", x) for i, x in enumerate(self.value)]

    def integer(self, low: int, high: int = MAX_COUNT) -> int:
        """An integer from `low` to `high`."""
        if type(self.value) is not int or not low <= self.value <= high:  # bool is no integer
            self.fail(f"an integer from {low} to {high}")
        return self.value

    def integers(self, count: int, low: int, high: int) -> tuple[int, ...]:
        """A list of `count` integers from `low` to `high`."""
        found = self.value
        good = isinstance(found, list) and len(found) == count and {*map(type, found)} <= {int}
        if not good or (found and not low <= min(found) <= max(found) <= high):
            self.fail(f"{count} integers from {low} to {high}")
        return tuple(found)

    def text(self, pattern: re.Pattern[str] | None = None, expected: str = "a string") -> str:
        """A string, the whole of which matches the pattern."""
        if not isinstance(self.value, str) or (pattern and not pattern.fullmatch(self.value)):
            self.fail(expected)
        return self.value

    def choice(self, *values: str) -> str:
        """One of these strings."""
        if not isinstance(self.value, str) or self.value not in values:
            self.fail(f"one of {', '.join(values)}")
        return self.value

    def sha256(self) -> str:
        """A sha256 in hex."""
        return self.text(_SHA256, "64 hexadecimal digits")

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def equal(self, value: object) -> None:
        """Check that this is the value that the rest of the document implies."""
        if type(self.value) is not type(value) or self.value != value:
            self.fail(repr(value))

    def count(self, key: str) -> int:
        """A member that is a number from 0. It is 0 in documents of versions that lack it."""
        return self[key].integer(0) if key in self.mapping() else 0

    def counts(self) -> dict[str, int]:
        """An object of numbers from 0."""
        return {key: node.integer(0) for key, node in self.members().items()}


def sha256_json(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hex.

    Canonical JSON has sorted keys, no spaces and only ASCII characters, so equal values have equal
    checksums. Raises ValueError for NaN and infinity, which JSON can't hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the checksum of all its other fields."""
    rest = {key: value for key, value in document.items() if key != _CHECKSUM}
    return {_CHECKSUM: sha256_json(rest), **rest}


def check_size(size: int, file: str) -> None:
    """Raise ContractError for a file that is too large to be read whole."""
    if size > MAX_CONTRACT_BYTES:
        raise ContractError(f"{file}: expected at most {MAX_CONTRACT_BYTES} bytes, found {size}")


def parse_json(content: bytes, file: str) -> Any:
    """Parse JSON from someone else.

    Parameters
    ----------
    content
        The file's bytes.
    file
        The file's name, for messages.

    Raises
    ------
    ContractError
        It is too large, is not JSON, or is nested so deeply that a function that calls itself for
        each level would fail.
    """
    check_size(len(content), file)
    try:
        value = json.loads(content, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or far too deep
        raise ContractError(f"{file}: expected JSON, found {error}; {REMEDY}") from error
    level = [value] if type(value) in _NESTED else []
    for _ in range(MAX_DEPTH):
        objects = (node.values() for node in level if type(node) is dict)
        lists = (node for node in level if type(node) is list)
        deeper = (node for node in chain(objects, lists) if not _NESTED.isdisjoint(map(type, node)))
        level = [x for node in deeper for x in node if type(x) in _NESTED]
        if not level:
            return value
    raise ContractError(
        f"{file}: expected at most {MAX_DEPTH} lists and objects within one another, found more; "
        f"{REMEDY}"
    )


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"the number {text}, which JSON doesn't have")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def read_document(content: bytes, file: str, newest: int) -> tuple[Node, int]:
    """Parse a document and check its checksum; returns it and its format's number.

    Parameters
    ----------
    content
        The file's bytes.
    file
        The file's name, for messages.
    newest
        The highest format that the caller reads. Format 1 had no checksum.

    Raises
    ------
    ContractError
        The file is too large, is not JSON, has a newer format, or differs from its checksum.
    """
    node = Node(file, "", parse_json(content, file))
    try:
        version = node["format_version"].integer(1)
        if version > newest:
            raise ContractError(
                f"{file} is of format {version}, this version of asam_datasets reads up to "
                f"{newest}: get a newer one, such as the repo's own asam_datasets.py"
            )
        if version > 1:
            stated = node[_CHECKSUM].sha256()
            if (found := signed(node.value)[_CHECKSUM]) != stated:
                raise ContractError(
                    f"{file}: sha256: its content was expected to have {stated}, and has {found}; "
                    f"{REMEDY}"
                )
    except ValueError as error:  # an infinite number
        raise ContractError(f"{file}: expected JSON, found {error}; {REMEDY}") from error
    return node, version


# --------------------------------------------------------------------------------------------------
# deadlines.py. Requests with a deadline, which are repeated after a failure that may pass.
#
# The timeouts of HTTP libraries count the time without a byte, so a server that sends a byte a second
# holds a reader for ever. Here each request has a deadline that follows from its bytes. It is kept by
# waiting in the caller for a thread that makes the request, so it holds for any library.
# --------------------------------------------------------------------------------------------------


LOG = logging.getLogger("asam_datasets")
T = TypeVar("T")

# huggingface_hub's HTTP library is httpx or, from version 2 on, httpx2.
HTTP = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
TRANSPORT_ERRORS = (HTTP.TransportError, ConnectionError, TimeoutError)
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))  # statuses that may pass
# What a later attempt would raise again.
LASTING = (AsamDatasetsError, FileNotFoundError, PermissionError, ValueError, NotImplementedError)
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second attempt, the third, ...


class SlowError(UnreachableError):
    """A request was not answered by its deadline."""


_given_up: list[threading.Thread] = []


def goes_on() -> bool:
    """Whether a call that was given up still goes on. Python waits for its threads at the end."""
    return any(thread.is_alive() for thread in _given_up)


def within(seconds: float, what: str, call: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread, and wait for it no longer than a deadline.

    A call that is given up may go on in its thread, and in threads of its own: see `goes_on`.

    Parameters
    ----------
    seconds
        The deadline from now on.
    what
        What is done, for the message.
    call, args
        The function and its arguments.

    Raises
    ------
    SlowError
        The deadline has passed.
    Exception
        What the function raises.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((True, call(*args)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, name="asam_datasets request", daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if not outcome:
        _given_up.append(thread)
        raise SlowError(
            f"{what}: no whole answer within {seconds:.0f} s: try again later, or allow a longer "
            "timeout or a lower rate"
        )
    good, value = outcome[0]
    if good:
        result: T = value
        return result
    raise value


def persistently(
    call: Callable[[], T],
    what: str,
    patience: Patience,
    size: float = 0,
    *,
    may_pass: Callable[[Exception], bool],
) -> T:
    """Make a request, and repeat it after a failure that may pass.

    Parameters
    ----------
    call
        Makes the request. It is called in a thread.
    what
        What is asked for, for messages.
    patience
        The deadline of each attempt, and how many there are.
    size
        The bytes that are asked for.
    may_pass
        Whether to repeat the request after an error of it.

    Raises
    ------
    UnreachableError
        The server asks to wait for too long.
    Exception
        The error of the last attempt.
    """
    return repeatedly(
        lambda: within(patience.deadline(size), what, lambda: _told_apart(call)),
        *(what, patience),
        may_pass=may_pass,
    )


def _told_apart(call: Callable[[], T]) -> T:
    """Make a request; fsspec's HTTP store says of any failure that the file is not there."""
    try:
        return call()
    except FileNotFoundError as error:
        cause = error.__cause__
        # Other stores raise it from a KeyError of theirs, which is true.
        of_http = type(cause).__module__.partition(".")[0] == "aiohttp"
        if cause is None or isinstance(cause, FileNotFoundError | HfHubHTTPError):
            raise
        if not (of_http or isinstance(cause, OSError)):
            raise
        status = getattr(cause, "status", None)
        if status in (404, 410):
            raise
        told = f"{redacted(str(error))}: {redacted(repr(cause))}"
        if status is not None and status not in RETRIED:
            raise PermissionError(told) from hide_in(cause)
        raise ConnectionError(told) from hide_in(cause)


def repeatedly(
    call: Callable[[], T],
    what: str,
    patience: Patience,
    *,
    may_pass: Callable[[Exception], bool],
) -> T:
    """The same as `persistently` for a call that keeps its own deadline."""
    for attempt in range(patience.retries + 1):
        try:
            return call()
        except Exception as error:
            hide_in(error)
            if not (isinstance(error, SlowError) or may_pass(error)):
                raise
            asked = asked_wait(error)
            if asked > patience.longest_wait:
                raise UnreachableError(
                    f"{what}: the server asks to wait for {asked:.0f} s: try again after that"
                ) from error
            if attempt == patience.retries:
                raise
            wait = max(_WAITS[min(attempt, len(_WAITS) - 1)], asked)
            LOG.warning(
                *("%s: %s; attempt %d of %d in %.0f s", what, type(error).__name__),
                *(attempt + 2, patience.retries + 1, wait),
            )
            time.sleep(wait)
    raise AssertionError  # the last attempt returned or raised


def may_pass(error: BaseException | None) -> bool:
    """Whether a later attempt may succeed after this error of huggingface_hub, or its cause."""
    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return False
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code in RETRIED
        if isinstance(error, TRANSPORT_ERRORS):
            return True
        error = error.__cause__
    return False


def asked_wait(error: BaseException) -> float:
    """The seconds for which the answer behind an error asks to wait; 0 if it does not ask."""
    response = getattr(error, "response", None)
    stated = "" if response is None else str(response.headers.get("Retry-After") or "")
    return float(stated) if stated.isascii() and stated.isdigit() else 0.0


class PatientStore:
    """A file system of fsspec, each call of which has a deadline.

    Parameters
    ----------
    store
        The file system.
    what
        Its name, for messages.
    patience
        The deadlines.
    """

    def __init__(self, store: Any, what: str, patience: Patience) -> None:
        self._store, self._what, self._patience = store, what, patience

    def open(self, path: str, mode: str = "rb") -> PatientFile:
        """A file to read; raises SlowError, as its reads do."""
        file = within(self._patience.timeout, self._what, self._store.open, path, mode)
        return PatientFile(file, self._what, self._patience)

    def cat_file(self, path: str, start: int, end: int, **options: Any) -> bytes:
        """A range of a file, with options of the store; raises SlowError."""
        seconds = self._patience.deadline(end - start)
        read = partial(self._store.cat_file, **options)
        data: bytes = within(seconds, self._what, read, path, start, end)
        return data

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            asked = partial(getattr(self._store, name), *args, **options)
            return within(self._patience.timeout, self._what, asked)

        return call


def open_files(url: str, patience: Patience) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it. A remote one is a PatientStore.

    Raises
    ------
    Exception
        fsspec can't open such a URL.
    """
    files, path = fsspec.core.url_to_fs(url)
    if not isinstance(files, LocalFileSystem):
        files = PatientStore(files, redacted(url), patience)
    return files, path


class PatientFile(io.RawIOBase):
    """A file elsewhere, each read of which has a deadline.

    Parameters
    ----------
    file
        The file.
    what
        Its name, for messages.
    patience
        The deadline of each read.
    """

    def __init__(self, file: Any, what: str, patience: Patience) -> None:
        self._file, self._what, self._patience = file, what, patience

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; raises SlowError."""
        seconds = self._patience.deadline(max(size, 0))
        data: bytes = within(seconds, self._what, self._file.read, size)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset, which asks for nothing."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The offset."""
        return int(self._file.tell())

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            with contextlib.suppress(Exception):
                self._file.close()
        super().close()


# --------------------------------------------------------------------------------------------------
# frames.py. Where the pixels of a picture lie once it was brought to a size: stretched, cut or padded.
# --------------------------------------------------------------------------------------------------


FITS = ("stretch", "cover", "contain")
_LONGEST_SIDE = 16_384  # pixels; more is a mistake


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture is resized to `resized`, and a part of the result is shown in a frame.

    The part begins at `cut` and fills the frame's upper left. Where it is smaller than the frame,
    the rest is padding, on the right and below. All are (height, width) or (y, x) in pixels.
    """

    full: tuple[int, int]  # of the picture
    resized: tuple[int, int]  # of the whole picture after resizing
    cut: tuple[int, int]  # where, in the resized picture, the part begins
    shown: tuple[int, int]  # of the part
    size: tuple[int, int]  # of the frame

    @property
    def scale(self) -> tuple[float, float]:
        """The factors of x and of y."""
        return self.resized[1] / self.full[1], self.resized[0] / self.full[0]

    @property
    def offset(self) -> tuple[float, float]:
        """What is added to x and to y after they were scaled."""
        return float(-self.cut[1]), float(-self.cut[0])

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The picture's row that each row of the part shows by nearest neighbour, (h,)."""
        return nearest(self.full[0], self.resized[0], self.cut[0], self.shown[0])

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """The picture's column that each column of the part shows by nearest neighbour, (w,)."""
        return nearest(self.full[1], self.resized[1], self.cut[1], self.shown[1])

    def box(self, extent: tuple[float, float]) -> tuple[float, float, float, float]:
        """The part as (left, upper, right, lower), where the whole picture is (h, w) `extent`."""
        y, x = extent[0] / self.resized[0], extent[1] / self.resized[1]
        bottom, right = self.cut[0] + self.shown[0], self.cut[1] + self.shown[1]
        return self.cut[1] * x, self.cut[0] * y, right * x, bottom * y

    def point(self, x: float, y: float) -> list[float]:
        """A point of the picture in the frame, as SAM's `ResizeLongestSide.apply_coords` moves it.

        It may lie outside of what is shown.
        """
        (sx, sy), (dx, dy) = self.scale, self.offset
        return [x * sx + dx, y * sy + dy]


def nearest(full: int, resized: int, start: int, count: int) -> npt.NDArray[np.int64]:
    """The source index that each of `count` samples of an axis shows, the first being `start`.

    `resized` samples are the whole axis of `full` pixels. Sample i shows the pixel in which its
    centre lies: floor((i + 0.5) * full / resized).
    """
    centres: npt.NDArray[np.int64] = 2 * np.arange(start, start + count, dtype=np.int64) + 1
    return centres * full // (2 * resized)


def frame_of(full: tuple[int, int], size: tuple[int, int], fit: str) -> Frame:
    """How a picture is brought to a size.

    Parameters
    ----------
    full
        (height, width) of the picture in pixels.
    size
        (height, width) of the frame in pixels.
    fit
        - "stretch": both sides become those of the frame, whatever the proportions. ASAM does this
          (ControlNet/tutorial_dataset.py, sam_continue_learning/utils/dataloader.py).
        - "cover": the proportions stay, the frame is filled, and the middle of the picture is
          shown. The longer side is rounded down, and half a pixel of the cut to the even number,
          as `Resize` and `CenterCrop` of torchvision do it, which diffusers' train_controlnet.py
          uses.
        - "contain": the proportions stay and all of the picture is shown, with padding on the right
          or below. The shorter side is rounded as in SAM's `get_preprocess_shape`
          (segment_anything/utils/transforms.py).
    """
    (full_height, full_width), (height, width) = full, size
    if fit == "stretch":
        return Frame(full, size, (0, 0), size, size)
    tall = height * full_width >= width * full_height  # the height needs the larger factor
    if fit == "cover":
        if tall:
            resized = height, height * full_width // full_height
        else:
            resized = width * full_height // full_width, width
        cut = round((resized[0] - height) / 2), round((resized[1] - width) / 2)
        return Frame(full, resized, cut, size, size)
    if tall:
        scaled = int(full_height * (width * 1.0 / full_width) + 0.5)
        resized = min(height, max(1, scaled)), width
    else:
        scaled = int(full_width * (height * 1.0 / full_height) + 0.5)
        resized = height, min(width, max(1, scaled))
    return Frame(full, resized, (0, 0), resized, size)


def frame_size(size: Any) -> tuple[int, int]:
    """The (height, width) that a user asks for: one number for a square, or both.

    Raises
    ------
    AsamDatasetsError
        These are no whole numbers from 1 to 16,384.
    """
    try:
        height, width = size if hasattr(size, "__len__") else (size, size)
        if isinstance(height, bool) or isinstance(width, bool) or isinstance(size, str):
            raise TypeError
        found = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        found = 0, 0
    if not all(1 <= side <= _LONGEST_SIDE for side in found):
        raise AsamDatasetsError(
            f"size must be a whole number of pixels for a square, or (height, width), from 1 to "
            f"{_LONGEST_SIDE:,} each, not {size!r}"
        )
    return found


def check_fit(fit: Any) -> None:
    """Raise AsamDatasetsError unless `fit` is one of FITS."""
    if not isinstance(fit, str) or fit not in FITS:
        names = " or ".join(map(repr, FITS))
        raise AsamDatasetsError(f"fit must be {names}, not {fit!r}")


# --------------------------------------------------------------------------------------------------
# names.py. The names of the repo, the configs and the evaluation sets.
# --------------------------------------------------------------------------------------------------


REPO_ID = "xhk/ASAM-Datasets"
CONFIG_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
SPLIT_NAME = re.compile(r"(?!all$)\w+(\.\w+)*")  # datasets keeps "all" for itself
LONGEST_NAME = 100  # characters of a config's or split's name
FORMATS = ("arrow", "parquet")
TRAIN_CONFIG = re.compile(r"sa_\d{6}")
PROTOCOLS = ("native", "sam", "asam")
_PROTOCOL = re.compile(r"_a?sam$")
_SAM_SUITE = (  # of SAM's Table 7
    *("ppdls", "bbbc038v1", "doors", "timberseg", "ndd20", "lvis", "streets", "zerowaste_f"),
    *("ishape", "ade20k", "ovis", "hypersim", "ndispark", "visor", "plittersdorf", "egohos"),
    *("ibd", "woodscape", "cityscapes", "pidray", "dram", "trashcan", "gtea"),
)
EVAL_DATASETS = (
    *_SAM_SUITE,
    *("coco2017", "voc2012", "big", "hrsod_te", "camo", "kvasir_seg", "cvc_clinicdb"),
)
_NOT_IN_ASAM = ("hypersim",)  # its code has no loader for it


def config_names() -> list[str]:
    """The names of all configs: SA-1B's thousand tars, and each evaluation set by protocol."""
    names = [f"sa_{i:06d}" for i in range(1000)]
    for name in EVAL_DATASETS:
        names.append(name)
        names += [f"{name}_sam"] if name in _SAM_SUITE else []
        names += [f"{name}_asam"] if name not in _NOT_IN_ASAM else []
    return names


def shard_name(split: str, index: int, total: int, fmt: str) -> str:
    """The file name of a shard, `train-00000-of-00064.arrow`."""
    return f"{split}-{index:05d}-of-{total:05d}.{fmt}"


def unknown_name(what: str, name: object, known: Iterable[str], where: str) -> UnknownNameError:
    """The error for a name that is not among `known`; its message lists those, near ones first.

    Parameters
    ----------
    what, name
        What was asked for, such as "split", and its name.
    known
        The names that exist.
    where
        Where they exist, as the message names it.
    """
    # A repo from anyone may have folders of any name.
    names = [name if name.isprintable() else repr(name) for name in known]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    hint = did_you_mean(str(name), names)
    return UnknownNameError(f"no {what} {name!r} in {where}.{hint} There are: {shown or 'none'}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence of a message that proposes names like the one given; empty if there are none.

    Names are compared without the suffix of a protocol, because half of all configs share it.
    Another number is no misspelling, so nothing is proposed for the name of a tar.

    Parameters
    ----------
    name
        What was asked for.
    known
        The names that exist.

    >>> did_you_mean("camoo_asam", ["camo", "camo_asam", "doors_asam"])
    ' Did you mean camo_asam?'
    >>> did_you_mean("boats_asam", ["camo_asam", "doors_asam"])
    ''
    """
    if TRAIN_CONFIG.fullmatch(name):
        return ""
    stems: dict[str, list[str]] = {}
    for one in known:
        stems.setdefault(_PROTOCOL.sub("", one), []).append(one)
    close = difflib.get_close_matches(_PROTOCOL.sub("", name), stems, n=3)
    near = difflib.get_close_matches(name, [one for stem in close for one in stems[stem]], n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


# --------------------------------------------------------------------------------------------------
# pictures.py. Pictures as `load_dataset` shows them: turned as their EXIF orientation says.
#
# `datasets.Image` applies `ImageOps.exif_transpose` after decoding, in datasets 3 and later. Width,
# height and masks of a row belong to the turned picture. Therefore the picture of a row is opened
# here, and nowhere else.
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# segmentation.py. Takes ids, sizes and RLE strings from annotations in any form that `datasets` returns.
# --------------------------------------------------------------------------------------------------


# What values of another form than expected raise; torch raises the RuntimeError.
UNREADABLE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Segmentations:
    """What decoding needs of N annotations: ids, (height, width) in pixels, and RLE strings."""

    ids: Sequence[Any]
    sizes: list[tuple[int, int]]
    counts: list[str | bytes]

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The (height, width) to decode to: `size`, or for None the size that all masks have.

        Raises
        ------
        AsamDatasetsError
            `size` is no pair of positive numbers, or it is None and the masks' sizes differ.
        """
        if size is not None:
            try:
                height, width = map(int, size)
            except (TypeError, ValueError, OverflowError):
                height = width = 0
            if min(height, width) < 1:
                raise AsamDatasetsError(f"size must be (height, width) in pixels, not {size!r}")
            return height, width
        different = sorted(set(self.sizes))
        if len(different) > 1:
            raise AsamDatasetsError(
                f"the masks differ in size ({different[0]}, {different[1]}, ...): "
                "give size=(height, width) to decode them together"
            )
        return different[0] if different else (0, 0)

    def by_size(self) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Each size and the masks that have it."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(self.sizes):
            groups.setdefault(size, []).append(i)
        return iter(groups.items())

    def refuse(self, problems: dict[int, tuple[str, str, str]], which: list[int]) -> None:
        """Raise AsamDatasetsError for the first problem, if there is one.

        `problems` are those of `parse_rle` for the masks whose numbers are in `which`.
        """
        for k, (reason, expected, found) in problems.items():
            raise AsamDatasetsError(
                f"annotation {self.ids[which[k]]}: malformed RLE ({reason}): "
                f"expected {expected}, found {found}"
            )


def fields(annotations: Any, name: str) -> tuple[Sequence[Any] | None, Any]:
    """The ids of annotations in any form, and one field of each.

    Parameters
    ----------
    annotations
        A row's `annotations`, or a column of them that has one row: a list of dicts, a dict of
        lists, or an object of pyarrow or pandas.
    name
        The field.

    Returns
    -------
    tuple
        The ids, or None where there are none, and the field's values.

    Raises
    ------
    Exception
        One of UNREADABLE: these are no annotations, or the field is missing.
    """
    annotations = _one_row(annotations)
    if isinstance(annotations, Mapping):
        ids = unwrapped(annotations.get("id"))
        return (None if ids is None else list(ids)), unwrapped(annotations[name])
    values = [annotation[name] for annotation in annotations]
    return [annotation.get("id", i) for i, annotation in enumerate(annotations)], values


def unwrapped(value: Any) -> Any:
    """Convert what pyarrow or pandas holds to Python values; return anything else as it is."""
    for convert in ("to_pylist", "as_py", "to_list"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    return value


def _one_row(annotations: Any) -> Any:
    """The annotations of a row, also where a column of one row was given.

    With the formats "arrow" and "pandas", `datasets` returns such a column for one row.
    """
    values = unwrapped(annotations)
    if values is not annotations and isinstance(values, list) and len(values) == 1:
        (only,) = values
        return only if isinstance(only, list | np.ndarray) else values
    return values


def host_array(value: Any) -> npt.NDArray[Any]:
    """A value as a numpy array of the dtype that it has; tensors come from their device.

    Raises
    ------
    Exception
        One of UNREADABLE: numpy can't hold the value.
    """
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def segmentations(annotations: Any) -> Segmentations:
    """Read ids, sizes and counts from any form of an `annotations` column.

    Raises
    ------
    AsamDatasetsError
        An annotation has no segmentation of a valid size with an RLE string.
    """
    try:
        ids, records = fields(annotations, "segmentation")
        if isinstance(records, Mapping):
            pairs = list(zip(records["size"], records["counts"], strict=True))
        else:
            pairs = [(record["size"], record["counts"]) for record in records]
        ids = range(len(pairs)) if ids is None else ids
        sizes = [(int(height), int(width)) for (height, width), _ in pairs]
        described = list(zip(ids, sizes, pairs, strict=True))
    except UNREADABLE as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a segmentation of "
            f"{{size: [height, width], counts: compressed RLE}}: {error!r}"
        ) from error
    for name, (height, width), (_, counts) in described:
        if height < 1 or width < 1 or height * width > MAX_PIXELS:
            raise AsamDatasetsError(
                f"annotation {name}: a mask can't have the size {height, width}"
            )
        if not isinstance(counts, str | bytes):
            raise AsamDatasetsError(
                f"annotation {name}: counts must be a compressed RLE string, "
                f"not {type(counts).__name__}"
            )
    return Segmentations(ids, sizes, [counts for _, counts in pairs])


# --------------------------------------------------------------------------------------------------
# images.py. The user's own copy of the images, joined to rows that hold only annotations.
# --------------------------------------------------------------------------------------------------


class ImageRoot:
    """The user's own copy of the images, found by file name and checked by sha256.

    Parameters
    ----------
    root
        A folder, a tar, or a glob of folders and tars, of SA-1B or of an evaluation release. A
        folder may hold folders, tars, and links to any of them.

    Raises
    ------
    ImageRootError
        There is no file, or a tar can't be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.name = str(root)
        self._found: dict[str, list[tuple[str, int, int]]] = {}  # by name: file, offset, size
        wanted = str(Path(self.name).expanduser())
        # Path.glob takes no absolute pattern.
        paths = [wanted] if Path(wanted).exists() else sorted(glob.glob(wanted))  # noqa: PTH207
        for path in paths:
            if Path(path).is_dir():
                for folder, _, names in walk_folder(path):
                    for name in names:
                        self._add_file(str(Path(folder, name)))
            elif is_tar(path):
                self._add_tar(path)
            else:
                self._add(path, path, 0, -1)
        if not self._found:
            raise ImageRootError(f"image_root={self.name}: no file there")

    def _add_file(self, path: str) -> None:
        """Add a file of a folder: an image, or the images of a tar."""
        if Path(path).exists() and not Path(path).is_file():
            return  # a pipe or a device, which would be waited for
        if path.endswith(".tar"):
            self._add_tar(path)
        else:
            self._add(path, path, 0, -1)

    def _add_tar(self, path: str) -> None:
        try:
            with Path(path).open("rb") as file:
                found = list_tar(file, Path(path).stat().st_size, sys.maxsize)
        except (tarfile.TarError, OSError) as error:
            found = TarListing(damage=str(error))
        if found.damage:
            raise ImageRootError(
                f"image_root={self.name}: {path} can't be read as a plain tar: {found.damage}; "
                "fetch it again, decompress it if it is compressed, or give a folder of the images"
            )
        for place in found.places:
            self._add(place.name, path, place.offset, place.size)

    def _add(self, name: str, path: str, offset: int, size: int) -> None:
        self._found.setdefault(posixpath.basename(name), []).append((path, offset, size))

    def read(self, file_name: str, sha256: str) -> bytes:
        """The bytes of the image with this name and sha256.

        A build sets the EXIF orientation of some images to 1 (`upright`). The same is done here to
        an image whose own sha256 is another one.

        Raises
        ------
        ImageRootError
            No image has that name, it can't be read, or its sha256 differs.
        """
        places = self._found.get(posixpath.basename(file_name), [])
        if not places:
            raise ImageRootError(f"image_root={self.name}: no {file_name} there")
        for path, offset, size in places:
            try:
                with Path(path).open("rb") as file:
                    file.seek(offset)
                    data = file.read(size)
            except OSError as error:
                raise ImageRootError(
                    f"image_root={self.name}: {file_name} can't be read: {error}"
                ) from error
            found = hashlib.sha256(data).hexdigest()
            if found == sha256:
                return data
            data = upright(data)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        raise ImageRootError(
            f"image_root={self.name}: {file_name} in {path} is not the image that was annotated: "
            f"sha256 {sha256} expected, {found} found"
        )


# --------------------------------------------------------------------------------------------------
# batches.py. Record batches from their parts: the numbers that describe one, and the bytes of its columns.
#
# The Arrow library reads a record batch from a binary message and trusts the numbers in it. A hostile
# message could crash the process. So an index holds plain numbers instead. They are checked here, and
# each array is made from them:
#
#     lengths, nulls    of each array of the batch, depth first, a column's own array before its parts
#     buffers           the bytes of each buffer, in the same order; each starts at the first multiple
#                       of 8 that is not before the end of the one before it
#     crc32             of each column's bytes, from its first buffer to its last
#
# That is the order of the Arrow format (https://arrow.apache.org/docs/format/Columnar.html, "IPC").
# --------------------------------------------------------------------------------------------------


ALIGNMENT = 8
_MOST_ROWS = 2**31 - 1
_MOST_BYTES = 2**31 - 1  # of a buffer: offsets are int32
_RECORD_BATCH = 3  # of the union MessageHeader in Arrow's Message.fbs


@dataclass(frozen=True)
class Layout:
    """How many arrays and buffers each column of a schema has.

    `arrays[i]` and `buffers[i]` are the numbers of the first array and the first buffer of column
    i. The last item of each list is the total.
    """

    schema: pa.Schema

    @cached_property
    def arrays(self) -> list[int]:
        return list(accumulate((_parts(field.type)[0] for field in self.schema), initial=0))

    @cached_property
    def buffers(self) -> list[int]:
        return list(accumulate((_parts(field.type)[1] for field in self.schema), initial=0))


@dataclass(frozen=True, slots=True)
class Batch:
    """A record batch of an Arrow shard; the module's docstring describes its lists of numbers.

    `offset` is where its body starts in the file, and `body` is the body's size, both in bytes.
    """

    rows: int
    offset: int
    body: int
    lengths: tuple[int, ...]
    nulls: tuple[int, ...]
    buffers: tuple[int, ...]
    crc32: tuple[int, ...]

    @classmethod
    def from_json(cls, node: Node, layout: Layout, start: int, end: int) -> Batch:
        """Check and take what an index says of a record batch.

        Parameters
        ----------
        node
            What the index says.
        layout
            Of the config's schema.
        start, end
            The part of the file in which the body must lie, in bytes.

        Raises
        ------
        ContractError
            The numbers don't describe a record batch of that schema in that part of the file.
        """
        arrays, buffers = layout.arrays[-1], layout.buffers[-1]
        rows = node["rows"].integer(1, _MOST_ROWS)
        offset = node["offset"].integer(start, end)
        batch = cls(
            rows=rows,
            offset=offset,
            body=node["body"].integer(0, end - offset),
            lengths=node["lengths"].integers(arrays, 0, _MOST_ROWS),
            nulls=node["nulls"].integers(arrays, 0, _MOST_ROWS),
            buffers=node["buffers"].integers(buffers, 0, _MOST_BYTES),
            crc32=node["crc32"].integers(len(layout.schema), 0, 2**32 - 1),
        )
        if any(batch.lengths[i] != rows for i in layout.arrays[:-1]):
            node["lengths"].fail(f"{rows} rows in every column")
        if sum([-(-size // ALIGNMENT) * ALIGNMENT for size in batch.buffers]) > batch.body:
            node["buffers"].fail(f"buffers that fit in a body of {batch.body} bytes")
        return batch

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        return {
            "rows": self.rows,
            "offset": self.offset,
            "body": self.body,
            "lengths": list(self.lengths),
            "nulls": list(self.nulls),
            "buffers": list(self.buffers),
            "crc32": list(self.crc32),
        }

    def starts(self) -> list[int]:
        """Where each buffer starts in the body."""
        padded = (-(-size // ALIGNMENT) * ALIGNMENT for size in self.buffers)
        return list(accumulate(padded, initial=0))[:-1]

    def columns(self, layout: Layout) -> list[tuple[int, int]]:
        """Where each column's bytes start in the body, and how many bytes there are."""
        starts = self.starts()
        found = []
        for first, stop in zip(layout.buffers, layout.buffers[1:], strict=False):
            ends = [starts[i] + self.buffers[i] for i in range(first, stop) if self.buffers[i]]
            found.append((starts[first], ends[-1] - starts[first] if ends else 0))
        return found

    def column(self, number: int, layout: Layout, data: pa.Buffer) -> pa.Array:
        """Make a column from its bytes, and check every value in it.

        Parameters
        ----------
        number
            The column's place in the schema.
        layout
            Of the schema.
        data
            The column's bytes, from its first buffer to its last.

        Raises
        ------
        pyarrow.ArrowException
            The numbers and the bytes don't make a valid array.
        """
        first, stop = layout.arrays[number : number + 2]
        arrays = iter(zip(self.lengths[first:stop], self.nulls[first:stop], strict=True))
        first, stop = layout.buffers[number : number + 2]
        starts = self.starts()
        buffers = (
            data.slice(starts[i] - starts[first], self.buffers[i]) if self.buffers[i] else None
            for i in range(first, stop)
        )
        array = _array(layout.schema.field(number).type, arrays, buffers)
        array.validate(full=True)
        return array


def _parts(kind: pa.DataType) -> tuple[int, int]:
    """How many arrays and buffers an array of a type has, those of its children included."""
    found = [_parts(part) for part in _children(kind)]
    arrays = 1 + sum(count for count, _ in found)
    return arrays, kind.num_buffers + sum(count for _, count in found)


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_struct(kind):
        return [kind.field(i).type for i in range(kind.num_fields)]
    return [kind.value_type] if pa.types.is_list(kind) else []


def _array(
    kind: pa.DataType, arrays: Iterator[tuple[int, int]], buffers: Iterator[pa.Buffer | None]
) -> pa.Array:
    """An array and its parts, depth first; the caller validates it."""
    length, nulls = next(arrays)
    own = [next(buffers)]  # the bits that say which values are there
    if own[0] is None and nulls:
        raise pa.ArrowInvalid(
            f"an array of {kind} has {nulls} nulls, but no buffer that marks them"
        )
    own += [next(buffers) or pa.py_buffer(b"") for _ in range(kind.num_buffers - 1)]
    children = [_array(child, arrays, buffers) for child in _children(kind)]
    return pa.Array.from_buffers(kind, length, own, nulls, children=children or None)


def read_message(head: bytes) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Parse the message before a record batch's body in an Arrow stream, with every bound checked.

    Returns the arrays' lengths and nulls, and (start in the body, bytes) of each buffer. The
    message begins with a marker and a length of 4 bytes each. What follows is Arrow's Message.fbs
    in flatbuffers' encoding (https://flatbuffers.dev/internals/).

    Raises
    ------
    ValueError
        The message is of another kind, compressed or malformed.
    """
    try:
        marker, size = struct.unpack_from("<Ii", head)
        if marker != 0xFFFFFFFF or size != len(head) - 8:
            raise ValueError(f"no message of {len(head) - 8} bytes")
        data = head[8:]
        message = _table(data, _unsigned(data, 0), 4)
        kind = data[message[1]] if message[1] else None
        if kind != _RECORD_BATCH or not message[2]:
            raise ValueError(f"a message of kind {kind}")
        fields = _table(data, message[2] + _unsigned(data, message[2]), 5)
        if fields[3] or fields[4]:
            raise ValueError("a compressed or variadic record batch")
        nodes, buffers = _pairs(data, fields[1]), _pairs(data, fields[2])
    except (struct.error, IndexError) as error:
        raise ValueError(f"a malformed message: {error}") from error
    return [length for length, _ in nodes], [nulls for _, nulls in nodes], buffers


def _unsigned(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _table(data: bytes, at: int, count: int) -> Sequence[int]:
    """The positions of the first `count` fields of a flatbuffers table; 0 for an absent field."""
    vtable = at - struct.unpack_from("<i", data, at)[0]
    if vtable < 0:
        raise ValueError("a table outside the message")
    size = struct.unpack_from("<H", data, vtable)[0]
    slots = range(vtable + 4, vtable + 4 + 2 * count, 2)
    offsets = [struct.unpack_from("<H", data, s)[0] if s < vtable + size else 0 for s in slots]
    return [at + offset if offset else 0 for offset in offsets]


def _pairs(data: bytes, at: int) -> list[tuple[int, int]]:
    """A vector of structs of two int64; `at` is the position of its reference, 0 for none."""
    if not at:
        return []
    at += _unsigned(data, at)
    count = _unsigned(data, at)
    if count > len(data) // 16:
        raise ValueError(f"{count} pairs in {len(data)} bytes")
    numbers = struct.unpack_from(f"<{2 * count}q", data, at + 4)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


# --------------------------------------------------------------------------------------------------
# schema.py. The columns of a row, for training and for evaluation.
# --------------------------------------------------------------------------------------------------


KINDS = ("train", "eval")
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "string", "binary"),
)
_MODES = (None, "1", "L", "P", "RGB", "RGBA")
_DEEPEST = 16  # lists and structs within each other
_SEGMENTATION = {"size": [datasets.Value("int32")], "counts": datasets.Value("string")}

# Column order matters: diffusers' ControlNet scripts default to the names image, text and
# conditioning_image, and fall back to the positions 0, 1 and 2.
TRAIN_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "conditioning_image": datasets.Image(mode="RGB"),
        "image_id": datasets.Value("int64"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "predicted_iou": datasets.Value("float64"),
                "point_coords": [[datasets.Value("float64")]],
                "crop_box": [datasets.Value("float64")],
                "stability_score": datasets.Value("float64"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)
EVAL_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "image_id": datasets.Value("string"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "void_mask": datasets.Image(decode=False),
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "category": datasets.Value("string"),
                "category_id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "iscrowd": datasets.Value("bool"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)


def features_of(kind: str) -> datasets.Features:
    """The features of a config's kind, "train" or "eval"."""
    return {"train": TRAIN_FEATURES, "eval": EVAL_FEATURES}[kind]


def legacy_metadata(features: datasets.Features) -> dict[str, Any]:
    """The Hugging Face schema metadata of `features`, with lists as `[X]`.

    datasets 4 and later write `{"_type": "List", "feature": X}`, which 3.x refuses; all of them
    read the older form (datasets/features/features.py, `generate_from_dict`).
    """

    def legacy(node: Any) -> Any:
        if isinstance(node, list):
            return [legacy(x) for x in node]
        if isinstance(node, dict) and node.get("_type") in ("List", "Sequence"):
            return [legacy(node["feature"])]
        if isinstance(node, dict):
            return {key: legacy(value) for key, value in node.items()}
        return node

    return {"info": {"features": legacy(features.to_dict())}}


def features_to_json(features: datasets.Features) -> dict[str, Any]:
    """Features as an index holds them: the library's own form, with lists as `[X]`."""
    found: dict[str, Any] = legacy_metadata(features)["info"]["features"]
    return found


def features_from_json(node: Node) -> datasets.Features:
    """The features that an index states.

    Only plain values, images, lists and structs are accepted. The library itself would create an
    object of any class that `_type` names. Raises ContractError for anything else.
    """
    columns = {name: _feature(column, 0) for name, column in _named(node).items()}
    if not columns:
        node.fail("at least one column")
    return datasets.Features(columns)


def _named(node: Node) -> dict[str, Node]:
    """The members of an object, whose names Arrow can hold."""
    members = node.members()
    for name, member in members.items():
        if not name.isprintable():  # half of a surrogate pair is not printable either
            member.fail("a column or field with a printable name")
    return members


def check_columns(node: Node, features: datasets.Features, kind: str) -> None:
    """Check that the columns of an index have the types that its kind gives columns of their names.

    Columns of other names may stand beside them. Raises ContractError.
    """
    known = features_to_json(features_of(kind))
    for name, found in features_to_json(features).items():
        if found != known.get(name, found):
            node[name].fail(f"the column {name} of kind {kind}: {known[name]}")


def _feature(node: Node, depth: int) -> Any:
    if depth > _DEEPEST:
        node.fail(f"at most {_DEEPEST} lists and structs within each other")
    if isinstance(node.value, list):
        if len(node.value) != 1:
            node.fail("a list of one feature")
        return [_feature(node.items()[0], depth + 1)]
    fields = node.mapping()
    if "_type" not in fields:
        if not fields:
            node.fail("a struct with at least one field")
        return {name: _feature(field, depth + 1) for name, field in _named(node).items()}
    if fields["_type"] == "Value":
        if fields.get("dtype") not in _DTYPES:
            node.fail(f"a dtype among {', '.join(_DTYPES)}")
        return datasets.Value(fields["dtype"])
    if fields["_type"] == "Image":
        mode, decode = fields.get("mode"), fields.get("decode", True)
        if mode not in _MODES or not isinstance(decode, bool):
            node.fail(f"an Image with a mode of {_MODES}, and decode true or false")
        return datasets.Image(mode=mode, decode=decode)
    return node.fail("a Value or an Image")


# --------------------------------------------------------------------------------------------------
# downloads.py. Downloads whole files by the Hub's client, in a process that can be ended from outside.
#
# A download that was given up in a thread would go on, and would keep the lock of its file in the
# cache. So another attempt, also one of another process, would wait for it.
# --------------------------------------------------------------------------------------------------


_START = 300.0  # seconds in which a process must have imported huggingface_hub
# It ends when its input does, which is when this process ends.
_CODE = """
import json, os, sys, threading
given = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
sys.path[:] = given["path"]
from huggingface_hub import hf_hub_download
print("ready", flush=True)
try:
    answer = {"file": hf_hub_download(**given["arguments"])}
except Exception as error:
    status = getattr(getattr(error, "response", None), "status_code", None)
    answer = {"error": repr(error), "status": status}
print(json.dumps(answer), flush=True)
"""


class RefusedError(UnreachableError):
    """The Hub answered that it does not give a file."""


def download(arguments: Mapping[str, Any], what: str, patience: Patience, size: int) -> str:
    """Call `hf_hub_download` in a process of its own, once; returns the file's path.

    Parameters
    ----------
    arguments
        The arguments of `hf_hub_download`.
    what
        The file's name, for messages.
    patience
        The deadline.
    size
        The file's bytes.

    Raises
    ------
    SlowError
        The file did not come in time. The download was ended.
    RefusedError
        The Hub refused, and would refuse again.
    UnreachableError
        `hf_hub_download` raised another error.
    """
    quiet = {"HF_HUB_VERBOSITY": "error"}  # its warnings show the signed URL
    if are_progress_bars_disabled():
        quiet["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **quiet},
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError  # both are pipes
        try:
            given = {"path": sys.path, "arguments": dict(arguments)}
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            within(_START, what, process.stdout.readline)
            said = within(patience.deadline(size), what, process.stdout.readline)
        except BrokenPipeError:
            said = ""
        finally:
            process.kill()
    answer = json.loads(said) if said else {"error": "its process ended", "status": None}
    if "file" in answer:
        return str(answer["file"])
    refused = answer["status"] is not None and answer["status"] not in RETRIED
    kind = RefusedError if refused else UnreachableError
    raise kind(f"{what} can't be read: {answer['error']}")


def may_be_had_later(error: Exception) -> bool:
    """Whether `download` may succeed at a later attempt."""
    return not isinstance(error, RefusedError)


# --------------------------------------------------------------------------------------------------
# ranges.py. Ranges of files on the Hub, which redirects a request for a file to a signed URL.
# --------------------------------------------------------------------------------------------------


_MOST_REDIRECTS = 5


class Ranges:
    """Reads ranges of files. A signed URL is kept until it expires, so a range is one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._signed: dict[tuple[int, str], Future[str]] = {}  # by process and URL

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_signed": {}}

    def read(self, url: str, headers: dict[str, str], start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before.

        Parameters
        ----------
        url, headers
            The Hub's URL of the file, and the headers for the Hub's host alone.

        Raises
        ------
        Exception
            What huggingface_hub raises, or UnreachableError.
        """
        mine: Future[str] = Future()
        key = os.getpid(), url
        signed = self._signed.setdefault(key, mine)
        try:
            if signed is not mine and (address := signed.result()):
                try:
                    return self._followed(address, {}, start, end, lambda address: None)
                except HfHubHTTPError as error:
                    if error.response.status_code >= 500:
                        raise
                    self._signed.pop(key, None)  # it has expired

            def tell(address: str) -> None:
                if signed is mine and not mine.done():
                    mine.set_result(address)

            return self._followed(url, headers, start, end, tell)
        finally:
            if not mine.done():
                mine.set_result("")  # the others ask the Hub themselves

    def _followed(
        self,
        url: str,
        headers: dict[str, str],
        start: int,
        end: int,
        tell: Callable[[str], None],
    ) -> bytes:
        """A range from where a URL leads to. `headers` are for the host of that URL alone.

        As soon as it is known, `tell` gets the signed URL, or "" if there is none. So whoever waits
        for it does not wait for the bytes.
        """
        address = url
        for _ in range(_MOST_REDIRECTS + 1):
            abroad = urlsplit(address).netloc != urlsplit(url).netloc
            if abroad:
                tell(address)
            found = self._get(address, {} if abroad else headers, start, end, tell)
            if isinstance(found, bytes):
                return found
            address = found
        raise UnreachableError(f"{redacted(url)}: more than {_MOST_REDIRECTS} redirects")

    def _get(
        self, url: str, headers: dict[str, str], start: int, end: int, tell: Callable[[str], None]
    ) -> bytes | str:
        """A range, or the URL that the answer leads to."""
        session, asked = get_session(), {**headers, "Range": f"bytes={start}-{end - 1}"}
        asked["Accept-Encoding"] = "identity"
        request = session.build_request("GET", url, headers=asked, timeout=self._patience.timeout)

        parts: list[bytes] = []

        def get() -> Any:
            parts.clear()
            response = session.send(request, stream=True, follow_redirects=False)
            try:
                if not response.has_redirect_location:
                    if response.is_success:
                        tell("")  # the bytes come from here
                        wanted = end - start if response.status_code == 206 else end
                        parts.append(_read_at_most(response, wanted))
                    else:
                        response.read()  # it says why
                    if response.status_code != 416:
                        hf_raise_for_status(response)
            finally:
                response.close()
            return response

        what = f"{redacted(url)}, bytes {start} to {end}"
        response = persistently(get, what, self._patience, end - start, may_pass=may_pass)
        if response.has_redirect_location:
            return str(urljoin(url, response.headers["Location"]))
        if response.status_code == 416:
            return b""
        return parts[0] if response.status_code == 206 else parts[0][start:end]


def _read_at_most(response: Any, size: int) -> bytes:
    """The first bytes of an answer's body, however long it is."""
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) >= size:
            break
    return bytes(data[:size])


# --------------------------------------------------------------------------------------------------
# resizing.py. Pictures become arrays of a wanted size: photographs by DCT scaling, labels by nearest neighbour.
#
# A JPEG stores blocks of 8 x 8 pixels as frequencies. Its decoder can leave out the high ones, and
# give a picture of 1/8, 2/8, ... of the size in a fraction of the time (libjpeg's `scale_num`,
# libjpeg.txt, "Decompression parameter selection"). simplejpeg offers every eighth. Pillow's
# `Image.draft` offers 1/8, 1/4 and 1/2. What was decoded is then resized once, by Pillow's bilinear
# filter, whose support grows with the reduction.
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# arrays.py. Masks become a numpy array on the CPU, at any size.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Masks sampled by nearest neighbour, as runs.

    `runs` are of pictures of `height` rows that show each sampled column once. The column j of the
    result is their column `columns[j]`, and None means that they are the same.
    """

    runs: MaskRuns
    height: int
    columns: Ints | None

    def areas(self) -> Ints:
        """The pixels of each mask, (N,)."""
        segments = mask_segments(self.runs, self.height)
        sizes = segments.bottoms - segments.tops
        if self.columns is not None:
            sizes = sizes * np.bincount(self.columns)[segments.columns]
        sums = np.concatenate(([0], np.cumsum(sizes)))
        areas: Ints = np.diff(sums[segments.offsets])
        return areas

    def boxes(self) -> Ints:
        """The (x0, y0, x1, y1) of each mask, ends excluded, (N, 4); zeros for empty masks."""
        boxes = mask_boxes(self.runs, self.height)
        if self.columns is not None:
            boxes[:, ::2] = np.searchsorted(self.columns, boxes[:, ::2])
        return boxes

    def fill(self, out: npt.NDArray[Any], which: list[int], packed: bool = False) -> None:
        """Set the ones of mask k in out[which[k]], which is (h, w), or packed (h, ceil(w / 8))."""
        columns = self.columns
        for k, y0, x0, x1, bits in mask_bits(self.runs, self.height):
            target = out[which[k], y0 : y0 + len(bits)]
            if packed and columns is None:
                target[:, x0 // 8 : x0 // 8 + bits.shape[1]] = bits
                continue
            window = np.unpackbits(bits, axis=1, count=x1 - x0)
            if columns is None:
                target[:, x0:x1] = window
                continue
            first, stop = np.searchsorted(columns, (x0, x1))
            window = window[:, columns[first:stop] - x0]
            if packed:
                window = np.packbits(np.pad(window, ((0, 0), (first % 8, 0))), axis=1)
                target[:, first // 8 : first // 8 + window.shape[1]] = window
            else:
                target[:, first:stop] = window


def sample(runs: MaskRuns, full: tuple[int, int], rows: Ints, columns: Ints) -> Samples:
    """Masks that show the given rows and columns of masks of (height, width) `full`.

    `rows` and `columns` are in order, and may repeat. A boundary of a run moves to the number of
    sampled pixels before it. These are the sampled pixels of all columns before its own, and, if
    its own column is sampled, those of the rows above it.
    """
    once, shown = np.unique(columns, return_inverse=True)
    height, repeats = len(rows), len(once) < len(columns)
    rows_before = np.searchsorted(rows, np.arange(full[0]))
    columns_before = np.searchsorted(once, np.arange(full[1] + 2))
    sampled = np.diff(columns_before)

    def move(boundaries: Ints) -> Ints:
        at = boundaries // full[0]
        row = boundaries - at * full[0]
        moved: Ints = columns_before[at] * height + sampled[at] * rows_before[row]
        return moved

    starts, ends = move(runs.starts), move(runs.ends)
    keep = ends > starts
    kept = np.concatenate(([0], np.cumsum(keep)))
    left = MaskRuns(starts[keep], ends[keep], kept[runs.offsets], runs.problems)
    return Samples(left, height, shown if repeats else None)


def decode_to_array(
    masks: Segmentations, size: tuple[int, int], dtype: Any, packed: bool
) -> npt.NDArray[Any]:
    """Decode masks on the CPU.

    Parameters
    ----------
    masks
        N masks, whose own sizes may differ.
    size
        (h, w) in pixels: the size to sample to.
    dtype
        A numpy dtype; unused when `packed`.
    packed
        Whether each byte holds eight pixels, the leftmost in the highest bit.

    Returns
    -------
    numpy.ndarray
        (N, h, w) of 0 and 1, or (N, h, ceil(w / 8)) uint8 when `packed`.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed.
    """
    height, width = size
    if packed:
        out = np.zeros((len(masks.counts), height, (width + 7) // 8), np.uint8)
    else:
        out = np.zeros((len(masks.counts), height, width), dtype)
    for full, which in masks.by_size():
        runs = parse_rle([masks.counts[i] for i in which], full[0] * full[1])
        masks.refuse(runs.problems, which)
        samples = Samples(runs, height, None)
        if full != size:
            rows, columns = nearest(full[0], height, 0, height), nearest(full[1], width, 0, width)
            samples = sample(runs, full, rows, columns)
        samples.fill(out, which, packed)
    return out


# --------------------------------------------------------------------------------------------------
# boxes.py. Takes boxes and ranks of annotations in any form that `datasets` returns, without loss.
# --------------------------------------------------------------------------------------------------


_FLOATS = [float] * 4


def box_areas(annotations: Any) -> npt.NDArray[np.float64]:
    """The area of each annotation's box, `bbox[2] * bbox[3]`.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `decode_masks` takes.

    Returns
    -------
    numpy.ndarray
        (N,) float64, in square pixels.

    Raises
    ------
    AsamDatasetsError
        A bbox is not four finite numbers, or its dtype may have changed it: it holds float32 or
        less, and not only whole numbers.
    """
    try:
        ids, values = fields(annotations, "bbox")
        values = list(values)
        names = list(range(len(values)) if ids is None else ids)
        pairs = list(zip(names, values, strict=True))
    except UNREADABLE as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a bbox of "
            f"[x, y, width, height]: {error!r}"
        ) from error
    if all(type(value) is list and [*map(type, value)] == _FLOATS for value in values):
        boxes = np.array(values, np.float64).reshape(-1, 4)  # as a row without a format has them
    else:
        boxes = np.array([_box(name, value) for name, value in pairs], np.float64).reshape(-1, 4)
    for i in np.flatnonzero(~np.isfinite(boxes).all(axis=1))[:1].tolist():
        _refuse(*pairs[i])
    # Python multiplies to infinity where numpy warns.
    return np.array([width * height for _, _, width, height in boxes.tolist()], np.float64)


def stated_ranks(annotations: Any) -> npt.NDArray[np.int64] | None:
    """The rank that each annotation states, (N,) int64; None if not all of them state one.

    Raises
    ------
    AsamDatasetsError
        The ranks are no whole numbers.
    """
    try:
        _, values = fields(annotations, "rank")
        ranks = np.array([host_array(value) for value in values])
    except UNREADABLE:
        return None
    if not len(ranks):
        return None
    if ranks.ndim != 1 or ranks.dtype.kind not in "iu":
        raise AsamDatasetsError(
            f"annotations: each rank must be a whole number, found {ranks.dtype} of shape "
            f"{ranks.shape}"
        )
    return ranks.astype(np.int64)


def _box(name: Any, value: Any) -> npt.NDArray[Any]:
    """A bbox as four numbers that float64 holds, which may still be infinite or nan."""
    try:
        box = host_array(value)
    except UNREADABLE:
        _refuse(name, value)
    if box.shape != (4,) or box.dtype.kind not in "iuf":
        _refuse(name, value)
    if box.dtype.kind == "f" and box.dtype.itemsize < 8 and np.isfinite(box).all():
        # Up to this limit the dtype holds each whole number. A fraction, and what is above the
        # limit, may be the rounded form of another number.
        limit = 2.0 ** (np.finfo(box.dtype).nmant + 1)
        exact = box.astype(np.float64)
        if (exact != np.floor(exact)).any() or np.abs(exact).max() > limit:
            raise AsamDatasetsError(
                f"annotation {name}: its bbox {exact.tolist()} is {box.dtype} and may be rounded, "
                "which can change the order of the masks: take the row without a format, as by "
                "ds.with_format(None)"
            )
    return box


def _refuse(name: Any, value: Any) -> NoReturn:
    found = repr(value)
    found = found if len(found) <= 80 else f"{found[:77]}..."
    raise AsamDatasetsError(
        f"annotation {name}: bbox must be [x, y, width, height], four finite numbers, not {found}"
    )


# --------------------------------------------------------------------------------------------------
# edges.py. Where runs begin and end, on a device; numpy parses the strings and torch fills the masks.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edges:
    """Where runs of ones begin and end in turn, on a device.

    An edge is a pixel's number in column-major order. A pixel is 1 if an odd number of its mask's
    edges are at or before it. Mask i has H x W pixels and the edges from start to stop.
    """

    places: torch.Tensor  # (E,) int32, in order
    masks: torch.Tensor  # (N, 4) int64: start, stop, H, W


def parse_on_host(masks: Segmentations, device: torch.device) -> Edges:
    """Parse all strings with numpy, and copy the edges to the device.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed.
    """
    import torch

    places, table, total = [], np.empty((len(masks.counts), 4), np.int64), 0
    for (height, width), which in masks.by_size():
        runs = parse_rle([masks.counts[i] for i in which], height * width)
        masks.refuse(runs.problems, which)
        table[which, 0] = total + 2 * runs.offsets[:-1]
        table[which, 1] = total + 2 * runs.offsets[1:]
        table[which, 2:] = height, width
        places.append(np.stack((runs.starts, runs.ends), axis=1).reshape(-1))
        total += 2 * len(runs.starts)
    flat = np.concatenate(places).astype(np.int32)
    return Edges(torch.from_numpy(flat).to(device), torch.from_numpy(table).to(device))


def fill_by_search(out: torch.Tensor, edges: Edges, width: int, packed: bool) -> None:
    """Set the masks' pixels with torch alone; `out` is as `decode_to_tensor` returns it."""
    import torch

    height = out.shape[1]
    rows = 2 * torch.arange(height, device=out.device) + 1
    columns = 2 * torch.arange(width, device=out.device) + 1
    weights = 128 >> torch.arange(8, device=out.device)
    for i, (start, stop, full_height, full_width) in enumerate(edges.masks.tolist()):
        y = rows * full_height // (2 * height)
        x = columns * full_width // (2 * width)
        pixels = (x * full_height + y[:, None]).to(torch.int32)
        inside = torch.searchsorted(edges.places[start:stop], pixels, right=True) & 1
        if packed:
            inside = torch.nn.functional.pad(inside, (0, -width % 8)).view(height, -1, 8)
            inside = (inside * weights).sum(dim=2)
        out[i] = inside


# --------------------------------------------------------------------------------------------------
# shards.py. The shards of a config, as its index and the receipts of a build describe them.
# --------------------------------------------------------------------------------------------------


_MOST_SHARD_BYTES = 2**48


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard: a file of the config's folder. `batches` are those of an Arrow shard."""

    file: str
    rows: int
    bytes: int
    sha256: str
    batches: tuple[Batch, ...] = ()

    @classmethod
    def from_json(cls, node: Node, file: str, layout: Layout | None) -> Shard:
        """Check and take what an index or a receipt says of a shard.

        Parameters
        ----------
        node
            What it says.
        file
            The name that the shard must have.
        layout
            Of the config's schema. None for a Parquet shard, whose index lists no record batches.

        Raises
        ------
        ContractError
            A field is invalid, or the record batches don't add up to the shard.
        """
        node["file"].equal(file)
        size = node["bytes"].integer(1, _MOST_SHARD_BYTES)
        rows = node["rows"].integer(0, size)  # a row has more than one byte
        batches = []
        if layout is not None:
            end = 0
            for item in node["batches"].items():
                batches.append(Batch.from_json(item, layout, end, size))
                end = batches[-1].offset + batches[-1].body
            if (found := sum(batch.rows for batch in batches)) != rows:
                node["rows"].fail(f"{found}, the rows of its record batches")
        return cls(file, rows, size, node["sha256"].sha256(), tuple(batches))

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        found = {"file": self.file, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}
        batches = [batch.to_json() for batch in self.batches]
        return {**found, "batches": batches} if self.file.endswith(".arrow") else found


@dataclass(frozen=True, slots=True)
class Split:
    """A split: its shards in order."""

    name: str
    shards: tuple[Shard, ...]

    @property
    def num_rows(self) -> int:
        """The rows of all its shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """The bytes of all its shards."""
        return sum(shard.bytes for shard in self.shards)

    @classmethod
    def from_json(cls, node: Node, name: str, fmt: str, layout: Layout | None) -> Split:
        """Check and take what an index says of a split; raises ContractError."""
        if len(name) > LONGEST_NAME or not SPLIT_NAME.fullmatch(name):
            node.fail("a split whose name is words joined by dots, and is not 'all'")
        items = node["shards"].items()
        if not items:
            node["shards"].fail("at least one shard")
        names = (shard_name(name, i, len(items), fmt) for i in range(len(items)))
        shards = tuple(Shard.from_json(x, n, layout) for x, n in zip(items, names, strict=True))
        split = cls(name, shards)
        node["num_rows"].equal(split.num_rows)
        node["num_bytes"].equal(split.num_bytes)
        return split

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        shards = [shard.to_json() for shard in self.shards]
        return {"num_rows": self.num_rows, "num_bytes": self.num_bytes, "shards": shards}


@dataclass(frozen=True, slots=True)
class Place:
    """A record batch, the path of its shard in the dist, and its number there."""

    path: str
    number: int
    batch: Batch

    @property
    def rows(self) -> int:
        """The rows of the record batch."""
        return self.batch.rows


# --------------------------------------------------------------------------------------------------
# format1.py. Converts an index of format 1 to format 2.
#
# Format 1 had no checksum, and described record batches differently: by the Arrow library's own
# message (zlib, then base64), and by the start, length and crc32 of each column. It also held the
# schema as a message. That one is ignored here, because the config's kind says what the columns are.
# --------------------------------------------------------------------------------------------------


_LONGEST_MESSAGE = 1 << 20  # bytes; those of both schemas have less than 4 kB


def upgraded(node: Node) -> Node:
    """An index of format 1 in the form of format 2.

    Raises
    ------
    ContractError
        The description of a record batch is malformed or contradicts itself.
    """
    features = features_of(node["kind"].choice(*KINDS))
    layout = Layout(features.arrow_schema)
    arrow = node["format"].value == "arrow"
    splits = {}
    for name, split in node["splits"].members().items():
        shards = []
        for shard in split["shards"].items():
            entry = dict(shard.mapping())
            if arrow:
                batches = shard["batches"].items()
                entry["batches"] = [_batch(batch, layout).to_json() for batch in batches]
            shards.append(entry)
        splits[name] = {**split.mapping(), "shards": shards}
    document = {**node.mapping(), "features": features_to_json(features), "splits": splits}
    return Node(node.file, "", document)


def _batch(node: Node, layout: Layout) -> Batch:
    head = _inflated(node["message"], node["metadata"].integer(8, _LONGEST_MESSAGE))
    try:
        lengths, nulls, buffers = read_message(head)
    except ValueError as error:
        node["message"].fail(f"a record batch's message ({error})")
    columns = [tuple(column.integers(3, 0, 2**53)) for column in node["columns"].items()]
    batch = Batch(
        rows=node["rows"].integer(0),
        offset=node["offset"].integer(0) + len(head),
        body=node["body"].integer(0),
        lengths=tuple(lengths),
        nulls=tuple(nulls),
        buffers=tuple(length for _, length in buffers),
        crc32=tuple(crc32 for _, _, crc32 in columns),
    )
    if len(buffers) != layout.buffers[-1] or min(batch.buffers) < 0:
        node["message"].fail(f"a message of {layout.buffers[-1]} buffers")
    if [start for start, _ in buffers] != batch.starts():
        node["message"].fail(f"buffers that follow each other at multiples of {ALIGNMENT} bytes")
    found = [(start, length) if length else (0, 0) for start, length in batch.columns(layout)]
    if found != [(start, length) for start, length, _ in columns]:
        node["columns"].fail(f"the columns of its message, {found}")
    return batch


def _inflated(node: Node, size: int) -> bytes:
    """A message that inflates to `size` bytes; it is never inflated further than that."""
    text = node.text()
    try:
        inflater = zlib.decompressobj()
        head = inflater.decompress(base64.b64decode(text, validate=True), size)
    except (ValueError, zlib.error) as error:
        node.fail(f"base64 of zlib ({error})")
    if len(head) != size or not inflater.eof or inflater.unused_data:
        node.fail(f"a message of {size} bytes")
    return head


# --------------------------------------------------------------------------------------------------
# stores.py. The places that a dist is read from: a folder, a URL that fsspec opens, a repo on the Hub.
# --------------------------------------------------------------------------------------------------


_COMMIT = re.compile(r"[0-9a-f]{40}")


class Files:
    """A dist that fsspec reads: a folder, or a URL such as s3://bucket/dist.

    Raises
    ------
    UnreachableError
        fsspec can't open such a URL.
    """

    def __init__(self, root: str, patience: Patience = PATIENT) -> None:
        remember(root)
        self.url, self.name = root, redacted(root)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:  # no such protocol, or its package is absent
            raise UnreachableError(f"{root}: can't be read: {error}") from hide_in(error)
        self.is_local = "file" in self._fs.protocol
        self._patience = patience

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        UnreachableError
            It can't be read.
        """
        where = posixpath.join(self._root, path)
        if self.is_local:
            return bytes(self._fs.cat_file(where, start, end))
        if start is not None and end is not None:
            size = end - start
        else:
            size = self._ask(path, lambda: self._fs.size(where)) or 0
        return self._ask(path, lambda: bytes(self._fs.cat_file(where, start, end)), size)

    def _ask(self, path: str, call: Callable[[], T], size: int = 0) -> T:
        what = f"{self.name}/{path}"
        try:
            return persistently(
                call, what, self._patience, size, may_pass=lambda e: not isinstance(e, LASTING)
            )
        except (AsamDatasetsError, FileNotFoundError):
            raise
        except Exception as error:  # whatever the transport raises
            raise UnreachableError(f"{what} can't be read: {error!r}; try again") from error

    def local(self, path: str) -> str:
        """The file's path on this machine; of use where `is_local`."""
        return posixpath.join(self._root, path)

    def fetch(self, path: str, check: Callable[[int], object]) -> bytes:
        """A whole file, after `check` was called with its size."""
        where = posixpath.join(self._root, path)
        size = self._ask(path, lambda: self._fs.size(where)) or 0
        check(size)
        return self._ask(path, lambda: bytes(self._fs.cat_file(where)), size)

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it."""
        where = posixpath.join(self._root, path)
        if self.is_local:
            return cast(BinaryIO, self._fs.open(where))
        file = self._ask(path, lambda: self._fs.open(where))
        return cast(BinaryIO, PatientFile(file, f"{self.name}/{path}", self._patience))

    def configs(self) -> list[str]:
        """The configs that are there."""
        folder = posixpath.join(self._root, "data")
        try:
            found = self._ask("data", lambda: self._fs.ls(folder, detail=True))
        except FileNotFoundError:
            return []
        folders = (e["name"] for e in found if e["type"] == "directory" or self._leads_on(e))
        return sorted(map(posixpath.basename, folders))

    def _leads_on(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of a listing is a link to a folder."""
        return entry["type"] != "file" and bool(self._fs.isdir(entry["name"]))


class Hub:
    """A dataset repo on the Hub. All files are read at the commit of the first one."""

    def __init__(
        self, repo_id: str, revision: str | None, token: str | bool | None, patience: Patience
    ) -> None:
        self.name = f"hf://datasets/{repo_id}" + (f"@{quote(revision, '')}" if revision else "")
        self.url = self.name
        self._repo: dict[str, Any] = {"repo_id": repo_id, "repo_type": "dataset"}
        self._revision = revision
        self._token = token
        self._patience = patience
        self._ranges = Ranges(patience)
        self.is_local = False
        redact_logs_of_the_hub()

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before."""
        if start is None or end is None:
            return Path(self.local(path)).read_bytes()
        url = hf_hub_url(filename=path, revision=self._revision, **self._repo)
        headers = build_hf_headers(token=self._token)
        try:
            return self._ranges.read(url, headers, start, end)
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.name}/{path} is not there") from error

    def local(self, path: str) -> str:
        """The file's path on this machine, downloaded if it isn't in the cache.

        Raises
        ------
        FileNotFoundError
            The repo has no such file.
        UnreachableError
            It can't be read.
        """
        what = f"{self.name}/{path}"
        if _COMMIT.fullmatch(self._revision or "") and (found := self._cached(path)):
            return found
        got = self._or_cached(path, lambda: self._download(path, what))
        if isinstance(got, Path):
            return str(got)
        # The cache's layout is documented: snapshots/<commit>/<path>.
        self._revision = Path(got).parents[path.count("/")].name
        return got

    def fetch(self, path: str, check: Callable[[int], object]) -> bytes:
        """A whole file by one request. It is not kept in the cache, but read from there if need be.

        Parameters
        ----------
        path
            The file's path in the repo.
        check
            Called with the number of bytes, before they are read; raises if they are too many.

        Raises
        ------
        FileNotFoundError
            The repo has no such file.
        UnreachableError
            It can't be read.
        """
        what = f"{self.name}/{path}"
        if _COMMIT.fullmatch(self._revision or "") and (found := self._cached(path)):
            got: bytes | Path = Path(found)
        else:
            got = self._or_cached(path, lambda: self._whole(path, what, check))
        if isinstance(got, Path):
            check(got.stat().st_size)
            return got.read_bytes()
        return got

    def _or_cached(self, path: str, call: Callable[[], T]) -> T | Path:
        """What a request gives; the cached file's path if the Hub can't be reached."""
        what = f"{self.name}/{path}"
        try:
            return call()
        except ContractError:
            raise
        except AsamDatasetsError as error:
            if found := self._cached(path):
                LOG.warning("%s; what the cache has is used", error)
                return Path(found)
            raise
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{what} is not there") from error
        except Exception as error:  # the Hub's answer, or whatever the transport raises
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            if not refused and (found := self._cached(path)):
                return Path(found)
            raise UnreachableError(
                f"{what} can't be read: {error!r}; "
                + (
                    "if it exists, log in with `hf auth login` or pass token="
                    if refused
                    else "try again: what is complete stays in the cache"
                )
            ) from error

    def _whole(self, path: str, what: str, check: Callable[[int], object]) -> bytes:
        """A whole file by one request, repeated if need be. Later files are of its commit."""
        session, patience = get_session(), self._patience
        request = session.build_request(
            "GET",
            hf_hub_url(filename=path, revision=self._revision, **self._repo),
            headers={**build_hf_headers(token=self._token), "Accept-Encoding": "identity"},
            timeout=patience.timeout,
        )

        def body(response: Any) -> bytes:
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                check(len(data))
            return bytes(data)

        def get() -> bytes:
            response = within(patience.deadline(), what, lambda: session.send(request, stream=True))
            try:
                if response.is_error:
                    within(patience.deadline(), what, response.read)  # it says why
                hf_raise_for_status(response)
                size = int(response.headers.get("Content-Length", 0))
                check(size)
                data = within(patience.deadline(size), what, body, response)
            finally:
                response.close()
            for answer in (*response.history, response):
                if commit := answer.headers.get(HUGGINGFACE_HEADER_X_REPO_COMMIT):
                    self._revision = commit
                    break
            return data

        return repeatedly(get, what, patience, may_pass=may_pass)

    def _download(self, path: str, what: str) -> str:
        url = hf_hub_url(filename=path, revision=self._revision, **self._repo)
        timeout = self._patience.timeout
        stated = persistently(
            lambda: get_hf_file_metadata(url, token=self._token, timeout=timeout),
            what,
            self._patience,
            may_pass=may_pass,
        )
        if found := self._cached(path, stated.commit_hash):
            return found
        asked = {**self._repo, "filename": path, "revision": self._revision, "token": self._token}
        size = stated.size or 0
        return repeatedly(
            lambda: download(asked, what, self._patience, size),
            what,
            self._patience,
            may_pass=may_be_had_later,
        )

    def _cached(self, path: str, commit: str | None = None) -> str | None:
        found = try_to_load_from_cache(
            filename=path, revision=commit or self._revision, **self._repo
        )
        return found if isinstance(found, str) else None

    def open(self, path: str) -> BinaryIO:
        """A file to read from anywhere in it; no byte is read that isn't asked for."""
        url = f"hf://datasets/{self._repo['repo_id']}@{quote(self._revision or 'main', '')}/{path}"
        what = f"{self.name}/{path}"
        file = persistently(
            lambda: HfFileSystem(token=self._token).open(url, cache_type="none"),
            what,
            self._patience,
            may_pass=may_pass,
        )
        return cast(BinaryIO, PatientFile(file, what, self._patience))

    def configs(self) -> list[str]:
        """The configs that are there; raises UnreachableError."""
        try:
            files = persistently(
                lambda: HfApi(token=self._token).list_repo_files(
                    revision=self._revision, **self._repo
                ),
                f"the list of files of {self.name}",
                self._patience,
                may_pass=may_pass,
            )
        except AsamDatasetsError:
            raise
        except Exception as error:  # the Hub's answer, or whatever the transport raises
            raise UnreachableError(f"{self.name} can't be listed: {error!r}") from error
        return sorted({path.split("/")[1] for path in files if re.match("data/[^/]+/index", path)})


def open_store(
    repo_or_path: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    patience: Patience = PATIENT,
) -> Files | Hub:
    """Where a dist is: a folder, a repo "owner/name", or a URL that fsspec opens.

    A folder wins over a repo of the same name, with a warning, as in `load_dataset`.
    hf://datasets/owner/name[@revision] always means the Hub.

    Parameters
    ----------
    repo_or_path
        The folder, repo or URL.
    revision, token
        The Hub's; None is main, and the token of the usual login.
    patience
        How long a request may take, and how often it is repeated.

    Raises
    ------
    UnknownNameError
        The text is neither a folder nor the form of a repo's name or URL.
    """
    where = str(repo_or_path)
    repo = re.fullmatch(r"(hf://datasets/)?([\w-][\w.-]*/[\w.-]+?)(?:@([^/]+))?/?", where)
    if repo and repo[1]:
        return Hub(repo[2], unquote(repo[3]) if repo[3] else revision, token, patience)
    if "://" in where:
        return Files(where, patience)
    folder = Path(where).expanduser()
    if folder.is_dir():
        if repo and isinstance(repo_or_path, str):
            LOG.warning("reading the folder %s; hf://datasets/%s is the Hub's repo", where, where)
        return Files(str(folder.resolve()))
    if repo and isinstance(repo_or_path, str):
        return Hub(where, revision, token, patience)
    raise UnknownNameError(
        f"{where}: no such folder, and it is no repo named owner/name and no URL such as "
        "s3://bucket/dist"
    )


# --------------------------------------------------------------------------------------------------
# control.py. The control image, and the order in which ASAM numbers and paints the masks of an image.
#
# Both are as in utils/sam_uncover_mask.py and utils/sam_control_signal.py of
# github.com/hkxiao/ASAM. They were in github.com/luckybird1994/ASAM too, until its commit 22c1221.
# --------------------------------------------------------------------------------------------------


_COLORS = 2**24 - 1  # of RGB, without black: more masks would share colours


def mask_order(annotations: Any) -> npt.NDArray[np.int64]:
    """The order in which ASAM numbers the masks of an image: the largest box first.

    The rank of a mask is its place in this order. ASAM writes the mask of rank j as
    `segmentation_j.png`, and gives it the j-th colour of the control image. The order is descending
    by `bbox[2] * bbox[3]`. Annotations whose boxes are equally large keep their order.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `decode_masks` takes. Of each annotation only
        `bbox` is read: [x, y, width, height] in pixels. `datasets` returns float32 with the formats
        "numpy" and "torch". Such boxes are taken if they are whole numbers. Where each annotation
        has a `rank`, as in rows of `load(size=...)`, only that is read: the boxes of such rows are
        those of a small picture, and could be in another order.

    Returns
    -------
    numpy.ndarray
        (N,) int64. Element j is the position in `annotations` of the mask of rank j, so
        `decode_masks(annotations)[mask_order(annotations)]` holds the masks as ASAM numbers them.
        `numpy.argsort(mask_order(annotations))` is the inverse: the rank of each annotation.

    Raises
    ------
    AsamDatasetsError
        A `rank` is no whole number. Or an annotation has no `bbox` of four finite numbers, or its
        `bbox` is of float32 or less and not of whole numbers. Such a box was rounded, and the order
        could be another.

    Examples
    --------
    >>> mask_order([{"bbox": [0, 0, 2, 3]}, {"bbox": [5, 5, 9, 9]}]).tolist()
    [1, 0]
    """
    if (ranks := stated_ranks(annotations)) is not None:
        return np.argsort(ranks, kind="stable")
    return np.argsort(-box_areas(annotations), kind="stable")


def control_colors(n: int) -> npt.NDArray[np.uint8]:
    """The colours of n masks in a control image, by rank (see `mask_order`).

    Rank j has pos = int((2**24 - 1) * (j + 1) / n) and the colour
    (pos % 256, pos // 256 % 256, pos // 65536), as in ASAM's sam_control_signal.py.

    Parameters
    ----------
    n
        How many masks the image has: a whole number from 0 to 2**24 - 1.

    Returns
    -------
    numpy.ndarray
        (n, 3) uint8, RGB.

    Raises
    ------
    AsamDatasetsError
        `n` is no such number.

    Examples
    --------
    >>> control_colors(2).tolist()
    [[255, 255, 127], [255, 255, 255]]
    """
    try:
        number = operator.index(n)
    except TypeError:
        number = -1
    if not 0 <= number <= _COLORS:
        raise AsamDatasetsError(f"n must be a whole number from 0 to {_COLORS}, not {n!r}")
    # Integers are exact. The recipe divides floats, which gives the same for n below 2**28: the
    # quotient is at least 1 / n below the next integer, and rounding changes it by less than that.
    positions = _COLORS * np.arange(1, number + 1, dtype=np.int64) // max(number, 1)
    return np.stack([positions >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def decode_control(rgb: Any, annotations: Any) -> npt.NDArray[np.int32]:
    """The annotation that each pixel of a control image shows.

    Where masks overlap, a control image shows the one of the highest rank: that with the smallest
    box (see `mask_order`).

    Parameters
    ----------
    rgb
        The control image: a PIL image of any mode, such as `row["conditioning_image"]`, or an array
        or tensor (H, W, 3) of integers from 0 to 255.
    annotations
        The same row's `annotations` column in any form that `decode_masks` takes: all of them, in
        the row's order.

    Returns
    -------
    numpy.ndarray
        (H, W) int32: the position in `annotations`, or -1 for pixels of no mask.

    Raises
    ------
    AsamDatasetsError
        The control image is none of these, a colour belongs to none of the masks, or `mask_order`
        refuses a `bbox`.

    Examples
    --------
    A row of three pixels: the background, then the mask of the smaller box, then the other one.

    >>> annotations = [{"bbox": [1, 0, 1, 1]}, {"bbox": [0, 0, 3, 1]}]
    >>> larger, smaller = control_colors(2)
    >>> decode_control([[(0, 0, 0), smaller, larger]], annotations).tolist()
    [[-1, 0, 1]]
    """
    order = mask_order(annotations)
    pixels = _rgb(rgb)
    values = pixels[..., 0].astype(np.int32)
    values |= np.left_shift(pixels[..., 1], 8, dtype=np.int32)
    values |= np.left_shift(pixels[..., 2], 16, dtype=np.int32)
    flat = values.reshape(-1)  # as runs of one colour, of which there are few
    begins = np.flatnonzero(np.diff(flat, prepend=-1))
    positions = np.append(order, -1)[_ranks(flat[begins], len(order))].astype(np.int32)
    lengths = np.diff(begins, append=len(flat))
    return np.repeat(positions, lengths).reshape(values.shape)


def _rgb(image: Any) -> npt.NDArray[np.uint8]:
    """The pixels of a control image, (H, W, 3) uint8."""
    try:
        pixels = host_array(image.convert("RGB") if isinstance(image, Image.Image) else image)
    except (*UNREADABLE, OSError) as error:
        raise AsamDatasetsError(f"the control image can't be read: {error!r}") from error
    found = None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind not in "iu":
        found = f"{type(image).__name__}, {pixels.dtype} of shape {pixels.shape}"
    elif (low := pixels.min(initial=0)) < 0 or (high := pixels.max(initial=0)) > 255:
        found = f"a value of {low if low < 0 else high}"
    if found:
        raise AsamDatasetsError(
            "the control image must be (H, W, 3) RGB, integers from 0 to 255: "
            f"image.convert('RGB'); found {found}"
        )
    return pixels.astype(np.uint8, copy=False)


def _ranks(shown: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int64]:
    """The rank of each colour among those of n masks; -1 for black.

    Raises
    ------
    AsamDatasetsError
        A colour belongs to none of them.
    """
    ranks = -(shown.astype(np.int64) * -n // _COLORS) - 1  # rounded up: undoes the rounding
    colors = control_colors(n).astype(np.int64) @ [1, 256, 65536]
    known = (ranks >= 0) & (ranks < n)
    known[known] = colors[ranks[known]] == shown[known]
    if len(wrong := shown[~known & (shown != 0)]):
        color = tuple(int(wrong[0]) >> shift & 255 for shift in (0, 8, 16))
        raise AsamDatasetsError(f"the colour {color} belongs to none of {n} masks")
    return ranks


# --------------------------------------------------------------------------------------------------
# device.py. Masks become a torch tensor on a device.
#
# Where Triton is installed, two kernels do this on CUDA. Elsewhere numpy parses the RLE strings and
# torch fills the masks.
# --------------------------------------------------------------------------------------------------


def decode_to_tensor(
    masks: Segmentations,
    size: tuple[int, int],
    dtype: Any,
    device: str | torch.device,
    packed: bool,
) -> torch.Tensor:
    """Decode masks into a tensor on a device.

    Parameters
    ----------
    masks, size, packed
        As for `decode_to_array`.
    dtype
        A torch or numpy dtype; unused when `packed`.
    device
        Such as "cuda".

    Returns
    -------
    torch.Tensor
        (N, h, w) of 0 and 1, or (N, h, ceil(w / 8)) uint8 when `packed`.

    Raises
    ------
    AsamDatasetsError
        torch is not installed, the device is not there, or an RLE is malformed.
    """
    try:
        import torch
    except ImportError as error:
        raise AsamDatasetsError(
            "decode_masks with a device needs the package torch: pip install torch"
        ) from error
    where = torch.device(device)
    if not isinstance(dtype, torch.dtype):
        dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    if where.type == "cpu":  # numpy is the fastest way there
        kind = np.uint8 if packed else torch.empty(0, dtype=dtype).numpy().dtype
        return torch.from_numpy(decode_to_array(masks, size, kind, packed))
    if where.type == "cuda" and not torch.cuda.is_available():
        raise AsamDatasetsError(f"decode_masks: no CUDA device here for device={str(device)!r}")
    height, width = size
    shape = (len(masks.counts), height, (width + 7) // 8 if packed else width)
    # This comes first: the GPU writes the zeros while this thread collects the strings.
    out = torch.zeros(shape, dtype=torch.uint8 if packed else dtype, device=where)
    if out.numel():
        parse, fill = parser_and_filler(where)
        fill(out, parse(masks, where), width, packed)
    return out


def parser_and_filler(
    device: torch.device,
) -> tuple[
    Callable[[Segmentations, torch.device], Edges],
    Callable[[torch.Tensor, Edges, int, bool], None],
]:
    """The two functions that decode on a device.

    The first parses the RLE strings into edges. The second takes a tensor of zeros, (N, h, w), and
    sets the pixels of the masks to 1.
    """
    if (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and (kernels := _kernels()) is not None
    ):
        return kernels.parse_by_kernel, kernels.fill_by_kernel
    return parse_on_host, fill_by_search


@functools.cache
def _kernels() -> Any:
    """The module of the Triton kernels; None in the published file, which has no such module."""
    if __package__ == "asam_datasets":
        return importlib.import_module("asam_datasets.kernels")
    logging.getLogger("asam_datasets").warning(
        "decode_masks: this single file has no Triton kernels, so torch alone fills the masks, "
        "which takes longer. The project's package has them: run `pip install .` in its checkout"
    )
    return None


# --------------------------------------------------------------------------------------------------
# index.py. A config's index.json: what the config holds.
#
# It lists the shards with their size and sha256. For an Arrow shard it also says where each record
# batch lies, with a crc32 of each column. So a reader fetches only the bytes of the columns that it
# wants.
#
# The file may come from anyone. `parse_index` checks every field, and raises ContractError for any
# fault. What it returns is safe to use: every name stays inside the config's folder, every number
# inside its file, and all sums add up.
# --------------------------------------------------------------------------------------------------


FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """What a config's build counted.

    `rejects` counts by their reason, `unknown_keys` the keys that no schema documents.
    `orientation_reset` counts the images whose EXIF orientation was set to 1.
    """

    images: int
    masks: int
    captions_missing: int
    rejects: Mapping[str, int]
    unknown_keys: Mapping[str, int]
    orientation_reset: int = 0

    @classmethod
    def from_json(cls, node: Node) -> Counts:
        """Check and take an index's counts; raises ContractError."""
        return cls(
            images=node["images"].integer(0),
            masks=node["masks"].integer(0),
            captions_missing=node["captions_missing"].integer(0),
            rejects=node["rejects"].counts(),
            unknown_keys=node["unknown_keys"].counts(),
            orientation_reset=node.count("orientation_reset"),
        )

    def to_json(self) -> dict[str, Any]:
        """As the index holds them."""
        return {
            "images": self.images,
            "masks": self.masks,
            "captions_missing": self.captions_missing,
            "rejects": dict(self.rejects),
            "unknown_keys": dict(self.unknown_keys),
            "orientation_reset": self.orientation_reset,
        }


@dataclass(frozen=True, slots=True)
class Rejects:
    """The config's rejects.jsonl: how many lines it has, and its sha256."""

    rows: int
    sha256: str

    @classmethod
    def from_json(cls, node: Node) -> Rejects:
        """Check and take what an index says of the table; raises ContractError."""
        return cls(node["rows"].integer(0), node["sha256"].sha256())

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        return {"rows": self.rows, "sha256": self.sha256}


@dataclass(frozen=True)
class Index:
    """What a config holds.

    Parameters
    ----------
    config, kind, format
        The config's name, "train" or "eval", "arrow" or "parquet".
    features
        The columns of its rows.
    annotations_only
        Whether its rows have no pixels.
    source
        What identifies the input: its `name`, and other strings, integers, booleans and nulls.
    settings
        The settings of the build. A build with other settings starts anew.
    code_version
        The version of the project that built it.
    counts, rejects, splits
        What the build counted, the table of rejects, and the shards by split.
    name
        The file that the index was read from, for messages.
    sha256
        The checksum of the index's content. Different indexes have different checksums.
    format_version
        The format of the file that the index was read from.
    """

    config: str
    kind: str
    format: str
    features: datasets.Features
    annotations_only: bool
    source: Mapping[str, Any]
    settings: Mapping[str, Any]
    code_version: str
    counts: Counts
    rejects: Rejects
    splits: Mapping[str, Split]
    name: str = field(default="", compare=False)
    sha256: str = field(default="", compare=False)
    format_version: int = field(default=FORMAT_VERSION, compare=False)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its rows."""
        return self.features.arrow_schema

    @cached_property
    def layout(self) -> Layout:
        """How its record batches are made up of arrays and buffers."""
        return Layout(self.schema)

    @cached_property
    def settings_sha256(self) -> str:
        """The checksum of its settings; the receipts of its build state the same one."""
        return sha256_json(self.settings)

    @property
    def sample(self) -> bool:
        """Whether it was built from the sample that this project makes by code."""
        return self.settings.get("sample") is True

    @property
    def source_name(self) -> str:
        """The name of the tar, folder or release that it was built from."""
        return str(self.source["name"])

    @property
    def captions_model(self) -> str | None:
        """Which model and preset made its captions, where that is recorded."""
        found = self.settings.get("captions_model")
        return found if isinstance(found, str) else None

    @property
    def shards(self) -> list[Shard]:
        """The shards of all splits."""
        return [shard for split in self.splits.values() for shard in split.shards]

    @property
    def num_rows(self) -> int:
        """The rows of all splits."""
        return sum(split.num_rows for split in self.splits.values())

    @property
    def num_bytes(self) -> int:
        """The bytes of all shards."""
        return sum(split.num_bytes for split in self.splits.values())

    def split(self, name: str | None) -> Split:
        """The split of that name; None is the only one. Raises UnknownNameError."""
        if name is None and len(self.splits) == 1:
            return next(iter(self.splits.values()))
        if name is None or name not in self.splits:
            raise unknown_name("split", name, self.splits, self.name)
        return self.splits[name]

    def columns(self, names: Sequence[str] | None) -> list[str]:
        """The columns of those names, each once; None is all. Raises UnknownNameError."""
        if isinstance(names, str):
            raise UnknownNameError(f"columns: expected a list of names, such as [{names!r}]")
        if names is not None and not (isinstance(names, Collection) and names):
            raise UnknownNameError(
                f"columns: expected a list of names, or None for all columns, found {names!r}"
            )
        for name in names or ():
            if name not in self.features:
                raise unknown_name("column", name, self.features, f"config {self.config}")
        return list(dict.fromkeys(names or self.features))

    def path(self, shard: Shard) -> str:
        """Where a shard stands in the dist."""
        return f"data/{self.config}/{shard.file}"

    def places(self, shards: Sequence[Shard]) -> list[Place]:
        """The record batches of Arrow shards, in order."""
        return [
            Place(self.path(shard), number, batch)
            for shard in shards
            for number, batch in enumerate(shard.batches)
        ]

    @classmethod
    def from_json(cls, node: Node, config: str) -> Index:
        """Check and take an index of format 2. The caller has checked its checksum.

        Parameters
        ----------
        node
            The document.
        config
            The name that the config must have.

        Raises
        ------
        ContractError
            A field is invalid or contradicts another.
        """
        if len(config) > LONGEST_NAME or not CONFIG_NAME.fullmatch(config):
            node["config"].fail("letters, digits, '_', '.' and '-', after a letter or digit")
        node["config"].equal(config)
        fmt = node["format"].choice(*FORMATS)
        features = features_from_json(node["features"])
        kind = node["kind"].choice(*KINDS)
        check_columns(node["features"], features, kind)
        layout = Layout(features.arrow_schema) if fmt == "arrow" else None
        index = cls(
            config=config,
            kind=kind,
            format=fmt,
            features=features,
            annotations_only=node["annotations_only"].flag(),
            source=source_from_json(node["source"]),
            settings=node["settings"].mapping(),
            code_version=node["code_version"].text(),
            counts=Counts.from_json(node["counts"]),
            rejects=Rejects.from_json(node["rejects"]),
            splits={
                name: Split.from_json(split, name, fmt, layout)
                for name, split in node["splits"].members().items()
            },
            name=node.file,
        )
        node["settings_sha256"].equal(index.settings_sha256)
        node["settings"]["format"].equal(fmt)
        node["counts"]["images"].equal(index.num_rows)
        node["rejects"]["rows"].equal(sum(index.counts.rejects.values()))
        return index

    def to_json(self) -> dict[str, Any]:
        """As the file holds it, with its checksum."""
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "config": self.config,
                "kind": self.kind,
                "format": self.format,
                "features": features_to_json(self.features),
                "annotations_only": self.annotations_only,
                "source": dict(self.source),
                "settings": dict(self.settings),
                "settings_sha256": self.settings_sha256,
                "code_version": self.code_version,
                "counts": self.counts.to_json(),
                "rejects": self.rejects.to_json(),
                "splits": {name: split.to_json() for name, split in self.splits.items()},
            }
        )


def source_from_json(node: Node) -> dict[str, Any]:
    """What identifies an input: plain values, one of them its name. Raises ContractError."""
    node["name"].text()
    for member in node.members().values():
        if not isinstance(member.value, str | int | None):
            member.fail("a string, an integer, true, false or null")
    return node.mapping()


def parse_index(content: bytes, name: str, config: str) -> Index:
    """The index that a file holds.

    Parameters
    ----------
    content
        The file's bytes.
    name
        Where the file is, for messages.
    config
        The name that the config must have.

    Raises
    ------
    ContractError
        The file is not a valid index of that config.
    """
    node, version = read_document(content, name, FORMAT_VERSION)
    if version > 1:
        return replace(Index.from_json(node, config), sha256=node["sha256"].sha256())
    index = Index.from_json(upgraded(node), config)
    control = "; its control images are not ASAM's, so decode_control names the wrong masks"
    LOG.warning(
        "%s is of format 1, which had no checksum of its own%s: build the config again",
        name,
        control if index.kind == "train" else "",
    )
    return replace(index, sha256=hashlib.sha256(content).hexdigest(), format_version=version)


def open_index(store: Files | Hub, config: str, *, keep: bool = True) -> Index:
    """The index of a config of a dist.

    Parameters
    ----------
    store
        Where the dist is.
    config
        The config's name.
    keep
        Whether a repo's index is kept in the Hub's cache, where it can be read later without a
        network. Without that, one request gives it, and no process is started.

    Raises
    ------
    UnknownNameError
        The dist holds no such config.
    ContractError
        It has no index, or one that can't be used.
    UnreachableError
        It can't be read.
    """
    path = f"data/{config}/index.json"
    name = f"{store.name}/{path}"
    if not CONFIG_NAME.fullmatch(config):
        raise unknown_name("config", config, store.configs(), store.name)
    try:
        if keep and isinstance(store, Hub):
            store.local(path)  # puts it in the cache
        return parse_index(store.fetch(path, lambda size: check_size(size, name)), name, config)
    except FileNotFoundError as error:
        if config in (known := store.configs()):
            raise ContractError(f"{name} is not there: get it, or build the config") from error
        raise unknown_name("config", config, known, store.name) from None


# --------------------------------------------------------------------------------------------------
# decode.py. `decode_masks`: the masks of a row, straight from their RLE.
# --------------------------------------------------------------------------------------------------


@overload
def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    device: None = None,
    *,
    packed: bool = False,
) -> npt.NDArray[Any]: ...


@overload
def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    *,
    device: str | torch.device,
    packed: bool = False,
) -> torch.Tensor: ...


def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: Any = np.uint8,
    device: str | torch.device | None = None,
    *,
    packed: bool = False,
) -> npt.NDArray[Any] | torch.Tensor:
    """The masks of a row's `annotations` as an array of 0 and 1, straight from their RLE.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `datasets` returns: a list of dicts (values
        plain, numpy or torch), a dict of lists, or pyarrow or pandas, also as the column of one row
        that the formats "arrow" and "pandas" return. The annotations of several rows may be
        concatenated. On a GPU one call for a whole batch is fastest.
    size
        (h, w) to sample to, nearest neighbour at pixel centres: row i shows the source's row
        floor((i + 0.5) * H / h). The full-size bitmaps are never made. Defaults to the masks' own
        size, which must then be the same for all.
    dtype
        A numpy dtype, or with a device also torch's. Defaults to uint8.
    device
        The torch device to decode on, such as "cuda". It needs torch. On CUDA it uses Triton where
        that is installed. Defaults to None: the result is a numpy array.
    packed
        Give bits instead, as `np.packbits(masks, axis=-1)` does: (N, h, ceil(w / 8)) uint8.
        Defaults to False.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        (N, H, W) or (N, h, w). Without annotations (0, h, w), or (0, 0, 0) when no size is known.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed (the annotation's id is named), sizes differ and `size` is None, or the
        device can't be used.

    Examples
    --------
    >>> decode_masks([{"id": 7, "segmentation": {"size": [2, 3], "counts": "114"}}]).tolist()
    [[[0, 0, 0], [1, 0, 0]]]
    """
    masks = segmentations(annotations)
    height, width = masks.output_size(size)
    if device is not None:
        return decode_to_tensor(masks, (height, width), dtype, device, packed)
    return decode_to_array(masks, (height, width), dtype, packed)


# --------------------------------------------------------------------------------------------------
# reading.py. Reads columns of record batches, checks them, and fetches the next batches ahead of time.
# --------------------------------------------------------------------------------------------------


# Columns that lie near each other are read by one request. For that, at most so many unwanted bytes
# of a record batch are read.
GAP_BYTES = 16 << 10
# How much is fetched ahead while a batch is consumed: four batches of 8 MiB, or 16 small ones, for
# which latency is most of the time.
AHEAD_BYTES = 32 << 20
AHEAD_BATCHES = 16


class Reader:
    """Reads chosen columns of record batches, each checked against the index.

    Parameters
    ----------
    store
        Where the dist is.
    index
        Of the config.
    columns
        The columns to give; None for all.
    image_root
        The images to give in the column `image`; None for those of the shards.
    """

    def __init__(
        self,
        store: Files | Hub,
        index: Index,
        columns: Sequence[str] | None,
        image_root: ImageRoot | None,
    ) -> None:
        names = index.columns(columns)
        self.schema = pa.schema([index.schema.field(name) for name in names])
        self.features = datasets.Features({name: index.features[name] for name in names})
        self._store = store
        self._layout = index.layout
        self._images = image_root if "image" in names else None
        wanted = set(names)
        if self._images:
            wanted = wanted - {"image"} | {"file_name", "image_sha256"}
        self._fields = {name: i for i, name in enumerate(index.schema.names) if name in wanted}

    def size(self, place: Place) -> int:
        """The bytes to read of a record batch."""
        columns = place.batch.columns(self._layout)
        return sum(columns[i][1] for i in self._fields.values())

    def read(self, place: Place) -> pa.RecordBatch:
        """The chosen columns of a record batch. A batch whose checksum is wrong is read once more.

        Raises
        ------
        CorruptDataError
            The bytes differ from what the index states, both times.
        UnreachableError
            The bytes can't be read.
        """
        where = f"{self._store.name}/{place.path}, record batch {place.number}"
        columns, problem = self._read(place, where)
        if problem:
            columns, problem = self._read(place, where)
        if problem:
            raise CorruptDataError(
                f"{where}: {problem}. The file is damaged, or is not the one that index.json "
                "describes: `python -m builder.verify` says more"
            )
        try:
            return self._chosen(
                {
                    name: place.batch.column(i, self._layout, columns[name])
                    for name, i in self._fields.items()
                }
            )
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise CorruptDataError(
                f"{where}: index.json describes no valid record batch there: {error}"
            ) from error

    def _read(self, place: Place, where: str) -> tuple[dict[str, pa.Buffer], str | None]:
        """The bytes of each wanted column, and what is wrong with them, if anything."""
        columns = place.batch.columns(self._layout)
        wanted = {name: columns[i] for name, i in self._fields.items()}
        runs = _runs(wanted.values())
        try:
            if len(runs) > 1 and not self._store.is_local:
                with ThreadPoolExecutor(len(runs)) as pool:  # so that none waits for the others
                    read = [*pool.map(lambda run: self._range(place, where, *run), runs)]
            else:
                read = [self._range(place, where, *run) for run in runs]
        except FileNotFoundError:
            return {}, "the file is not there"
        parts: dict[int, pa.Buffer] = {}  # what was read, by its start in the body
        for (start, end), data in zip(runs, read, strict=True):
            if len(data) != end - start:
                return {}, f"the file is cut: {end - start} bytes expected, {len(data)} found"
            parts[start] = pa.py_buffer(data)
        found: dict[str, pa.Buffer] = {}
        for name, (start, length) in wanted.items():
            found[name] = pa.py_buffer(b"")
            if length:
                part = max(first for first in parts if first <= start)
                found[name] = parts[part].slice(start - part, length)
            expected, crc32 = place.batch.crc32[self._fields[name]], zlib.crc32(found[name])
            if crc32 != expected:
                return {}, f"column {name}: crc32 {expected:08x} expected, {crc32:08x} found"
        return found, None

    def _range(self, place: Place, where: str, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` of a record batch's body.

        Raises FileNotFoundError or UnreachableError.
        """
        first, stop = place.batch.offset + start, place.batch.offset + end
        try:
            return self._store.read(place.path, first, stop)
        except FileNotFoundError:
            raise
        except UnreachableError as error:
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:  # whatever the transport raises after its retries
            raise UnreachableError(
                f"{where}, bytes {first} to {stop}: {error!r}; try again"
            ) from error

    def read_parquet(self, path: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The chosen columns of a Parquet shard. Parquet's own page checksums are checked.

        Parameters
        ----------
        path
            The shard's path in the dist.
        rows
            How many rows it must have.

        Raises
        ------
        CorruptDataError
            The shard is absent or damaged.
        UnreachableError
            The Hub fails.
        """
        where = f"{self._store.name}/{path}"
        try:
            with self._store.open(path) as opened:
                file = pq.ParquetFile(opened, pre_buffer=True, page_checksum_verification=True)
                if (found := file.metadata.num_rows) != rows:
                    raise CorruptDataError(f"{where}: {rows} rows expected, {found} found")
                for group in range(file.num_row_groups):
                    for batch in file.read_row_group(group, columns=[*self._fields]).to_batches():
                        batch.validate(full=True)
                        yield self._chosen({name: batch.column(name) for name in self._fields})
        except AsamDatasetsError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            kind = UnreachableError if isinstance(error, HfHubHTTPError) else CorruptDataError
            raise kind(f"{where}: can't be read: {error}") from error

    def _chosen(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        if self._images:
            images = self._joined(columns["file_name"], columns["image_sha256"])
            columns = {**columns, "image": images}
        for field in self.schema:
            if (found := columns[field.name].type) != field.type:
                raise pa.ArrowInvalid(f"column {field.name} is {found}, expected {field.type}")
            check_values(field.name, columns[field.name])
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self.schema.names], schema=self.schema
        )

    def _joined(self, names: pa.Array, sha256s: pa.Array) -> pa.Array:
        pairs = zip(names.to_pylist(), sha256s.to_pylist(), strict=True)
        images = [{"bytes": self._images.read(n, s), "path": n} for n, s in pairs if self._images]
        return pa.array(images, self._layout.schema.field("image").type)

    def read_ahead(self, places: Iterable[Place]) -> Iterator[pa.RecordBatch]:
        """Yield the record batches in order. Threads read the next ones in the meantime."""
        with Ahead(self, places) as ahead:
            ahead.fill()
            while (batch := ahead.next()) is not None:
                yield batch
                ahead.fill()


class Ahead:
    """Gives record batches in order, and reads the next ones in threads.

    Nothing is read before it is asked for by `next` or `fill`.
    """

    def __init__(self, reader: Reader, places: Iterable[Place]) -> None:
        self._reader = reader
        self._left = ((reader.size(place), place) for place in places)
        self._next = next(self._left, None)
        self._begun: deque[tuple[int, Future[pa.RecordBatch]]] = deque()
        self._pool = ThreadPoolExecutor(AHEAD_BATCHES, thread_name_prefix="asam_datasets")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def fill(self) -> None:
        """Begin to read as many batches as may be on their way; returns at once."""
        while self._next and self._has_room(self._next[0]):
            self._begin(*self._next)

    def next(self) -> pa.RecordBatch | None:
        """The next batch, None after the last. Raises what `Reader.read` does."""
        if not self._begun and self._next:
            self._begin(*self._next)
        return self._begun.popleft()[1].result() if self._begun else None

    def _has_room(self, size: int) -> bool:
        total = sum(begun for begun, _ in self._begun) + size
        return not self._begun or (len(self._begun) < AHEAD_BATCHES and total <= AHEAD_BYTES)

    def _begin(self, size: int, place: Place) -> None:
        self._begun.append((size, self._pool.submit(self._reader.read, place)))
        self._next = next(self._left, None)


def _runs(columns: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The byte ranges (start, end) that hold these columns (start, length).

    Gaps between columns are closed, the smallest first, up to GAP_BYTES in all.
    """
    ranges = sorted((start, start + length) for start, length in columns if length)
    gaps = sorted((b[0] - a[1], i) for i, (a, b) in enumerate(pairwise(ranges), 1))
    spare = list(accumulate(size for size, _ in gaps))
    closed = {i for (_, i), total in zip(gaps, spare, strict=True) if total <= GAP_BYTES}
    runs: list[tuple[int, int]] = []
    for i, (start, end) in enumerate(ranges):
        if i in closed:
            start = runs.pop()[0]
        runs.append((start, end))
    return runs


# --------------------------------------------------------------------------------------------------
# sized.py. Rows whose pictures and masks are arrays of a wanted size.
# --------------------------------------------------------------------------------------------------


_FRAME = "frame"  # the column that says how a row was brought to the size
_FRAME_FEATURE = {
    "scale": [datasets.Value("float64")],
    "offset": [datasets.Value("float64")],
    "resized": [datasets.Value("int32")],
}
_PICTURES = ("image", "conditioning_image", "void_mask")

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizer:
    """Brings rows to a size. It is also a transform for `Dataset.with_transform`.

    Attributes
    ----------
    size
        (height, width) in pixels.
    fit
        "stretch", "cover" or "contain"; see `frame_of`.
    exact
        Whether JPEGs are decoded at their full size, by Pillow.
    names
        The columns of its rows.
    needs
        The columns that they are made of.
    features
        Those of its rows.
    """

    size: tuple[int, int]
    fit: str
    exact: bool
    names: tuple[str, ...]
    needs: tuple[str, ...]
    features: datasets.Features

    def row(self, row: Row) -> Row:
        """Bring a row to the size.

        Parameters
        ----------
        row
            Plain values, with pictures as {"bytes", "path"}. Columns may be missing.

        Returns
        -------
        dict
            The columns `names`, without those whose source is missing, and then those columns of
            the row that are not in `needs`.

        Raises
        ------
        CorruptDataError
            A picture or mask can't be decoded, or their sizes differ. The file, the column and the
            annotation are named.
        """
        work = _Work(self, row)
        made: Row = {c: work.picture(c) for c in _PICTURES if c in row and c in self.names}
        # Masks are made of the annotations' RLE. The PNGs serve where someone took those away.
        masks = "masks" in self.names and ("masks" in row or "masks" not in self.needs)
        if "annotations" in row:
            made |= work.annotations(masks)
        elif masks and "masks" in row:
            made["masks"] = work.masks()
        if _FRAME in self.names and ("width" in row or "width" not in self.needs):
            made[_FRAME] = work.described()
        kept = {c: row[c] for c in row if c not in made and c in self.names}
        others = {c: row[c] for c in row if c not in self.needs}
        made |= kept
        return {c: made[c] for c in self.names if c in made} | others

    def bytes(self, row: Row) -> int:
        """About how many bytes a row takes once it was brought to the size."""
        found = row.get("annotations") or row.get("masks") or ()
        masks = len(found) if "masks" in self.names else 0
        return (6 + masks) * self.size[0] * self.size[1]

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Bring a batch of rows to the size, as a transform does."""
        rows = [
            self.row(dict(zip(batch, values, strict=True)))
            for values in zip(*batch.values(), strict=True)
        ]
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


@dataclass
class _Work:
    """One row on its way to a size. What is decoded first fixes the frame."""

    sizer: Sizer
    row: Row
    frame: Frame | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if "width" in self.row and "height" in self.row:
            self.frame_for((self.row["height"], self.row["width"]))

    def frame_for(self, full: tuple[int, int]) -> Frame:
        """The row's frame; raises ValueError if it is of a picture of another size."""
        if self.frame is None:
            self.frame = frame_of(full, self.sizer.size, self.sizer.fit)
        elif self.frame.full != full:
            (height, width), found = self.frame.full, f"{full[1]} x {full[0]} pixels"
            raise ValueError(f"{width} x {height} pixels expected, as of the row, found {found}")
        return self.frame

    def described(self) -> dict[str, Any] | None:
        """The column `frame`."""
        if (frame := self.frame) is None:
            return None
        return {
            "scale": [*frame.scale],
            "offset": [*frame.offset],
            "resized": [*frame.resized],
        }

    def picture(self, column: str) -> npt.NDArray[np.uint8] | None:
        """A picture in the frame; None where the row has none."""
        if self.row[column] is None:
            return None
        data = self.row[column]["bytes"]
        if column == "image":
            return self._tried(column, lambda: photograph(data, self.frame_for, self.sizer.exact))
        decode = colors if column == "conditioning_image" else bitmap
        return self._tried(column, lambda: decode(data, self.frame_for))

    def masks(self) -> npt.NDArray[np.uint8]:
        """The masks in the frame, from their PNGs."""
        out = np.zeros((len(self.row["masks"]), *self.sizer.size), np.uint8)
        for i, png in enumerate(self.row["masks"]):
            out[i] = self._tried("masks", partial(bitmap, png["bytes"], self.frame_for))
        return out

    def annotations(self, masks: bool) -> Row:
        """The annotations in the frame, and, if wanted, their masks."""
        return self._tried("annotations", lambda: self._annotations(masks))

    def _annotations(self, masks: bool) -> Row:
        values = self.row["annotations"]
        out = np.zeros((len(values) if masks else 0, *self.sizer.size), np.uint8)
        made: Row = {"masks": out} if masks else {}
        if not values:
            return {"annotations": [], **made}
        found = segmentations(values)
        for name, size in zip(found.ids, found.sizes, strict=True):
            try:
                frame = self.frame_for(size)
            except ValueError as error:
                raise ValueError(f"annotation {name}: {error}") from error
        runs = parse_rle(found.counts, frame.full[0] * frame.full[1])
        found.refuse(runs.problems, [*range(len(values))])
        samples = sample(runs, frame.full, frame.rows, frame.columns)
        if masks:
            samples.fill(out, [*range(len(values))])
        if "annotations" not in self.sizer.names:
            return made
        ranks = np.argsort(mask_order(values)).tolist()
        areas, boxes = samples.areas().tolist(), samples.boxes().tolist()
        parts = zip(values, ranks, areas, boxes, strict=True)
        return {"annotations": [_moved(*part, frame) for part in parts], **made}

    def _tried(self, column: str, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises what it likes
            raise CorruptDataError(
                f"{self._name()}, column {column}: {what_went_wrong(error)}"
            ) from error

    def _name(self) -> str:
        """The row as messages name it."""
        named = self.row.get("file_name")
        for column in ("image", "conditioning_image"):
            named = named or (self.row.get(column) or {}).get("path")
        return str(named) if named else f"the row of image {self.row.get('image_id', 'unknown')}"


def _moved(
    annotation: Row, rank: int, area: int, box: tuple[int, int, int, int], frame: Frame
) -> Row:
    """An annotation in a frame. `box` is its mask's, as pycocotools' `toBbox` gives it."""
    left, top, right, bottom = map(float, box)
    moved = {**annotation, "bbox": [left, top, right - left, bottom - top], "area": area}
    if "point_coords" in annotation:
        moved["point_coords"] = [frame.point(*point) for point in annotation["point_coords"]]
    if "crop_box" in annotation:
        x, y, width, height = annotation["crop_box"]
        (left, top), (sx, sy) = frame.point(x, y), frame.scale
        moved["crop_box"] = [left, top, width * sx, height * sy]
    return {**moved, "rank": rank}


def sizer_for(
    index: Index,
    columns: Sequence[str] | None,
    size: tuple[int, int],
    fit: str,
    exact: bool,
    mapped: bool,
) -> Sizer:
    """What brings the rows of a config to a size.

    Parameters
    ----------
    index
        Of the config.
    columns
        The columns that its rows shall have; None for all, and `frame`.
    size, fit, exact
        As `load` takes them, checked.
    mapped
        Whether its rows come from a Dataset whose columns a user may choose later.

    Raises
    ------
    UnknownNameError
        There is no such column.
    AsamDatasetsError
        A column holds pictures of a kind that is not known.
    """
    names = [*index.features, _FRAME] if columns is None else columns
    framed = not isinstance(names, str) and isinstance(names, Collection) and _FRAME in names
    chosen = [name for name in names if name != _FRAME] if framed else names
    if chosen or not framed:
        chosen = index.columns(chosen)
    needs = dict.fromkeys(chosen)
    if "masks" in needs and "annotations" in index.features:
        needs["annotations"] = None
        if not mapped:
            del needs["masks"]
    if framed:
        needs |= dict.fromkeys(c for c in ("width", "height") if c in index.features)
    features = {name: _sized_feature(index, name, size) for name in names}
    return Sizer(size, fit, exact, (*features,), (*needs,), datasets.Features(features))


def _sized_feature(index: Index, name: str, size: tuple[int, int]) -> Any:
    """The feature of a column of rows of a size."""
    if name == _FRAME:
        return _FRAME_FEATURE
    if name in ("image", "conditioning_image"):
        return datasets.Array3D((*size, 3), "uint8")
    if name == "void_mask":
        return datasets.Array2D(size, "uint8")
    if name == "masks":
        return datasets.Array3D((None, *size), "uint8")
    feature = index.features[name]
    if name == "annotations":
        fields = feature[0] if isinstance(feature, list) else feature.feature
        return [{**fields, "rank": datasets.Value("int64")}]
    if isinstance(feature, datasets.Image):
        raise AsamDatasetsError(
            f"column {name}: size= knows no rule for pictures of that name: choose columns= "
            "without it"
        )
    return feature


# --------------------------------------------------------------------------------------------------
# stream.py. A stream of rows in an order that a seed fixes, which stops and resumes at any row.
# --------------------------------------------------------------------------------------------------


OTHER_STATE = (
    "this state was saved from another stream: resume with the same data, size, shuffle_seed, "
    "epoch, rank, number of ranks and workers, and version of asam_datasets"
)
WINDOW = 8  # record batches whose rows are shuffled together: 64 MiB with all columns


def units(batches: list[Place]) -> list[list[Place]]:
    """Group the batches into units, which say how many ranks and workers can share them.

    The number of units is a power of two, or three times one where there are enough batches. It is
    the largest such number that is not above the number of batches. Most numbers of ranks and
    workers divide it. That matters: where the ranks don't divide the number of units,
    `split_dataset_by_node` makes every rank read everything.

    Parameters
    ----------
    batches
        The record batches of a split, in order.

    Returns
    -------
    list of list of Place
        The units, each of about as many rows, in the same order.
    """
    numbers = [2**k for k in range(31)] + [3 * 2**k for k in range(4, 30)]
    return cut(batches, max(n for n in numbers if n <= max(1, len(batches))))


def cut(batches: list[Place], count: int) -> list[list[Place]]:
    """Cut batches, in order, into `count` parts of about as many rows."""
    before = list(accumulate((batch.rows for batch in batches), initial=0))
    bounds = [0]
    for i in range(1, count):
        wanted = before[-1] * i / count
        at = bisect.bisect_left(before, wanted)
        if at and wanted - before[at - 1] < before[at] - wanted:
            at -= 1
        bounds.append(max(min(at, len(batches) - count + i), bounds[-1] + 1))
    return [batches[start:end] for start, end in pairwise([*bounds, len(batches)])]


def deal(batches: list[Place], count: int) -> list[list[Place]]:
    """Deal batches out to `count` parts of about as many rows, each in the order of the batches.

    The largest come first, and each goes to the part that has the fewest rows so far (Graham,
    Bounds on multiprocessing timing anomalies, 1969). Then the part with the most rows trades a
    batch for a smaller one, as long as there is a part with which that makes both more equal.
    Batches of as many rows keep their order. So the order decides which part gets which of them.
    """
    rows = [batch.rows for batch in batches]
    parts: list[list[int]] = [[] for _ in range(count)]
    lightest = [(0, i) for i in range(count)]  # rows and number of each part, a heap
    for at in sorted(range(len(batches)), key=lambda at: -rows[at]):
        total, i = lightest[0]
        parts[i].append(at)
        heapq.heapreplace(lightest, (total + rows[at], i))
    totals = [total for total, _ in sorted(lightest, key=lambda found: found[1])]
    while _traded(parts, totals, rows):
        pass
    return [[batches[at] for at in sorted(part)] for part in parts]


def _traded(parts: list[list[int]], totals: list[int], rows: list[int]) -> bool:
    """Let the part with the most rows trade once, if that makes it and another more equal."""
    most = totals.index(max(totals))
    mine = {rows[at]: at for at in parts[most]}
    for other in sorted(range(len(parts)), key=totals.__getitem__):
        gap = totals[most] - totals[other]
        if gap < 2:
            return False
        theirs = {rows[at]: at for at in parts[other]}
        sizes = sorted(theirs)
        for size in mine:
            at = bisect.bisect_right(sizes, size - gap / 2)  # what would make both equal
            for less in sizes[max(0, at - 1) : at + 1]:
                if abs(2 * (size - less) - gap) < gap:
                    a, b = mine[size], theirs[less]
                    parts[most][parts[most].index(a)], parts[other][parts[other].index(b)] = b, a
                    totals[most] -= size - less
                    totals[other] += size - less
                    return True
    return False


class RowStream(datasets.iterable_dataset._BaseExamplesIterable):  # type: ignore[misc]
    """The rows of record batches, for an IterableDataset. Each row is a table of its own.

    The units, the seed and the epoch fix the order of the rows. So the state of the stream is the
    number of rows that it has given.
    """

    def __init__(
        self, reader: Reader, shards: list[list[Place]], seed: int | None, epoch: int
    ) -> None:
        super().__init__()
        self._reader = reader
        self._seed = seed
        self._epoch = epoch
        self._unshuffled = shards
        self._units = shards
        if seed is not None:
            order = np.random.default_rng([seed, epoch]).permutation(len(shards))
            self._units = [shards[i] for i in order]
        self._sleep_on_threads_shutdown = False

    def _order(self) -> list[Place]:
        batches = [batch for unit in self._units for batch in unit]
        if self._seed is None:
            return batches
        order = np.random.default_rng([self._seed, self._epoch, 1]).permutation(len(batches))
        return [batches[i] for i in order]

    def _fingerprint(self, order: list[Place]) -> str:
        names = [(batch.path, batch.number, batch.rows) for batch in order]
        return hashlib.sha256(repr((self._seed, self._epoch, names)).encode()).hexdigest()[:16]

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {
            "row": 0,
            "order": self._fingerprint(self._order()),
            "type": type(self).__name__,
        }
        return self._state_dict

    @property
    def iter_arrow(self) -> Callable[[], Iterator[tuple[int, pa.Table]]]:
        return self._iter_arrow

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, table in self._iter_arrow():
            yield key, table.to_pylist()[0]

    def _iter_arrow(self) -> Iterator[tuple[int, pa.Table]]:
        order = self._order()
        fingerprint = self._fingerprint(order)
        state: dict[str, Any] = self._state_dict or {"row": 0, "order": fingerprint}
        if state["order"] != fingerprint:
            raise AsamDatasetsError(OTHER_STATE)
        size = 1 if self._seed is None else WINDOW
        windows = [order[i : i + size] for i in range(0, len(order), size)]
        ends = list(accumulate(sum(batch.rows for batch in window) for window in windows))
        row = state["row"]
        first = bisect.bisect_right(ends, row)
        with Ahead(self._reader, (b for window in windows[first:] for b in window)) as ahead:
            for number, window in enumerate(windows[first:], first):
                if len(window) > 1 or number > first:  # a first batch alone has the line to itself
                    ahead.fill()
                try:
                    read = [batch for _ in window if (batch := ahead.next())]
                except (CorruptDataError, UnreachableError) as error:
                    raise type(error)(
                        f"{error}. The {row} rows before it were given: keep this stream's "
                        "state_dict() and load_state_dict() it to go on from there"
                    ) from error
                places = [(table, i) for table in read for i in range(table.num_rows)]
                if self._seed is not None:
                    rng = np.random.default_rng([self._seed, self._epoch, 2, number])
                    places = [places[i] for i in rng.permutation(len(places))]
                for table, i in places[row - ends[number] :]:
                    row += 1
                    state["row"] = row
                    yield row, pa.Table.from_batches([table.slice(i, 1)])
                    ahead.fill()

    def shuffle_data_sources(self, generator: np.random.Generator) -> RowStream:
        """The stream in another order; `set_epoch` (datasets 5) and `.shuffle` call this."""
        seed = int(copy.deepcopy(generator).integers(2**32))
        if self._seed is not None:
            return RowStream(self._reader, self._unshuffled, self._seed, seed)
        shuffled = RowStream(self._reader, self._unshuffled, seed, 0)
        shuffled._seed = None  # the order of the units alone
        return shuffled

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> RowStream:
        """The part of one rank or worker: as many rows as the others', or nearly so."""
        count = min(num_shards, self.num_shards)
        batches = [batch for unit in self._units for batch in unit]
        part = copy.copy(self)
        part._units = []
        if index < count:
            part._units = units((cut if contiguous else deal)(batches, count)[index])
        return part

    def reshard_data_sources(self) -> RowStream:
        """Units are record batches already."""
        return self

    @property
    def num_shards(self) -> int:
        return len(self._units)


# --------------------------------------------------------------------------------------------------
# ahead.py. Brings the rows of a stream to a size, in threads beside the one that takes them.
# --------------------------------------------------------------------------------------------------


# How many rows are decoded ahead, for each thread; and how many bytes their arrays may have.
AHEAD_ROWS = 2
AHEAD_PIXELS = 256 << 20
_MOST_THREADS = 4


class SizedStream(datasets.iterable_dataset._BaseExamplesIterable):  # type: ignore[misc]
    """The rows of another stream, brought to a size. Its state is the other stream's.

    Threads decode the next rows while one is used. Each row takes two others in, until as many as
    allowed are on their way. So the first row waits for no other, and an error is raised when its
    row is asked for.
    """

    def __init__(self, source: Any, sizer: Sizer) -> None:
        super().__init__()
        self._source = source
        self._sizer = sizer
        self._sleep_on_threads_shutdown = False

    @property
    def is_typed(self) -> bool:
        """The rows have the types that `features` says."""
        return True

    @property
    def features(self) -> datasets.Features:
        return self._sizer.features

    @property
    def num_shards(self) -> int:
        return int(self._source.num_shards)

    def _init_state_dict(self) -> dict[str, Any]:
        # A copy: the source goes ahead of the rows that were given.
        state: dict[str, Any] = copy.deepcopy(self._source._init_state_dict())
        self._state_dict = state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Go on from a state of this stream."""
        if state_dict.keys() != self._init_state_dict().keys():
            raise AsamDatasetsError(OTHER_STATE)
        loaded: dict[str, Any] = super().load_state_dict(state_dict)
        return loaded

    def __iter__(self) -> Iterator[tuple[Any, Row]]:
        state = self._state_dict
        if state is not None:
            self._source.load_state_dict(state)
        rows = iter(self._source)
        threads = _threads()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="asam_datasets")
        ahead: deque[tuple[Any, Any, int, Future[Row]]] = deque()
        failure: Exception | None = None
        ended, more = False, 1
        try:
            while True:
                for _ in range(more):
                    full = sum(size for _, _, size, _ in ahead) > AHEAD_PIXELS
                    if ended or len(ahead) >= AHEAD_ROWS * threads or (ahead and full):
                        break
                    try:
                        key, row = next(rows)
                    except StopIteration:
                        ended = True
                    except Exception as error:  # raised after the rows that came before it
                        failure, ended = error, True
                    else:
                        after = None if state is None else self._source.state_dict()
                        work = pool.submit(self._sizer.row, row)
                        ahead.append((key, after, self._sizer.bytes(row), work))
                if not ahead:
                    if failure:
                        raise failure
                    return
                key, after, _, work = ahead.popleft()
                made = work.result()
                if state is not None:
                    state.update(after)
                yield key, made
                more = 2
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            rows.close()

    def shuffle_data_sources(self, generator: np.random.Generator) -> SizedStream:
        """The stream in another order."""
        return SizedStream(self._source.shuffle_data_sources(generator), self._sizer)

    def shard_data_sources(self, *args: Any, **options: Any) -> SizedStream:
        """The part of one rank or worker."""
        return SizedStream(self._source.shard_data_sources(*args, **options), self._sizer)

    def reshard_data_sources(self) -> SizedStream:
        """The stream in smaller parts, if it has any."""
        return SizedStream(self._source.reshard_data_sources(), self._sizer)


def _threads() -> int:
    """How many threads decode: one in a DataLoader's worker, else one for each core, at most 4."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.utils.data.get_worker_info() is not None:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


# --------------------------------------------------------------------------------------------------
# script.py. The builder class of `datasets`: it copies a config into the library's cache.
#
# In datasets 3 it is `load_dataset("path/asam_datasets.py", config, trust_remote_code=True)`;
# `AsamDatasets(config_name=config)` works with every version.
# --------------------------------------------------------------------------------------------------


VERSION = datasets.Version("1.0.0")


@dataclass
class AsamConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """Options of the builder class. `data_dir`, a dist's folder, replaces `repo_or_path`."""

    repo_or_path: str = REPO_ID
    columns: list[str] | None = None
    image_root: str | None = None


class AsamDatasets(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Copies a config into the library's cache, and checks each record batch on the way."""

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = AsamConfig
    BUILDER_CONFIGS: ClassVar = [AsamConfig(name=n, version=VERSION) for n in config_names()]

    def __init__(
        self,
        cache_dir: str | None = None,
        dataset_name: str | None = None,
        *args: Any,
        patience: Patience = PATIENT,
        **kw: Any,
    ) -> None:
        self._patience = patience  # no option of the config, whose options name the cache's folder
        # `dataset_name` names the cache's folder. The default would be the module's name.
        super().__init__(cache_dir, dataset_name or "asam_datasets", *args, **kw)

    def _create_builder_config(self, **kwargs: Any) -> tuple[AsamConfig, str]:
        """The config and its id, which names the cache's folder.

        The id holds the index's checksum, so that other data are kept in another folder.
        """
        config, config_id = super()._create_builder_config(**kwargs)
        self.store = open_store(
            config.data_dir or config.repo_or_path, token=self.token, patience=self._patience
        )
        self.index = open_index(self.store, config.name)
        return config, f"{config_id}-{self.index.sha256[:16]}"

    def _info(self) -> datasets.DatasetInfo:
        names = self.index.columns(self.config.columns)
        features = datasets.Features({name: self.index.features[name] for name in names})
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        root = self.config.image_root
        images = ImageRoot(root) if root else None
        self._reader = Reader(self.store, self.index, self.config.columns, images)
        return [
            datasets.SplitGenerator(name, {"parts": self._parts(split.shards)})
            for name, split in self.index.splits.items()
        ]

    def _parts(self, shards: Sequence[Shard]) -> list[list[Place]] | list[Shard]:
        if self.index.format == "arrow":
            return units(self.index.places(shards))
        return list(shards)

    def _generate_tables(
        self, parts: Sequence[list[Place] | Shard]
    ) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        read = self._reader
        for i, part in enumerate(parts):
            tables = (
                read.read_parquet(self.index.path(part), part.rows)
                if isinstance(part, Shard)
                else read.read_ahead(part)
            )
            for j, table in enumerate(tables):
                yield (i, j), pa.Table.from_batches([table])


class AnyConfig(AsamDatasets):
    """`AsamDatasets` for a config of any name, such as one built with `--config`."""

    BUILDER_CONFIGS: ClassVar[list[AsamConfig]] = []


# --------------------------------------------------------------------------------------------------
# loading.py. `load`: a split of a config as a memory-mapped Dataset or as a stream.
# --------------------------------------------------------------------------------------------------


def load(
    config: str,
    split: str | None = None,
    *,
    repo_or_path: str | Path = REPO_ID,
    revision: str | None = None,
    token: str | bool | None = None,
    streaming: bool = False,
    columns: Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str = "stretch",
    exact: bool = False,
    image_root: str | Path | None = None,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    verify: bool = False,
    retries: int = PATIENT.retries,
    timeout: float = PATIENT.timeout,
    rate: float = PATIENT.rate,
    cache_dir: str | Path | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """Load a split of a config.

    Parameters
    ----------
    config, split
        Such as "sa_000000" and "train". The split may be left out if there is only one.
    repo_or_path
        A repo on the Hub, a folder that `python -m builder.build` wrote, or a URL that fsspec
        opens.
    revision, token
        The Hub's revision and token. They default to main and to the token of the usual login.
    streaming
        Return an IterableDataset, which fetches rows when they are asked for. Otherwise return a
        Dataset, whose shards are memory mapped from the folder or from the Hub's cache.
    columns
        Read only these columns. Defaults to all.
    size, fit
        Give arrays of this size, one number for a square or (height, width) in pixels. "stretch"
        changes the proportions, as ASAM does. "cover" fills the frame and cuts off what is beyond
        it on both sides, as diffusers' resizing and centre crop do. "contain" shows all of the
        picture and pads it on the right or below with zeros, as SAM does. See Returns.
    exact
        Decode JPEGs at their full size by Pillow, as `load_dataset` does, before they are resized.
        By default they are decoded by DCT scaling at the next eighth of their size above `size`,
        which is faster and changes pixels a little.
    image_root
        Your own tar, folder or glob of the images, for a config that holds only annotations. Each
        image must have the sha256 that its row states.
    shuffle_seed, epoch
        Shuffle a stream. First the record batches of the split are shuffled (of the part that a
        rank and worker has), then the rows within each window of WINDOW batches. The same two
        numbers give the same order, and every row comes once. From datasets 5 on, `set_epoch`
        replaces `epoch`.
    verify
        Compare the sha256 of each shard with the index, and check every value, before a Dataset is
        returned. Without it, a Dataset's shards are mapped into memory after their sizes, columns
        and numbers of rows were compared; a flipped byte in them is not noticed. What is copied
        into `cache_dir`, and every stream, is checked against the index as it is read. So `verify`
        is refused with `streaming`.
    retries
        How often a request is repeated, waiting 1, 2, 4, 8, 8, ... seconds, or as long as the
        server asks, if that is no more than 330 seconds. Defaults to 5.
    timeout, rate
        A request of N bytes is given up after timeout + N / rate seconds. They default to 60
        seconds and to 20,000 bytes a second. They hold for this project's own requests; those of
        plain `load_dataset` have no such bound.
    cache_dir
        Where a Dataset is kept that can't be a view of shards: chosen columns of a remote config,
        joined images, or Parquet. Defaults to the library's cache.

    Returns
    -------
    datasets.Dataset or datasets.IterableDataset
        With `size`, a row has these columns, of those that `columns` names or all:

        - `image`, uint8 (h, w, 3), RGB: turned as its EXIF orientation says, and resized once by
          Pillow's bilinear filter. `conditioning_image`, uint8 (h, w, 3), by nearest neighbour.
        - `masks`, uint8 (N, h, w) of 0 and 1, and `void_mask`, uint8 (h, w), by nearest neighbour
          at pixel centres, as `decode_masks` and the control image. Mask i belongs to
          annotations[i]. A mask without a pixel in the frame is all zeros.
        - `annotations`, with `bbox` [x, y, width, height] and `area` of the mask in the frame (0
          and zeros for one without a pixel), `point_coords` and `crop_box` moved to the frame, and
          `rank`, which `mask_order` and `decode_control` read. `segmentation` is as it was.
        - `frame`: a point (x, y) of the picture is at scale[0] * x + offset[0] and
          scale[1] * y + offset[1] of the frame. `resized` is the (height, width) of the whole
          picture at that scale; with "contain" the rest is padding.

        `width` and `height` are those of the picture. Threads decode the next rows of a stream. A
        Dataset decodes rows on access, by a transform (`Dataset.with_transform`), so its `features`
        are those of what it holds, and `with_format` would replace the transform.

        A stream's `state_dict` and `load_state_dict` resume at the exact row, shuffled or not, for
        each rank (`split_dataset_by_node`) and DataLoader worker. After a resume only the window
        that holds the row is read again.

    Raises
    ------
    UnknownNameError
        There is no such repo, config, split or column.
    ContractError, CorruptDataError
        The index or a shard is damaged.
    UnreachableError
        The Hub can't be reached or refuses access.
    SlowError
        An answer did not come in time.
    ImageRootError
        An image is missing from `image_root`, or has another sha256.
    AsamDatasetsError
        An argument is of another kind, or arguments contradict each other.
    """
    check_text("config", config, "sa_000000")
    if split is not None:
        check_text("split", split, "train")
    if not isinstance(repo_or_path, os.PathLike):
        check_text("repo_or_path", repo_or_path, REPO_ID)
    if verify and streaming:
        raise AsamDatasetsError(
            "verify=True is for streaming=False: a stream checks each record batch against the "
            "index as it is read; leave verify out"
        )
    if shuffle_seed is not None and not streaming:
        raise AsamDatasetsError("shuffle_seed is for streaming=True; a Dataset has .shuffle(seed=)")
    if size is None and (fit != "stretch" or exact):
        raise AsamDatasetsError(f"fit={fit!r} and exact={exact!r} are for size=; give size= too")
    if size is not None:
        size = frame_size(size)
        check_fit(fit)
    shuffle_seed = None if shuffle_seed is None else check_whole("shuffle_seed", shuffle_seed)
    epoch = check_whole("epoch", epoch)
    patience = Patience(
        check_above_zero("timeout", timeout),
        check_above_zero("rate", rate),
        check_whole("retries", retries),
    )
    store = open_store(repo_or_path, revision, token, patience)
    index = open_index(store, config, keep=not streaming)
    chosen = index.split(split)
    sizer = None if size is None else sizer_for(index, columns, size, fit, exact, not streaming)
    names = index.columns(columns) if sizer is None else [*sizer.needs]
    if index.format == "arrow" and streaming:
        reader = Reader(store, index, names, ImageRoot(image_root) if image_root else None)
        stream = RowStream(reader, units(index.places(chosen.shards)), shuffle_seed, epoch)
        return _stream(stream, reader.features, config, chosen.name, sizer)
    if shuffle_seed is not None:
        raise AsamDatasetsError(
            "shuffle_seed is for streaming=True on Arrow shards; elsewhere use .shuffle(seed=...)"
        )
    # A folder's shards are mapped where they are, and those of a repo in the Hub's cache. Elsewhere
    # no file stands on this machine, so the rows are copied.
    at_hand = store.is_local or (isinstance(store, Hub) and not columns)
    if index.format == "arrow" and not image_root and at_hand:
        mapped = _map_shards(store, index, chosen, verify)
        return _sized(mapped.select_columns(names) if columns or sizer else mapped, sizer)
    builder = AnyConfig(
        cache_dir=None if cache_dir is None else str(cache_dir),
        config_name=config,
        repo_or_path=store.url,
        columns=names if columns or sizer else None,
        image_root=str(image_root) if image_root else None,
        token=token,
        patience=patience,
    )
    if streaming:
        stream = builder.as_streaming_dataset(chosen.name)
        if sizer is None:
            return stream
        return _stream(stream._ex_iterable, stream.features, config, chosen.name, sizer)
    try:
        builder.download_and_prepare()
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, AsamDatasetsError):
            raise error.__cause__ from error
        raise
    return _sized(builder.as_dataset(chosen.name), sizer)


def _stream(
    rows: Any, features: datasets.Features, config: str, split: str, sizer: Sizer | None
) -> datasets.IterableDataset:
    """The IterableDataset of some rows, brought to a size if there is a sizer."""
    if sizer is not None:
        rows, features = SizedStream(rows, sizer), sizer.features
    info = datasets.DatasetInfo(features=features, config_name=config)
    return datasets.IterableDataset(rows, info=info, split=datasets.NamedSplit(split))


def _sized(mapped: datasets.Dataset, sizer: Sizer | None) -> datasets.Dataset:
    """A Dataset whose rows are brought to a size on access, if there is a sizer.

    Its table is kept without the features of `datasets`, which would decode each picture.
    """
    if sizer is None:
        return mapped
    table = mapped.data.replace_schema_metadata(None)
    return datasets.Dataset(table, split=mapped.split).with_transform(sizer)


def _map_shards(store: Files | Hub, index: Index, split: Split, verify: bool) -> datasets.Dataset:
    """The shards as one memory-mapped Dataset; nothing is copied."""
    parts = []
    for shard in split.shards:
        try:
            local = store.local(index.path(shard))
            with Path(local).open("rb") as file:
                _compare(local, "bytes", shard.bytes, os.fstat(file.fileno()).st_size)
                if verify:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    _compare(local, "sha256", shard.sha256, sha256)
        except FileNotFoundError as error:
            raise CorruptDataError(f"a shard that the index names is not there: {error}") from error
        try:
            part = datasets.Dataset.from_file(local, split=datasets.NamedSplit(split.name))
        except Exception as error:  # datasets and pyarrow raise what they like
            raise CorruptDataError(
                f"{local}: can't be read: {error!r}; remove the file and get or build it again"
            ) from error
        _compare(local, "rows", shard.rows, part.num_rows)
        _compare(local, "columns", index.features, part.features)
        _check_mapped(local, part.data.table, verify)
        parts.append(part)
    return datasets.concatenate_datasets(parts)


def _check_mapped(local: str, table: pa.Table, verify: bool) -> None:
    """Check that each picture holds its bytes; with `verify` also every value of the table."""
    try:
        if verify:
            table.validate(full=True)
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                if verify:
                    check_values(name, chunk)
                else:
                    check_pictures(name, chunk)
    except (ValueError, pa.ArrowException) as error:
        raise CorruptDataError(
            f"{local}: {error}; remove the file and get or build it again"
        ) from error


def _compare(local: str, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise CorruptDataError(
            f"{local}: {what} {expected} expected, {found} found; remove the file and get or "
            "build it again"
        )
