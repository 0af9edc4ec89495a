"""Checks of arguments: a wrong one is named before anything is opened."""

from __future__ import annotations

import math
import operator
from typing import Any

from asam_datasets.errors import AsamDatasetsError


def check_whole(name: str, value: Any) -> int:
    """A whole number of 0 or more; raises AsamDatasetsError that names the argument.

    >>> check_whole("epoch", 3)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise AsamDatasetsError(f"{name} must be a whole number, 0 or more, not {value!r}")
    return number


def check_above_zero(name: str, value: Any) -> float:
    """A finite number above 0; raises AsamDatasetsError that names the argument."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise AsamDatasetsError(f"{name} must be a number above 0, not {value!r}")
    return float(number)


def check_text(name: str, value: Any, example: str) -> str:
    """A string; raises AsamDatasetsError that names the argument and shows an example."""
    if not isinstance(value, str):
        raise AsamDatasetsError(f"{name} must be a string such as {example!r}, not {value!r}")
    return value
