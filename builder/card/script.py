"""The published loading code: one file, which tools/amalgamate.py makes of the package."""

from __future__ import annotations

from pathlib import Path

from builder.core.layout import SCRIPT


def script_path() -> Path:
    """Where the text is that build and push publish as asam_datasets.py.

    In an installed project it is data beside this module, named so that Python can't import it. In
    a checkout it is the file at the top.
    """
    installed = Path(__file__).with_name(f"{SCRIPT}.txt")
    return installed if installed.exists() else Path(__file__).parents[2] / SCRIPT
