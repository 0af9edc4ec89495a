"""The published file asam_datasets.py as a module beside the package of that name."""

from __future__ import annotations

import functools
import importlib.util
import sys
from types import ModuleType

from builder.card.script import script_path

NAME = "published_asam_datasets"


@functools.cache
def published() -> ModuleType:
    """The file, imported by path under a name of its own, once a process."""
    spec = importlib.util.spec_from_file_location(NAME, script_path())
    if spec is None or spec.loader is None:
        raise ImportError(f"{script_path()} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # where dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module
