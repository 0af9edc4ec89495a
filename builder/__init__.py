"""Builds ASAM-Datasets: the files directly in here are the commands, the folders the library.

`builder.__main__` lists the commands and calls them. CONTRIBUTING.md says what each folder holds
and which way imports run; tests/test_imports.py checks it.
"""

from asam_datasets import __version__ as __version__  # one for the whole project
