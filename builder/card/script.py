"""Finds the published loading code, a file that tools/amalgamate.py generates from the package."""

from __future__ import annotations

from pathlib import Path

from builder.core.layout import SCRIPT


def script_path() -> Path:
    """The path of the text that build and push publish as asam_datasets.py.

    In an installed project it is a data file beside this module, whose name Python can't import. In
    a checkout it is the file at the top.
    """
    installed = Path(__file__).with_name(f"{SCRIPT}.txt")
    return installed if installed.exists() else Path(__file__).parents[2] / SCRIPT
