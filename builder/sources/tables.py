"""The tables of members of remote tars, kept on disk, so that a tar is listed once.

A table is found by the tar's URL without its query, its size and its ETag. It stands in the folder
for such files beside the Hub's cache (`HF_ASSETS_CACHE`). A table that is damaged, or that another
version wrote, is made anew.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import secrets
import zlib
from pathlib import Path
from typing import Any

from huggingface_hub import cached_assets_path, constants

from asam_datasets.redaction import redacted
from asam_datasets.tars import MAX_NAME, TarListing, TarPlace, TarReject

_VERSION = 1
_MOST_TABLES = 2000  # SA-1B has 1000 tars, and a table of one takes some 200 kB
_MOST_BYTES = 256 << 20  # of a table that is unpacked


def tables_folder() -> Path:
    """The folder of the tables."""
    where = constants.HF_ASSETS_CACHE
    folder: Path = cached_assets_path("asam_datasets", "tars", "members", assets_dir=where)
    return folder


def kept_table(url: str, size: int, validator: str, most: int) -> TarListing | None:
    """The table that is kept of a tar, or None.

    Parameters
    ----------
    url
        The tar. Its query may differ, since a signed link has a new one each time.
    size
        The tar's bytes.
    validator
        Its ETag or the time of its last change. Without one, nothing is kept.
    most
        The most members that a table may have.
    """
    if not validator:
        return None
    try:
        path = _path(url, size, validator)
        packed = path.read_bytes()
        unpacker = zlib.decompressobj(wbits=31)  # gzip, which ends with a checksum
        text = unpacker.decompress(packed, _MOST_BYTES)
        listing = _parsed(json.loads(text), size, most) if unpacker.eof else None
        if listing is not None:
            os.utime(path)  # the oldest tables are removed
    except (OSError, ValueError, zlib.error, RecursionError, TypeError, KeyError):
        return None
    return listing


def keep_table(url: str, size: int, validator: str, listing: TarListing) -> None:
    """Keep the table of a whole tar. A folder that can't be written keeps none."""
    if not validator or listing.damage:
        return
    value = {
        "version": _VERSION,
        "places": listing.places,
        "unusable": listing.unusable,
        "starts": listing.starts,
    }
    packed = gzip.compress(json.dumps(value).encode(), mtime=0)
    with contextlib.suppress(OSError):
        path = _path(url, size, validator)
        temporary = path.with_suffix(f".{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(packed)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_oldest(path.parent)


def _path(url: str, size: int, validator: str) -> Path:
    named = json.dumps([redacted(url), size, validator])
    return tables_folder() / f"{hashlib.sha256(named.encode()).hexdigest()}.table"


def _remove_oldest(folder: Path) -> None:
    """Remove what was not used for longest, also files that a killed process left behind."""
    paths = list(folder.iterdir())
    if len(paths) > _MOST_TABLES:
        by_age = sorted(paths, key=lambda path: path.stat().st_mtime)
        for path in by_age[: len(paths) - _MOST_TABLES]:
            path.unlink(missing_ok=True)


def _parsed(value: dict[str, Any], size: int, most: int) -> TarListing | None:
    """The listing that a table states, or None if it states something that no listing can."""
    places = [TarPlace(*place) for place in value["places"]]
    unusable = [TarReject(*reject) for reject in value["unusable"]]
    starts = value["starts"]
    good = (
        value["version"] == _VERSION
        and len(places) + len(unusable) <= most
        and all(map(_is_text, (p.name for p in places)))
        and all(_is_text(text) for reject in unusable for text in reject)
        and all(_is_size(p.offset, size) and _is_size(p.size, size - p.offset) for p in places)
        and all(_is_size(start, size) for start in starts)
    )
    return TarListing(places, unusable, starts) if good else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _is_size(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
