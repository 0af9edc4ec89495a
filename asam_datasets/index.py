"""A config's index.json: what the config holds.

It lists the shards with their size and sha256. For an Arrow shard it also says where each record
batch lies, with a crc32 of each column. So a reader fetches only the bytes of the columns that it
wants.

The file may come from anyone. `parse_index` checks every field, and raises ContractError for any
fault. What it returns is safe to use: every name stays inside the config's folder, every number
inside its file, and all sums add up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import datasets
import pyarrow as pa

from asam_datasets.batches import Layout
from asam_datasets.contract import Node, check_size, read_document, sha256_json, signed
from asam_datasets.deadlines import LOG
from asam_datasets.errors import ContractError, UnknownNameError
from asam_datasets.format1 import upgraded
from asam_datasets.names import CONFIG_NAME, FORMATS, LONGEST_NAME, unknown_name
from asam_datasets.schema import KINDS, check_columns, features_from_json, features_to_json
from asam_datasets.shards import Place, Shard, Split
from asam_datasets.stores import Files, Hub

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """What a config's build counted.

    `rejects` counts by their reason, `unknown_keys` the keys that no schema documents.
    `orientation_reset` counts the images whose EXIF orientation was set to 1.
    """

    images: int
    masks: int
    captions_missing: int
    rejects: Mapping[str, int]
    unknown_keys: Mapping[str, int]
    orientation_reset: int = 0

    @classmethod
    def from_json(cls, node: Node) -> Counts:
        """Check and take an index's counts; raises ContractError."""
        return cls(
            images=node["images"].integer(0),
            masks=node["masks"].integer(0),
            captions_missing=node["captions_missing"].integer(0),
            rejects=node["rejects"].counts(),
            unknown_keys=node["unknown_keys"].counts(),
            orientation_reset=node.count("orientation_reset"),
        )

    def to_json(self) -> dict[str, Any]:
        """As the index holds them."""
        return {
            "images": self.images,
            "masks": self.masks,
            "captions_missing": self.captions_missing,
            "rejects": dict(self.rejects),
            "unknown_keys": dict(self.unknown_keys),
            "orientation_reset": self.orientation_reset,
        }


@dataclass(frozen=True, slots=True)
class Rejects:
    """The config's rejects.jsonl: how many lines it has, and its sha256."""

    rows: int
    sha256: str

    @classmethod
    def from_json(cls, node: Node) -> Rejects:
        """Check and take what an index says of the table; raises ContractError."""
        return cls(node["rows"].integer(0), node["sha256"].sha256())

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        return {"rows": self.rows, "sha256": self.sha256}


@dataclass(frozen=True)
class Index:
    """What a config holds.

    Parameters
    ----------
    config, kind, format
        The config's name, "train" or "eval", "arrow" or "parquet".
    features
        The columns of its rows.
    annotations_only
        Whether its rows have no pixels.
    source
        What identifies the input: its `name`, and other strings, integers, booleans and nulls.
    settings
        The settings of the build. A build with other settings starts anew.
    code_version
        The version of the project that built it.
    counts, rejects, splits
        What the build counted, the table of rejects, and the shards by split.
    name
        The file that the index was read from, for messages.
    sha256
        The checksum of the index's content. Different indexes have different checksums.
    format_version
        The format of the file that the index was read from.
    """

    config: str
    kind: str
    format: str
    features: datasets.Features
    annotations_only: bool
    source: Mapping[str, Any]
    settings: Mapping[str, Any]
    code_version: str
    counts: Counts
    rejects: Rejects
    splits: Mapping[str, Split]
    name: str = field(default="", compare=False)
    sha256: str = field(default="", compare=False)
    format_version: int = field(default=FORMAT_VERSION, compare=False)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its rows."""
        return self.features.arrow_schema

    @cached_property
    def layout(self) -> Layout:
        """How its record batches are made up of arrays and buffers."""
        return Layout(self.schema)

    @cached_property
    def settings_sha256(self) -> str:
        """The checksum of its settings; the receipts of its build state the same one."""
        return sha256_json(self.settings)

    @property
    def sample(self) -> bool:
        """Whether it was built from the sample that this project makes by code."""
        return self.settings.get("sample") is True

    @property
    def source_name(self) -> str:
        """The name of the tar, folder or release that it was built from."""
        return str(self.source["name"])

    @property
    def captions_model(self) -> str | None:
        """Which model and preset made its captions, where that is recorded."""
        found = self.settings.get("captions_model")
        return found if isinstance(found, str) else None

    @property
    def shards(self) -> list[Shard]:
        """The shards of all splits."""
        return [shard for split in self.splits.values() for shard in split.shards]

    @property
    def num_rows(self) -> int:
        """The rows of all splits."""
        return sum(split.num_rows for split in self.splits.values())

    @property
    def num_bytes(self) -> int:
        """The bytes of all shards."""
        return sum(split.num_bytes for split in self.splits.values())

    def split(self, name: str | None) -> Split:
        """The split of that name; None is the only one. Raises UnknownNameError."""
        if name is None and len(self.splits) == 1:
            return next(iter(self.splits.values()))
        if name is None or name not in self.splits:
            raise unknown_name("split", name, self.splits, self.name)
        return self.splits[name]

    def columns(self, names: Sequence[str] | None) -> list[str]:
        """The columns of those names, each once; None is all. Raises UnknownNameError."""
        if isinstance(names, str):
            raise UnknownNameError(f"columns: expected a list of names, such as [{names!r}]")
        if names is not None and not (isinstance(names, Collection) and names):
            raise UnknownNameError(
                f"columns: expected a list of names, or None for all columns, found {names!r}"
            )
        for name in names or ():
            if name not in self.features:
                raise unknown_name("column", name, self.features, f"config {self.config}")
        return list(dict.fromkeys(names or self.features))

    def path(self, shard: Shard) -> str:
        """Where a shard stands in the dist."""
        return f"data/{self.config}/{shard.file}"

    def places(self, shards: Sequence[Shard]) -> list[Place]:
        """The record batches of Arrow shards, in order."""
        return [
            Place(self.path(shard), number, batch)
            for shard in shards
            for number, batch in enumerate(shard.batches)
        ]

    @classmethod
    def from_json(cls, node: Node, config: str) -> Index:
        """Check and take an index of format 2. The caller has checked its checksum.

        Parameters
        ----------
        node
            The document.
        config
            The name that the config must have.

        Raises
        ------
        ContractError
            A field is invalid or contradicts another.
        """
        if len(config) > LONGEST_NAME or not CONFIG_NAME.fullmatch(config):
            node["config"].fail("letters, digits, '_', '.' and '-', after a letter or digit")
        node["config"].equal(config)
        fmt = node["format"].choice(*FORMATS)
        features = features_from_json(node["features"])
        kind = node["kind"].choice(*KINDS)
        check_columns(node["features"], features, kind)
        layout = Layout(features.arrow_schema) if fmt == "arrow" else None
        index = cls(
            config=config,
            kind=kind,
            format=fmt,
            features=features,
            annotations_only=node["annotations_only"].flag(),
            source=source_from_json(node["source"]),
            settings=node["settings"].mapping(),
            code_version=node["code_version"].text(),
            counts=Counts.from_json(node["counts"]),
            rejects=Rejects.from_json(node["rejects"]),
            splits={
                name: Split.from_json(split, name, fmt, layout)
                for name, split in node["splits"].members().items()
            },
            name=node.file,
        )
        node["settings_sha256"].equal(index.settings_sha256)
        node["settings"]["format"].equal(fmt)
        node["counts"]["images"].equal(index.num_rows)
        node["rejects"]["rows"].equal(sum(index.counts.rejects.values()))
        return index

    def to_json(self) -> dict[str, Any]:
        """As the file holds it, with its checksum."""
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "config": self.config,
                "kind": self.kind,
                "format": self.format,
                "features": features_to_json(self.features),
                "annotations_only": self.annotations_only,
                "source": dict(self.source),
                "settings": dict(self.settings),
                "settings_sha256": self.settings_sha256,
                "code_version": self.code_version,
                "counts": self.counts.to_json(),
                "rejects": self.rejects.to_json(),
                "splits": {name: split.to_json() for name, split in self.splits.items()},
            }
        )


def source_from_json(node: Node) -> dict[str, Any]:
    """What identifies an input: plain values, one of them its name. Raises ContractError."""
    node["name"].text()
    for member in node.members().values():
        if not isinstance(member.value, str | int | None):
            member.fail("a string, an integer, true, false or null")
    return node.mapping()


def parse_index(content: bytes, name: str, config: str) -> Index:
    """The index that a file holds.

    Parameters
    ----------
    content
        The file's bytes.
    name
        Where the file is, for messages.
    config
        The name that the config must have.

    Raises
    ------
    ContractError
        The file is not a valid index of that config.
    """
    node, version = read_document(content, name, FORMAT_VERSION)
    if version > 1:
        return replace(Index.from_json(node, config), sha256=node["sha256"].sha256())
    index = Index.from_json(upgraded(node), config)
    control = "; its control images are not ASAM's, so decode_control names the wrong masks"
    LOG.warning(
        "%s is of format 1, which had no checksum of its own%s: build the config again",
        name,
        control if index.kind == "train" else "",
    )
    return replace(index, sha256=hashlib.sha256(content).hexdigest(), format_version=version)


def open_index(store: Files | Hub, config: str, *, keep: bool = True) -> Index:
    """The index of a config of a dist.

    Parameters
    ----------
    store
        Where the dist is.
    config
        The config's name.
    keep
        Whether a repo's index is kept in the Hub's cache, where it can be read later without a
        network. Without that, one request gives it, and no process is started.

    Raises
    ------
    UnknownNameError
        The dist holds no such config.
    ContractError
        It has no index, or one that can't be used.
    UnreachableError
        It can't be read.
    """
    path = f"data/{config}/index.json"
    name = f"{store.name}/{path}"
    if not CONFIG_NAME.fullmatch(config):
        raise unknown_name("config", config, store.configs(), store.name)
    try:
        if keep and isinstance(store, Hub):
            store.local(path)  # puts it in the cache
        return parse_index(store.fetch(path, lambda size: check_size(size, name)), name, config)
    except FileNotFoundError as error:
        if config in (known := store.configs()):
            raise ContractError(f"{name} is not there: get it, or build the config") from error
        raise unknown_name("config", config, known, store.name) from None
