"""Joins a captions file to a source: the captions, their rejects, and the model that made them."""

from __future__ import annotations

from dataclasses import replace
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


def join_captions(source: Sa1bSource, path: Path) -> Sa1bSource:
    """Return the source with the captions of a file.

    The source also gets rejects: those for unusable lines of the file, and those of the rejects
    file beside it.

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
    if path.is_dir():
        path = captions_path(path, source.config)
    captions = read_captions(path)
    return replace(
        source,
        captions={name: captions.get(name) or "" for name in captions},
        captions_sha256=captions.sha256,
        captions_model=_model(path),
        caption_rejects=(*captions.problems, *_rejects(path)),
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
