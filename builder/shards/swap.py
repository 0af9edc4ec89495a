"""Puts a config that was made beside the dist in the place of the one that is there.

The new config is a dist of its own in `.recaption/<config>`. The folders `data/<config>` of the two
exchange their names in one step, so a reader finds the old config or the new one. The receipts are
local, and a config without them is whole. So they are taken away before that step, and the new ones
are put there after it. A file in `.recaption/<config>` says that the swap has begun, and which
index it brings. If the process is killed, `settle` finishes the swap or takes it back.

A file system that can't exchange two names needs two renames. Who is killed between them leaves no
config, until `settle` puts the old one back.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.core.errors import ContractError
from builder.core.exchange import exchange
from builder.core.files import read_object, sha256_file, sync_folder, write_json
from builder.core.layout import config_folder, index_path, recaption_folder, receipts_folder

_BEGUN = "swap.json"
_FORMER = "former"  # holds what was there before
_DATA, _RECEIPTS = "data", "receipts"


def swap(dist: Path, config: str) -> None:
    """Put the config of `.recaption/<config>` in its place. The caller has locked the config.

    Parameters
    ----------
    dist, config
        The dist and the config. The config need not be in the dist yet.
    """
    new = recaption_folder(dist, config)
    write_json(new / _BEGUN, {"index_sha256": sha256_file(index_path(new, config))})
    (new / _FORMER).mkdir(exist_ok=True)
    if receipts_folder(dist, config).is_dir():
        receipts_folder(dist, config).rename(new / _FORMER / _RECEIPTS)
    here, there = config_folder(new, config), config_folder(dist, config)
    there.parent.mkdir(parents=True, exist_ok=True)
    if not there.exists():
        here.rename(there)
    elif not exchange(here, there):
        there.rename(new / _FORMER / _DATA)
        here.rename(there)
    sync_folder(there.parent)
    settle(dist, config)


def settle(dist: Path, config: str) -> None:
    """Finish a swap if the new config is in its place, else take it back.

    The caller has locked the config. Without a swap that was begun, nothing is done.
    """
    new = recaption_folder(dist, config)
    begun = _begun(new / _BEGUN)
    if begun is None:
        return
    data, receipts = config_folder(dist, config), receipts_folder(dist, config)
    index = index_path(dist, config)
    if index.is_file() and sha256_file(index) == begun:
        _move(receipts_folder(new, config), receipts)
        shutil.rmtree(new)
        return
    _move(new / _FORMER / _DATA, data)
    _move(new / _FORMER / _RECEIPTS, receipts)
    (new / _BEGUN).unlink()


def _begun(path: Path) -> str | None:
    """The sha256 of the index that a swap brings; None if none was begun."""
    try:
        found = read_object(path) or {}
    except ContractError:
        return None
    return str(found["index_sha256"]) if "index_sha256" in found else None


def _move(folder: Path, place: Path) -> None:
    """Move a folder if it is there, and its place is free."""
    if folder.is_dir() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)
        sync_folder(place.parent)
