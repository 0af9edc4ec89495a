"""Builds ASAM-Datasets: the files directly in here are the commands, the folders the library.

`builder.__main__` lists the commands and calls them. CONTRIBUTING.md says what each folder holds
and which way imports run; tests/test_imports.py checks it.
"""

import os
import sys


def _leave_working_directory() -> None:
    """Take the folder that a command stands in off the path that modules are imported from.

    `python -m` puts that folder first. A dist holds a file asam_datasets.py, and one from someone
    else may hold a numpy.py: neither is to be run. The folder stays only if the builder is in it,
    as in a checkout. `builder.core.processes.safe_path` does the same for worker processes.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # the folder was removed: nothing can be imported from it
        return
    if os.path.realpath(os.path.dirname(__path__[0])) != here:
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]


# sys.argv[0] is this while Python looks for the module that `python -m` names.
if sys.argv[:1] == ["-m"]:
    _leave_working_directory()

from asam_datasets import __version__ as __version__  # one for the whole project
