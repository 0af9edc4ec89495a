"""The builder class of `datasets`: it copies a config into the library's cache.

In datasets 3 it is `load_dataset("path/asam_datasets.py", config, trust_remote_code=True)`;
`AsamDatasets(config_name=config)` works with every version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import pyarrow as pa

from asam_datasets.images import ImageRoot
from asam_datasets.index import open_index
from asam_datasets.names import REPO_ID, config_names
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.reading import Reader
from asam_datasets.shards import Place, Shard
from asam_datasets.stores import open_store
from asam_datasets.stream import units

VERSION = datasets.Version("1.0.0")


@dataclass
class AsamConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """Options of the builder class. `data_dir`, a dist's folder, replaces `repo_or_path`."""

    repo_or_path: str = REPO_ID
    columns: list[str] | None = None
    image_root: str | None = None


class AsamDatasets(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Copies a config into the library's cache, and checks each record batch on the way."""

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = AsamConfig
    BUILDER_CONFIGS: ClassVar = [AsamConfig(name=n, version=VERSION) for n in config_names()]

    def __init__(
        self,
        cache_dir: str | None = None,
        dataset_name: str | None = None,
        *args: Any,
        patience: Patience = PATIENT,
        **kw: Any,
    ) -> None:
        self._patience = patience  # no option of the config, whose options name the cache's folder
        # `dataset_name` names the cache's folder. The default would be the module's name.
        super().__init__(cache_dir, dataset_name or "asam_datasets", *args, **kw)

    def _create_builder_config(self, **kwargs: Any) -> tuple[AsamConfig, str]:
        """The config and its id, which names the cache's folder.

        The id holds the index's checksum, so that other data are kept in another folder.
        """
        config, config_id = super()._create_builder_config(**kwargs)
        self.store = open_store(
            config.data_dir or config.repo_or_path, token=self.token, patience=self._patience
        )
        self.index = open_index(self.store, config.name)
        return config, f"{config_id}-{self.index.sha256[:16]}"

    def _info(self) -> datasets.DatasetInfo:
        names = self.index.columns(self.config.columns)
        features = datasets.Features({name: self.index.features[name] for name in names})
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        root = self.config.image_root
        images = ImageRoot(root) if root else None
        self._reader = Reader(self.store, self.index, self.config.columns, images)
        return [
            datasets.SplitGenerator(name, {"parts": self._parts(split.shards)})
            for name, split in self.index.splits.items()
        ]

    def _parts(self, shards: Sequence[Shard]) -> list[list[Place]] | list[Shard]:
        if self.index.format == "arrow":
            return units(self.index.places(shards))
        return list(shards)

    def _generate_tables(
        self, parts: Sequence[list[Place] | Shard]
    ) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        read = self._reader
        for i, part in enumerate(parts):
            tables = (
                read.read_parquet(self.index.path(part), part.rows)
                if isinstance(part, Shard)
                else read.read_ahead(part)
            )
            for j, table in enumerate(tables):
                yield (i, j), pa.Table.from_batches([table])


class AnyConfig(AsamDatasets):
    """`AsamDatasets` for a config of any name, such as one built with `--config`."""

    BUILDER_CONFIGS: ClassVar[list[AsamConfig]] = []
