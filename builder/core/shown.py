"""Pictures as `load_dataset` shows them: the functions of `asam_datasets.pictures`."""

from __future__ import annotations

from asam_datasets.pictures import orientation as orientation
from asam_datasets.pictures import picture_size as picture_size
from asam_datasets.pictures import show as show
