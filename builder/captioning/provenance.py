"""The record of how a captions file was made, which stands beside it."""

from __future__ import annotations

from pathlib import Path

from asam_datasets.contract import Node
from builder.core.errors import CaptionsFileError, ContractError
from builder.core.files import read_object
from builder.core.records import Json


def read_provenance(path: Path) -> Json | None:
    """What is recorded of how a captions file was made, or None if there is no record.

    Parameters
    ----------
    path
        The record's file.

    Raises
    ------
    CaptionsFileError
        The record can't be read, or one of its lists does not hold objects.
    """
    try:
        found = read_object(path)
        for key in {"runs", "mixed_with"} & (found or {}).keys():
            for item in Node(str(path), "", found)[key].items():
                item.mapping()
    except ContractError as error:
        raise CaptionsFileError(str(error)) from error
    return found
