"""Builds one shard from its items. It may be called in any process of any machine."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from asam_datasets.batches import Layout
from asam_datasets.schema import features_of
from builder.core.errors import SettingsError, ShardError
from builder.core.files import replace_durably, sha256_json, unique
from builder.core.layout import config_folder, temporary_folder
from builder.core.records import Item, Json, Outcome, Reader, Reject, Source
from builder.core.rejects import add_keys
from builder.shards.plan import ShardPlan, encoding
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
    encoding
        What `builder.shards.plan.encoding` gave where the build was started.
    """

    dist: Path
    source: Source
    fmt: str
    settings_sha256: str
    fingerprint: Json
    resume: bool
    encoding: Json


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to build, with all that a process needs for it. It is picklable.

    Parameters
    ----------
    job
        What it has in common with the config's other shards.
    plan
        The shard's items.
    left_out
        Rejects by the key of an item. Such an item is not read.
    """

    job: Job
    plan: ShardPlan
    left_out: Mapping[str, Reject] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The shard's file name."""
        return self.plan.file(self.job.fmt)

    @property
    def name(self) -> str:
        """The config and the shard's file."""
        return f"{self.job.source.config}/{self.file}"


@dataclass(frozen=True, slots=True)
class Made:
    """A shard of a build.

    Parameters
    ----------
    receipt
        The shard's receipt.
    built
        Whether it was built now. If not, it was done before.
    why
        Why it was built again; empty for a shard that had not been built before.
    """

    receipt: Receipt
    built: bool
    why: str = ""


def build_shard(task: ShardTask, on_row: OnRow) -> Made:
    """Build a shard unless it is done.

    The shard is written under a temporary name, read back, synced to disk and then renamed. Its
    receipt is written last. So a file with the shard's name is always complete.

    Parameters
    ----------
    task
        The shard.
    on_row
        Called after each item.

    Raises
    ------
    ShardError
        It could not be written, for example on a full disk. The temporary file is removed.
    SourceError
        The source can't be read.
    SettingsError
        This process would write other bytes than the one that started the build, because it runs on
        a machine with other versions.
    """
    job, shard = task.job, task.plan
    if (here := encoding()) != job.encoding:
        raise SettingsError(
            f"{task.name}: {platform.node()} has other versions than the machine where the build "
            f"was started: expected {job.encoding}, found {here}; install the same lock file there"
        )
    config = job.source.config
    features = features_of(job.source.kind)
    why = ""
    if job.resume:
        layout = Layout(features.arrow_schema) if job.fmt == "arrow" else None
        inputs_now = partial(_inputs, job.source)
        earlier, why = done(
            job.dist, config, shard, job.fmt, job.settings_sha256, layout, inputs_now
        )
        if earlier:
            return Made(earlier, built=False)
    name = shard.file(job.fmt)
    final = config_folder(job.dist, config) / name
    temporary = temporary_folder(job.dist, config) / unique(name)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    unknown: Counter[str] = Counter()
    rejects: list[Reject] = []
    inputs: list[str] = []
    try:
        with (
            ShardWriter(temporary, features, job.fmt) as writer,
            job.source.open() as reader,
        ):
            for item in shard.items:
                outcome = _read(reader, item, task.left_out.get(item.key))
                rejects += outcome.rejects
                inputs.append(outcome.inputs)
                add_keys(unknown, outcome.unknown_keys)
                if outcome.row is not None:
                    writer.add(outcome.row)
                    _count(outcome.row, counts)
                    counts["orientation_reset"] += outcome.orientation_reset
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
        versions_sha256=shard.versions_sha256(),
        inputs_sha256=sha256_json(inputs),
        source=job.fingerprint,
        counts=dict(counts),
        unknown_keys=dict(unknown),
        rejects=tuple(rejects),
    )
    write_receipt(job.dist, receipt)
    return Made(receipt, built=True, why=why)


def _read(reader: Reader, item: Item, left_out: Reject | None) -> Outcome:
    if left_out is None:
        return reader.read(item)
    return Outcome(None, [left_out], inputs=reader.inputs(item))


def _inputs(source: Source, shard: ShardPlan) -> str:
    """The hash of all bytes that the shard's items are read from."""
    with source.open() as reader:
        return sha256_json([reader.inputs(item) for item in shard.items])


def _count(row: dict[str, Any], counts: Counter[str]) -> None:
    counts["images"] += 1
    counts["masks"] += len(row["masks"])
    if "text" in row and row["text"] is None:
        counts["captions_missing"] += 1
