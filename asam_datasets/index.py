"""A config's index.json: what the config holds.

It says where each record batch of each shard lies and each column of it, with checksums: a reader
needs nothing else of a shard but the bytes of the columns that it wants.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from asam_datasets.errors import CorruptDataError
from asam_datasets.names import unknown_name
from asam_datasets.schema import features_of
from asam_datasets.stores import Files, Hub

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Batch:
    """A record batch of a shard.

    `body` is where its body starts in the file and how long it is; `columns` hold start in the
    body, length and crc32 of each column; `message` is what stands before the body, base64 of zlib.
    """

    path: str
    number: int
    rows: int
    body: tuple[int, int]
    message: str
    columns: list[list[int]]


class Index:
    """What a config holds. Raises UnknownNameError where there is no such config."""

    def __init__(self, store: Files | Hub, config: str) -> None:
        self.store = store
        self.config = config
        try:
            content = store.read(f"data/{config}/index.json")
        except FileNotFoundError as error:
            if config in (known := store.configs()):
                raise self._corrupt(error) from error
            raise unknown_name("config", config, known, store.name) from None
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            found = json.loads(content)
            version = int(found["format_version"])
            self.format = str(found["format"])
            self.splits: dict[str, Any] = dict(found["splits"])
            if self.format not in ("arrow", "parquet"):
                raise ValueError(f"format {self.format!r}")
            if self.format == "arrow":
                self.schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(found["schema"])))
                self.features = datasets.Features.from_arrow_schema(self.schema)
            else:
                self.features = features_of(found["kind"])
                self.schema = self.features.arrow_schema
        except Exception as error:  # datasets and pyarrow raise what they like
            raise self._corrupt(error) from error
        if version > FORMAT_VERSION:
            raise CorruptDataError(
                f"{store.name}/data/{config}/index.json is of format {version}, this "
                f"asam_datasets.py reads up to {FORMAT_VERSION}: get the newer one from the repo"
            )

    def split(self, name: str | None) -> str:
        """The split of that name; for None the only one."""
        if name is None and len(self.splits) == 1:
            return next(iter(self.splits))
        if name not in self.splits:
            raise unknown_name(
                "split", name, self.splits, f"{self.store.name}, config {self.config}"
            )
        return str(name)

    def columns(self, names: Sequence[str] | None) -> list[str]:
        """The columns of those names; for None all of them."""
        for name in names or ():
            if name not in self.features:
                raise unknown_name("column", name, self.features, f"config {self.config}")
        return list(dict.fromkeys(names or self.features))

    def shards(self, split: str) -> dict[str, Any]:
        """The entries of a split's shards by their path."""
        try:
            return {f"data/{self.config}/{s['file']}": s for s in self.splits[split]["shards"]}
        except (KeyError, TypeError) as error:
            raise self._corrupt(error) from error

    def batches(self, split: str) -> list[Batch]:
        """The record batches of a split's Arrow shards, in order."""
        shards = self.shards(split).items()
        try:
            return [
                Batch(
                    path=path,
                    number=number,
                    rows=int(batch["rows"]),
                    body=(int(batch["offset"]) + int(batch["metadata"]), int(batch["body"])),
                    message=str(batch["message"]),
                    columns=[
                        [int(start), int(length), int(crc32)]
                        for _, (start, length, crc32) in zip(
                            self.schema, batch["columns"], strict=True
                        )
                    ],
                )
                for path, shard in shards
                for number, batch in enumerate(shard["batches"])
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> CorruptDataError:
        return CorruptDataError(
            f"{self.store.name}/data/{self.config}/index.json is absent or damaged: {error!r}; "
            "get it or build the config again"
        )
