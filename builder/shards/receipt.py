"""Receipts: what proves that a shard is done, one small file each, kept beside the data.

A shard is done when its receipt names this plan and these settings, and the file is the one that
the receipt describes. Anything else is built again, and so is a shard whose receipt is damaged:
nothing of such a receipt is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import builder
from asam_datasets.batches import Layout
from asam_datasets.contract import Node, check_size, read_document, signed
from asam_datasets.errors import ContractError
from asam_datasets.index import FORMAT_VERSION, source_from_json
from asam_datasets.shards import Shard
from builder.core.errors import ShardError
from builder.core.files import sha256_file, write_json
from builder.core.layout import SHARD_NAME, config_folder, receipts_folder
from builder.core.records import Json, Reject
from builder.core.rejects import reject_from_json
from builder.shards.plan import ShardPlan

COUNTED = ("images", "masks", "captions_missing")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is in a shard, and what it was made of.

    Parameters
    ----------
    config, split
        Where the shard belongs.
    shard
        The shard as the index describes it.
    plan_sha256, settings_sha256
        What names the items that went in, and the settings.
    source
        What names the input.
    counts
        How many `images`, `masks` and `captions_missing`.
    unknown_keys
        Keys that no schema documents, by how often they were met.
    rejects
        The rejects met, in order.
    code_version
        Of the project that built the shard.
    """

    config: str
    split: str
    shard: Shard
    plan_sha256: str
    settings_sha256: str
    source: Mapping[str, Any]
    counts: Mapping[str, int]
    unknown_keys: Mapping[str, int]
    rejects: tuple[Reject, ...]
    code_version: str = builder.__version__

    @classmethod
    def from_json(cls, node: Node, config: str, file: str, layout: Layout | None) -> Receipt:
        """Check and take a receipt whose checksum was found good.

        Parameters
        ----------
        node
            The document.
        config, file
            The shard that it must be of.
        layout
            Of the config's schema; None for a Parquet shard.

        Raises
        ------
        ContractError
            A field is not what it should be.
        """
        match = SHARD_NAME.fullmatch(file)
        node["config"].equal(config)
        node["split"].equal(match["split"] if match else None)
        counts = {name: node["counts"][name].integer(0) for name in COUNTED}
        receipt = cls(
            config=config,
            split=node["split"].text(),
            shard=Shard.from_json(node["shard"], file, layout),
            plan_sha256=node["plan_sha256"].sha256(),
            settings_sha256=node["settings_sha256"].sha256(),
            source=source_from_json(node["source"]),
            counts=counts,
            unknown_keys=node["unknown_keys"].counts(),
            rejects=tuple(reject_from_json(item) for item in node["rejects"].items()),
            code_version=node["code_version"].text(),
        )
        node["counts"]["images"].equal(receipt.shard.rows)
        return receipt

    def to_json(self) -> Json:
        """As the file holds it, with its checksum."""
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "config": self.config,
                "split": self.split,
                "shard": self.shard.to_json(),
                "plan_sha256": self.plan_sha256,
                "settings_sha256": self.settings_sha256,
                "source": dict(self.source),
                "counts": dict(self.counts),
                "unknown_keys": dict(self.unknown_keys),
                "rejects": [asdict(reject) for reject in self.rejects],
                "code_version": self.code_version,
            }
        )


def receipt_path(dist: Path, config: str, file: str) -> Path:
    """Where a shard's receipt stands."""
    return receipts_folder(dist, config) / f"{file}.json"


def write_receipt(dist: Path, receipt: Receipt) -> None:
    """Write a receipt atomically: from now on its shard is done."""
    write_json(receipt_path(dist, receipt.config, receipt.shard.file), receipt.to_json())


def read_receipt(dist: Path, config: str, file: str, layout: Layout | None) -> Receipt | None:
    """A shard's receipt, or None where there is none.

    Parameters
    ----------
    dist, config, file
        The dist, the config, and the shard's file name.
    layout
        Of the config's schema; None for a Parquet shard.

    Raises
    ------
    ContractError
        It is damaged, or is of format 1.
    """
    path = receipt_path(dist, config, file)
    try:
        check_size(path.stat().st_size, str(path))
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ContractError(f"{path}: can't be read: {error}; build the config again") from error
    node, version = read_document(content, str(path), FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ContractError(
            f"{path} is of format {version}, expected {FORMAT_VERSION}: build the config again"
        )
    return Receipt.from_json(node, config, file, layout)


def done(
    dist: Path,
    config: str,
    shard: ShardPlan,
    fmt: str,
    settings_sha256: str,
    layout: Layout | None,
) -> Receipt | None:
    """The receipt of a shard that needn't be built, or None."""
    try:
        receipt = read_receipt(dist, config, shard.file(fmt), layout)
        if (
            receipt is None
            or receipt.settings_sha256 != settings_sha256
            or receipt.plan_sha256 != shard.sha256()
        ):
            return None
        check_file(config_folder(dist, config) / receipt.shard.file, receipt.shard)
    except (ContractError, ShardError):
        return None
    return receipt


def check_file(path: Path, shard: Shard) -> None:
    """Compare a file with its shard's entry by size and sha256.

    Raises
    ------
    ShardError
        The file is absent, or another one; says what was expected and found.
    """
    if not path.is_file():
        raise ShardError(f"{path.name}: expected {shard.bytes} bytes, found no file")
    size = path.stat().st_size
    if size != shard.bytes:
        raise ShardError(f"{path.name}: expected {shard.bytes} bytes, found {size}")
    sha256 = sha256_file(path)
    if sha256 != shard.sha256:
        raise ShardError(f"{path.name}: expected sha256 {shard.sha256}, found {sha256}")
