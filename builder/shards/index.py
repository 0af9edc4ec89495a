"""Writes the index of a config from its receipts, and reads it.

Every reader relies on the index. asam_datasets.index defines and checks its content.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import builder
from asam_datasets.index import Counts, Index, Rejects, parse_index
from asam_datasets.schema import features_of
from asam_datasets.shards import Shard, Split
from builder.core.errors import ShardError
from builder.core.files import dump_json, read_file, write_bytes
from builder.core.layout import SHARD_NAME, config_folder, index_path, rejects_path
from builder.core.rejects import add_keys, count_reasons, write_rejects
from builder.shards.receipt import Receipt
from builder.shards.refusal import refusals
from builder.shards.state import StoredPlan


def write_index(
    dist: Path, config: str, plan: StoredPlan, receipts: Sequence[Receipt], max_rejects: float
) -> tuple[Index, list[str]]:
    """Write a config's rejects table and index, and remove shards that no receipt names.

    In the rejects table, those of the listing come first. Those of the shards follow in order.
    Before the index is written, it is checked as every reader checks it.

    A config with too many rejects gets no index, and an earlier one is removed. So nothing loads,
    verifies or publishes it. Its shards stay, and a run that accepts more rejects finishes it.

    Parameters
    ----------
    dist
        The dist's folder.
    config
        The config's name.
    plan
        The plan of the build.
    receipts
        Those of all shards, in order.
    max_rejects
        The largest share of rejects that is accepted, 0 to 1.

    Returns
    -------
    Index
        The index as a reader gets it.
    list of str
        Why the config was refused. If there is a reason, the index was not written.
    """
    read_rejects = [reject for receipt in receipts for reject in receipt.rejects]
    rejects = [*plan.listed.rejects, *read_rejects]
    table = write_rejects(rejects)
    write_bytes(rejects_path(dist, config), table)

    shards: dict[str, list[Shard]] = {}
    counts: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for receipt in receipts:
        shards.setdefault(receipt.split, []).append(receipt.shard)
        counts.update(receipt.counts)
        add_keys(unknown, receipt.unknown_keys)
    index = Index(
        config=config,
        kind=plan.kind,
        format=plan.settings["format"],
        features=features_of(plan.kind),
        annotations_only=bool(plan.settings.get("annotations_only")),
        source=plan.listed.fingerprint,
        settings=plan.settings,
        code_version=builder.__version__,
        counts=Counts(
            images=counts["images"],
            masks=counts["masks"],
            captions_missing=counts["captions_missing"],
            rejects=count_reasons(rejects),
            unknown_keys=dict(sorted(unknown.items())),
            orientation_reset=counts["orientation_reset"],
        ),
        rejects=Rejects(len(rejects), hashlib.sha256(table).hexdigest()),
        splits={name: Split(name, tuple(listed)) for name, listed in shards.items()},
    )
    path = index_path(dist, config)
    content = dump_json(index.to_json())
    read = parse_index(content, str(path), config)
    images, masks = counts["images"], counts["masks"]
    refused = refusals(plan.listed, read_rejects, images=images, masks=masks, most=max_rejects)
    if refused:
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, content)
    _remove_others(dist, config, {shard.file for shard in read.shards})
    return read, refused


def read_index(dist: Path, config: str) -> Index:
    """Read a config's index.

    Raises
    ------
    ShardError
        There is no index.
    ContractError
        It can't be read from disk, or its content is not valid.
    """
    path = index_path(dist, config)
    content = read_file(path)
    if content is None:
        raise ShardError(f"{path}: not found; build the config first")
    return parse_index(content, str(path), config)


def _remove_others(dist: Path, config: str, keep: set[str]) -> None:
    """Remove shards of an earlier plan, which the card's file patterns would match too.

    Other files stay, because they may be the user's. verify names those that are read as rows.
    """
    for path in config_folder(dist, config).iterdir():
        if SHARD_NAME.fullmatch(path.name) and path.name not in keep:
            path.unlink()
