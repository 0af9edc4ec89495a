"""Writes the files at the top of a dist: loading code, pictures, card, and their manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import filelock

from asam_datasets.errors import ContractError
from asam_datasets.index import Index
from asam_datasets.names import REPO_ID
from builder.card.metadata import is_own
from builder.card.parts import decode_card, read_entries, read_parts
from builder.card.pictures import draw_picture
from builder.card.render import render_card
from builder.card.script import script_path
from builder.core.files import read_file, refuse_folders, remove_unfinished, write_bytes
from builder.core.layout import ASSETS, CARD, MANIFEST, SCRIPT, configs, picture_name
from builder.core.manifest import Manifest, parse_manifest
from builder.shards.index import read_index

_PICTURES = 4  # the number of train configs with a picture; more would look alike


def write_top(dist: Path, *, repo: str = REPO_ID) -> Path:
    """Write a dist's loading code, pictures, card and manifest; returns the card's path.

    Text that a person wrote in the card is kept. A picture whose checksum is in the manifest is
    kept, too. A lock makes processes wait for each other. If two builds end together, the second
    one writes both configs.

    Raises
    ------
    HubError
        The card's YAML or marks can't be read.
    ShardError, ContractError
        An index can't be read.
    """
    with filelock.FileLock(dist / f".{CARD}.lock"):
        for folder in (dist, dist / ASSETS):
            remove_unfinished(folder)
        return _write_top(dist, repo)


def prepare_top(dist: Path) -> None:
    """Check, before anything is built, that `write_top` will be able to write.

    Raises
    ------
    HubError
        The card that is there can't be read or merged into.
    SettingsError
        A folder stands where a file will be written.
    """
    refuse_folders(dist / name for name in (CARD, SCRIPT, MANIFEST))
    refuse_folders((dist / ASSETS).glob("*.jpg"))
    if (existing := _existing(dist)) is not None:
        render_card([], existing=existing)


def manifest_of(card: str, files: Mapping[str, str]) -> Manifest:
    """The manifest of a card and of other files.

    Parameters
    ----------
    card
        The card's text.
    files
        The sha256 of the loading code and of the pictures, by path.
    """
    parts = read_parts(card)
    return Manifest(files, parts.regions, parts.configs)


def _write_top(dist: Path, repo: str) -> Path:
    path = dist / CARD
    existing = _existing(dist)
    known = set(configs(dist))
    gone = set()
    if existing is not None:
        gone = {e["config_name"] for e in read_entries(existing) if is_own(e)} - known
    indexes = [read_index(dist, config) for config in sorted(known)]
    stated = _stated(dist)
    pictures = {
        index.config: drawn
        for index in _with_pictures(indexes)
        if (drawn := draw_picture(dist, index, stated.get(picture_name(index.config))))
    }
    text = render_card(indexes, existing=existing, drop=gone, pictures=pictures, repo=repo)
    script = script_path().read_bytes()
    files = {picture_name(config): sha256 for config, sha256 in pictures.items()}
    files[SCRIPT] = hashlib.sha256(script).hexdigest()
    manifest = manifest_of(text, files).content()
    for name, content in ((SCRIPT, script), (CARD, text.encode()), (MANIFEST, manifest)):
        if not (dist / name).is_file() or (dist / name).read_bytes() != content:
            write_bytes(dist / name, content)
    for name in stated.keys() - files.keys():  # the pictures of configs that are shown no more
        (dist / name).unlink(missing_ok=True)
    return path


def _existing(dist: Path) -> str | None:
    content = read_file(dist / CARD)
    return None if content is None else decode_card(content, str(dist / CARD))


def _stated(dist: Path) -> Mapping[str, str]:
    """The checksums of files in the dist's manifest; none if it is absent or damaged."""
    try:
        return parse_manifest(read_file(dist / MANIFEST) or b"", MANIFEST).files
    except ContractError:
        return {}


def _with_pictures(indexes: Iterable[Index]) -> list[Index]:
    train = [index for index in indexes if index.kind == "train"]
    return train[:_PICTURES] + [index for index in indexes if index.kind != "train"]
