"""Builds ASAM-Datasets: the files directly in here are the commands, the folders the library.

Imports run one way: commands -> engines, hub -> shards -> sources, masks, captioning ->
records, errors; and to `asam_datasets` for the schema.
"""

__version__ = "0.1.0"
