"""Builds ASAM-Datasets: the files directly in here are the commands, the folders the library.

`builder.__main__` lists the commands and calls them. CONTRIBUTING.md says what each folder holds
and which way imports run; tests/test_imports.py checks it.
"""

import os
import sys


def _leave_working_directory() -> None:
    """Remove the working directory from the path that modules are imported from.

    `python -m` puts it first in that path. A dist holds a file asam_datasets.py, and a dist from
    someone else may hold a numpy.py. Neither may be run. The folder stays in the path only if the
    builder itself is in it, as in a checkout. `builder.core.processes.safe_start` does the same for
    worker processes.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # the folder was removed, so nothing can be imported from it
        return
    if os.path.realpath(os.path.dirname(__path__[0])) != here:
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]


# While Python looks for the module that `python -m` names, sys.argv[0] is "-m".
if sys.argv[:1] == ["-m"]:
    _leave_working_directory()

if "ASAM_DATASETS_PARENT" in os.environ:  # this is a worker
    from builder.core.processes import follow_parent

    follow_parent()

from asam_datasets import __version__ as __version__  # one for the whole project
