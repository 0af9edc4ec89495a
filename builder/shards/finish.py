"""Finishes configs whose shards were built in parts: index and rejects table from the receipts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from asam_datasets.batches import Layout
from asam_datasets.schema import features_of
from builder.core.errors import ContractError, ShardError
from builder.core.files import sha256_json
from builder.core.layout import PLAN, RECEIPTS, config_folder, temporary_folder
from builder.shards.built import Built
from builder.shards.index import write_index
from builder.shards.receipt import Receipt, read_receipt
from builder.shards.state import read_plan

_SHOWN = 10  # missing shards in a message


def planned_configs(dist: Path) -> list[str]:
    """The configs of a dist that have a plan, by name."""
    return sorted(path.parent.name for path in (dist / RECEIPTS).glob(f"*/{PLAN}"))


def finish_config(dist: Path, config: str, max_rejects: float = 1.0) -> Built:
    """Write a config's index and rejects table from its plan and its receipts, without its source.

    Parameters
    ----------
    dist, config
        The dist and the config.
    max_rejects
        The largest share of rejects that is accepted, 0 to 1. With more, the config gets no index.

    Raises
    ------
    ShardError
        The config has no plan, or shards are missing. The message names them.
    ContractError
        The plan is damaged.
    """
    started = time.monotonic()
    plan = read_plan(dist, config)
    if plan is None:
        raise ShardError(f"{dist}: no part of {config} was started; build it with --shards K/N")
    fmt = str(plan.settings["format"])
    layout = Layout(features_of(plan.kind).arrow_schema) if fmt == "arrow" else None
    settings_sha256 = sha256_json(dict(plan.settings))
    receipts, missing = [], []
    for file, plan_sha256 in plan.shards.items():
        receipt, why = _receipt(dist, config, file, layout)
        if receipt and (
            (receipt.plan_sha256, receipt.settings_sha256) != (plan_sha256, settings_sha256)
            or receipt.source != plan.listed.fingerprint
        ):
            receipt, why = None, " (it was built from another plan)"
        if receipt:
            receipts.append(receipt)
        else:
            missing.append(file + why)
    if missing:
        more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ShardError(
            f"{config}: {len(missing)} of {len(plan.shards)} shards are missing: "
            f"{', '.join(missing[:_SHOWN])}{more}. Run the parts that did not end well again, "
            "with the same --shards"
        )
    index, refused = write_index(dist, config, plan, receipts, max_rejects)
    shutil.rmtree(temporary_folder(dist, config), ignore_errors=True)  # what killed parts left
    seconds = time.monotonic() - started
    return Built(index, plan.listed, len(receipts), seconds, refused)


def _receipt(
    dist: Path, config: str, file: str, layout: Layout | None
) -> tuple[Receipt | None, str]:
    """A shard's receipt, or why it can't be used. The shard's bytes are not read again."""
    try:
        receipt = read_receipt(dist, config, file, layout)
    except ContractError as error:
        return None, f" ({error})"
    if receipt is None:
        return None, ""
    path = config_folder(dist, config) / file
    size = path.stat().st_size if path.is_file() else None
    if size != receipt.shard.bytes:
        found = "no file" if size is None else f"{size} bytes"
        return None, f" (expected {receipt.shard.bytes} bytes, found {found})"
    return receipt, ""
