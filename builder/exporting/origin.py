"""Where an export reads from: a config of a dist, of a repo on the Hub, or behind a URL.

`asam_datasets` reads it, so each record batch is checked against the index before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asam_datasets import ImageRoot, Index, Reader, open_index, open_store
from asam_datasets.patience import PATIENT, Patience
from builder.core.errors import SettingsError
from builder.core.records import Json


@dataclass(frozen=True, slots=True)
class Origin:
    """A config and where it is. Picklable; each process opens its own.

    Parameters
    ----------
    repo_or_path, revision
        As for `asam_datasets.load`.
    config
        The config's name.
    image_root
        The user's own copy of the images, used in place of those in the rows.
    patience
        How long a request may take, and how often it is repeated.
    """

    repo_or_path: str
    config: str
    revision: str | None = None
    image_root: Path | None = None
    patience: Patience = PATIENT

    def index(self) -> Index:
        """The config's index.

        Raises
        ------
        AsamDatasetsError
            There is no such folder, repo or config, or it can't be reached or read.
        """
        _open.cache_clear()  # the dist may have changed since this process's last export
        return _open(self)[0]

    def rows(self, file: str, index_sha256: str) -> Iterator[Json]:
        """The rows of one shard as Python values, in order.

        Raises
        ------
        SettingsError
            The index has changed since the export began.
        AsamDatasetsError
            The shard is damaged or can't be reached, or an image is not in `image_root`.
        """
        index, reader = _open(self)
        if index.sha256 != index_sha256:
            raise SettingsError(
                f"{self.repo_or_path}: {self.config} was replaced while it was being exported; "
                "export it again into another --out; for a repo, give --revision, too"
            )
        (shard,) = (shard for shard in index.shards if shard.file == file)
        if index.format == "parquet":
            batches = reader.read_parquet(index.path(shard), shard.rows)
        else:
            batches = reader.read_ahead(index.places([shard]))
        for batch in batches:
            for i in range(batch.num_rows):
                yield batch.slice(i, 1).to_pylist()[0]


@lru_cache(maxsize=1)
def _open(origin: Origin) -> tuple[Index, Reader]:
    store = open_store(origin.repo_or_path, origin.revision, patience=origin.patience)
    index = open_index(store, origin.config)
    images = ImageRoot(origin.image_root) if origin.image_root else None
    return index, Reader(store, index, None, images)
