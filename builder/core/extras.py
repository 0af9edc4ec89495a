"""Optional packages, and the one message for a missing one.

Each extra is a list of packages in pyproject.toml: `caption`, `eval`, `examples`, `preview`,
`ray`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from builder.core.console import EXIT_FAILED, say
from builder.core.errors import MissingExtraError
from builder.core.options import SCRIPT

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
        A package is not installed. The message names all that the extra lacks, and how to install
        them.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "builder", "asam_datasets"):  # a bug of this project
            raise
        package = _PACKAGES.get(module, module)
        missing = list(dict.fromkeys([package, *filter(_absent, _packages(extra))]))
        one = len(missing) == 1
        raise MissingExtraError(
            f"{what} needs the package{'' if one else 's'} {', '.join(missing)}, which "
            f"{'is' if one else 'are'} not installed: in the project's folder run "
            f'pip install ".[{extra}]", or anywhere pip install {" ".join(missing)}'
        ) from error


def _packages(extra: str) -> list[str]:
    """The packages of an extra, by the installed project, else by the checkout's pyproject.toml."""
    try:
        listed = [
            line for line in requires(SCRIPT) or () if re.search(rf"extra == .{extra}.", line)
        ]
    except PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        table = tomllib.loads(project.read_text("utf-8")) if project.exists() else {}
        listed = table.get("project", {}).get("optional-dependencies", {}).get(extra, [])
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in listed]


def _absent(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False


@contextmanager
def program_needs(what: str, extra: str) -> Iterator[None]:
    """`needs` for the imports at the top of a program: it ends with one line, not a traceback."""
    try:
        with needs(what, extra):
            yield
    except MissingExtraError as error:
        say(f"error: {error}")
        raise SystemExit(EXIT_FAILED) from error
