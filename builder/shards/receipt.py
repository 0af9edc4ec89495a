"""Receipts: a small file for each shard, kept beside the data, that proves that the shard is done.

A shard is done if four things hold. Its receipt names the plan and the settings of this build. The
receipt is not damaged. The shard's file has the size and the checksum in the receipt. And the shard
was made from the bytes that the source holds now. Otherwise the shard is built again, and nothing
of its receipt is used.

The source's bytes are the same if its files have the names, sizes and mtimes (or ETags) of the
earlier build. If only the mtimes differ, as after `touch` or `cp`, the items' bytes are read and
hashed, and their sha256 is compared with the one in the receipt. That takes a small part of the
time of a build, and it proves as much as the mtimes do, or more. The receipt then gets the new
mtimes, so the next run reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import builder
from asam_datasets.batches import Layout
from asam_datasets.contract import Node, read_document, signed
from asam_datasets.errors import ContractError
from asam_datasets.index import FORMAT_VERSION, source_from_json
from asam_datasets.shards import Shard
from builder.core.errors import ShardError
from builder.core.files import read_file, sha256_file, write_json
from builder.core.layout import SHARD_NAME, config_folder, receipts_folder
from builder.core.records import Json, Reject
from builder.core.rejects import reject_from_json
from builder.shards.plan import ShardPlan

_ALWAYS_COUNTED = ("images", "masks", "captions_missing")
COUNTED = (*_ALWAYS_COUNTED, "orientation_reset")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a shard holds, and what it was made from.

    Parameters
    ----------
    config, split
        The config and the split of the shard.
    shard
        The shard as the index describes it.
    plan_sha256, settings_sha256
        The hashes of the shard's plan and of the settings.
    versions_sha256, inputs_sha256
        The hashes of the versions of the items' files, and of all bytes that the items were read
        from.
    source
        The fingerprint of the source.
    counts
        The numbers of `images`, `masks`, `captions_missing` and `orientation_reset`.
    unknown_keys
        How often each key was found that the source's format does not document.
    rejects
        The rejects of the shard's items, in order.
    code_version
        The version of the project that built the shard.
    """

    config: str
    split: str
    shard: Shard
    plan_sha256: str
    settings_sha256: str
    versions_sha256: str
    inputs_sha256: str
    source: Mapping[str, Any]
    counts: Mapping[str, int]
    unknown_keys: Mapping[str, int]
    rejects: tuple[Reject, ...]
    code_version: str = builder.__version__

    @classmethod
    def from_json(cls, node: Node, config: str, file: str, layout: Layout | None) -> Receipt:
        """Check a document whose checksum is right, and make a receipt of it.

        Parameters
        ----------
        node
            The document.
        config, file
            The config and the file name of the shard that it must belong to.
        layout
            The layout of the config's schema; None for a Parquet shard.

        Raises
        ------
        ContractError
            A field is not valid.
        """
        match = SHARD_NAME.fullmatch(file)
        node["config"].equal(config)
        node["split"].equal(match["split"] if match else None)
        counts = {name: node["counts"][name].integer(0) for name in _ALWAYS_COUNTED}
        counts["orientation_reset"] = node["counts"].count("orientation_reset")
        receipt = cls(
            config=config,
            split=node["split"].text(),
            shard=Shard.from_json(node["shard"], file, layout),
            plan_sha256=node["plan_sha256"].sha256(),
            settings_sha256=node["settings_sha256"].sha256(),
            versions_sha256=node["versions_sha256"].sha256(),
            inputs_sha256=node["inputs_sha256"].sha256(),
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
                "versions_sha256": self.versions_sha256,
                "inputs_sha256": self.inputs_sha256,
                "source": dict(self.source),
                "counts": dict(self.counts),
                "unknown_keys": dict(self.unknown_keys),
                "rejects": [asdict(reject) for reject in self.rejects],
                "code_version": self.code_version,
            }
        )


def receipt_path(dist: Path, config: str, file: str) -> Path:
    """The path of a shard's receipt."""
    return receipts_folder(dist, config) / f"{file}.json"


def write_receipt(dist: Path, receipt: Receipt) -> None:
    """Write a receipt atomically. From then on its shard counts as done."""
    write_json(receipt_path(dist, receipt.config, receipt.shard.file), receipt.to_json())


def read_receipt(dist: Path, config: str, file: str, layout: Layout | None) -> Receipt | None:
    """Read a shard's receipt.

    Parameters
    ----------
    dist, config, file
        The dist, the config, and the shard's file name.
    layout
        The layout of the config's schema; None for a Parquet shard.

    Returns
    -------
    Receipt or None
        None if there is no receipt.

    Raises
    ------
    ContractError
        The receipt is damaged, or has format 1.
    """
    path = receipt_path(dist, config, file)
    content = read_file(path)
    if content is None:
        return None
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
    inputs: Callable[[ShardPlan], str],
) -> tuple[Receipt | None, str]:
    """Find out whether a shard is done.

    Parameters
    ----------
    dist, config
        The dist and the config.
    shard
        The shard's plan.
    fmt
        "arrow" or "parquet".
    settings_sha256
        The hash of the settings of this build.
    layout
        The layout of the config's schema; None for Parquet.
    inputs
        Reads the shard's items from the source, and gives the hash of their bytes.

    Returns
    -------
    receipt : Receipt or None
        The shard's receipt, or None if the shard has to be built.
    why : str
        Why a shard that was built before has to be built again. Empty if it was not built before,
        or is done.
    """
    try:
        receipt = read_receipt(dist, config, shard.file(fmt), layout)
        if receipt is None:
            return None, ""
        if receipt.settings_sha256 != settings_sha256:
            return None, "it was built with other settings"
        if receipt.plan_sha256 != shard.sha256():
            return None, "the source has files of other names or sizes"
        check_file(config_folder(dist, config) / receipt.shard.file, receipt.shard)
    except (ContractError, ShardError) as error:
        return None, str(error)
    versions = shard.versions_sha256()
    if receipt.versions_sha256 != versions:
        if receipt.inputs_sha256 != inputs(shard):
            return None, "the source's files have other content"
        receipt = replace(receipt, versions_sha256=versions)
        write_receipt(dist, receipt)
    return receipt, ""


def check_file(path: Path, shard: Shard) -> None:
    """Compare a file with its shard's entry by size and sha256.

    Raises
    ------
    ShardError
        The file is absent, or its size or checksum is another one.
    """
    if not path.is_file():
        raise ShardError(f"{path.name}: expected {shard.bytes} bytes, found no file")
    size = path.stat().st_size
    if size != shard.bytes:
        raise ShardError(f"{path.name}: expected {shard.bytes} bytes, found {size}")
    sha256 = sha256_file(path)
    if sha256 != shard.sha256:
        raise ShardError(f"{path.name}: expected sha256 {shard.sha256}, found {sha256}")
