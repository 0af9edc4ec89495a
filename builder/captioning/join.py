"""Joins a captions file to a source: the captions, their rejects, and the model that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asam_datasets.contract import Node
from builder.captioning.provenance import read_provenance
from builder.captioning.store import (
    captions_path,
    provenance_path,
    read_captions,
    rejects_path,
)
from builder.core.errors import CaptionError, ContractError
from builder.core.files import read_file
from builder.core.records import Reject
from builder.core.rejects import read_rejects
from builder.sources.sa1b import Sa1bSource


@dataclass(frozen=True, slots=True)
class Joined:
    """What a captions file gives a config.

    Parameters
    ----------
    captions
        The captions by file name.
    sha256
        The file's checksum, which is part of the settings.
    model
        The model and preset that made them, if the file's provenance states them.
    rejects
        Those of unusable lines, and those of the rejects file beside it.
    """

    captions: Mapping[str, str]
    sha256: str
    model: str | None
    rejects: tuple[Reject, ...]


def read_joined(path: Path, config: str) -> Joined:
    """Read what a captions file gives a config.

    Parameters
    ----------
    path
        A captions file, or a folder that holds the captions file of the config.
    config
        The config's name.

    Raises
    ------
    CaptionError
        The captions file, its provenance or its rejects can't be read.
    """
    if path.is_dir():
        path = captions_path(path, config)
    captions = read_captions(path)
    return Joined(
        captions={name: captions.get(name) or "" for name in captions},
        sha256=captions.sha256,
        model=_model(path),
        rejects=(*captions.problems, *_rejects(path)),
    )


def join_captions(source: Sa1bSource, path: Path) -> Sa1bSource:
    """Return the source with the captions of a file, and with the rejects of that file.

    Parameters
    ----------
    source
        The source.
    path
        A captions file, or a folder that holds the captions file of the source's config.

    Raises
    ------
    CaptionError
        The captions file, its provenance or its rejects can't be read.
    """
    joined = read_joined(path, source.config)
    return replace(
        source,
        captions=joined.captions,
        captions_sha256=joined.sha256,
        captions_model=joined.model,
        caption_rejects=joined.rejects,
    )


def _model(path: Path) -> str | None:
    """The model, revision and preset in one line, from the provenance beside a captions file."""
    value = read_provenance(provenance_path(path))
    if value is None:
        return None
    try:
        model = Node(str(provenance_path(path)), "", value)["model"].text()
    except ContractError as error:
        raise CaptionError(str(error)) from error
    model += f"@{value['revision']}" if value.get("revision") else ""
    preset = value["runs"][-1].get("preset") if value.get("runs") else None
    return f"{model}, preset {preset}" if preset else model


def _rejects(path: Path) -> list[Reject]:
    table = rejects_path(path)
    try:
        return read_rejects(read_file(table) or b"", str(table))
    except ContractError as error:
        raise CaptionError(str(error)) from error
