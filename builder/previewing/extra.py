"""The packages that drawing needs, missed in one place."""

from __future__ import annotations

from importlib.util import find_spec

from builder.core.errors import MissingExtraError


def require() -> None:
    """Raise MissingExtraError when a package of the extra `preview` is not installed."""
    for package in ("matplotlib", "contourpy", "jinja2"):
        if find_spec(package) is None:
            raise MissingExtraError("builder.preview", package, "preview")
