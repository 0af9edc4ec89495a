"""Builds ASAM-Datasets: the files directly in here are the commands, the folders the library.

Beside the commands stand the leaves that everything else uses: console, errors, files, layout and
records. Imports run one way: commands -> engines, hub, exporting, previewing -> shards -> sources,
captioning -> masks -> the leaves; and to `asam_datasets`.
"""

from asam_datasets import __version__ as __version__  # one for the whole project
