"""Builds one shard from its items. Any engine can call it, in any process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asam_datasets.batches import Layout
from asam_datasets.schema import features_of
from builder.core.errors import ShardError
from builder.core.files import replace_durably
from builder.core.layout import config_folder, temporary_folder
from builder.core.records import Json, Reject, Source
from builder.shards.plan import ShardPlan
from builder.shards.receipt import COUNTED, Receipt, done, write_receipt
from builder.shards.write import ShardWriter

OnRow = Callable[[int, int], None]
"""Called after each item with (images, masks); may raise to stop the shard."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a config have in common. It is picklable.

    Parameters
    ----------
    dist
        The dist.
    source
        Where the rows come from.
    fmt
        "arrow" or "parquet".
    settings_sha256
        The hash of the settings. Receipts with another one are not used.
    fingerprint
        Identifies the source's content, for the receipts.
    resume
        Whether to keep shards that are done.
    """

    dist: Path
    source: Source
    fmt: str
    settings_sha256: str
    fingerprint: Json
    resume: bool = True


def build_shard(job: Job, shard: ShardPlan, on_row: OnRow) -> tuple[Receipt, bool]:
    """Build a shard unless it is done.

    The shard is written under a temporary name, read back, synced to disk and then renamed. Its
    receipt is written last. So a file with the shard's name is always complete.

    Parameters
    ----------
    job
        The config.
    shard
        The shard's items.
    on_row
        Called after each item.

    Returns
    -------
    receipt : Receipt
        The shard's receipt.
    built : bool
        False if the shard was done before.

    Raises
    ------
    ShardError
        It could not be written, for example on a full disk. The temporary file is removed.
    SourceError
        The source can't be read.
    """
    config = job.source.config
    features = features_of(job.source.kind)
    if job.resume:
        layout = Layout(features.arrow_schema) if job.fmt == "arrow" else None
        receipt = done(job.dist, config, shard, job.fmt, job.settings_sha256, layout)
        if receipt:
            return receipt, False
    name = shard.file(job.fmt)
    final = config_folder(job.dist, config) / name
    temporary = temporary_folder(job.dist, config) / f"{name}.{os.getpid()}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    unknown: Counter[str] = Counter()
    rejects: list[Reject] = []
    try:
        with (
            ShardWriter(temporary, features, job.fmt) as writer,
            job.source.open() as reader,
        ):
            for item in shard.items:
                outcome = reader.read(item)
                rejects += outcome.rejects
                unknown += outcome.unknown_keys
                if outcome.row is not None:
                    writer.add(outcome.row)
                    _count(outcome.row, counts)
                on_row(1, len(outcome.row["masks"]) if outcome.row else 0)
            entry = replace(writer.close(), file=name)
        replace_durably(temporary, final)
    except OSError as error:
        raise ShardError(
            f"{config}/{name}: could not be written: {error}; make room and run the same command "
            "again: only what is missing is built"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    receipt = Receipt(
        config=config,
        split=shard.split,
        shard=entry,
        plan_sha256=shard.sha256(),
        settings_sha256=job.settings_sha256,
        source=job.fingerprint,
        counts=dict(counts),
        unknown_keys=dict(unknown),
        rejects=tuple(rejects),
    )
    write_receipt(job.dist, receipt)
    return receipt, True


def _count(row: dict[str, Any], counts: Counter[str]) -> None:
    counts["images"] += 1
    counts["masks"] += len(row["masks"])
    if "text" in row and row["text"] is None:
        counts["captions_missing"] += 1
