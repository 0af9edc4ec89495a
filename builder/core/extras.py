"""Optional packages, and the one message for a missing one.

Each extra is a list of packages in pyproject.toml: `caption`, `eval`, `examples`, `preview`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from builder.core.console import EXIT_FAILED, say
from builder.core.errors import MissingExtraError

# Packages whose name at the registry differs from the module's name.
_PACKAGES = {"cv2": "opencv-python-headless", "skimage": "scikit-image"}


@contextmanager
def needs(what: str, extra: str) -> Iterator[None]:
    """Import optional packages within this context.

    Parameters
    ----------
    what
        What can't be done without them, as the message names it.
    extra
        The extra of pyproject.toml that holds them.

    Raises
    ------
    MissingExtraError
        A package is not installed. The message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "builder", "asam_datasets"):  # a bug of this project
            raise
        package = _PACKAGES.get(module, module)
        raise MissingExtraError(
            f"{what} needs the package {package}, which is not installed: in the project's folder "
            f'run pip install ".[{extra}]", or anywhere pip install {package}'
        ) from error


@contextmanager
def program_needs(what: str, extra: str) -> Iterator[None]:
    """`needs` for the imports at the top of a program: it ends with one line, not a traceback."""
    try:
        with needs(what, extra):
            yield
    except MissingExtraError as error:
        say(f"error: {error}")
        raise SystemExit(EXIT_FAILED) from error
