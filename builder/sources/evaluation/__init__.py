"""The evaluation suite: one table, and the readers of its releases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.sources.evaluation.catalogue import format_list, list_eval
from builder.sources.evaluation.source import EvalSource
from builder.sources.evaluation.table import row

__all__ = ["EvalSource", "format_list", "list_eval", "open_source", "row"]


def open_source(
    name: str,
    protocol: str,
    folder: Path,
    *,
    annotations_only: bool = False,
    splits: Sequence[str] | None = None,
    limit: int | None = None,
) -> EvalSource:
    """A release as a source. Its folder is checked later, by `listing`.

    Parameters
    ----------
    name
        The dataset's name in the table.
    protocol
        `native`, `sam` or `asam`.
    folder, annotations_only, splits, limit
        As for `EvalSource`.

    Raises
    ------
    SettingsError
        There is no such dataset, or it has no such protocol.
    """
    row(name).protocol(protocol)
    chosen = tuple(splits) if splits is not None else None
    return EvalSource(name, protocol, Path(folder), annotations_only, chosen, limit)
