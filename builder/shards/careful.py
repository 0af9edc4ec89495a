"""Builds a shard whose process died: once more, or without the records that kill their reader."""

from __future__ import annotations

from dataclasses import replace

from builder.core import pool
from builder.core.console import counted
from builder.core.deaths import ProcessDied, memory_there
from builder.core.errors import ShardError
from builder.core.records import Item
from builder.shards.build import Made, OnRow, ShardTask, build_shard
from builder.shards.poison import killers, reject_of


def build_carefully(task: ShardTask, on_row: OnRow) -> Made:
    """Build a shard whose process died before, without the records that kill their reader.

    All is done in processes that this one starts, one after the other, so the shard has the whole
    memory of the machine that its engine leaves it.

    Parameters
    ----------
    task
        The shard.
    on_row
        Called after each item.

    Raises
    ------
    ShardError
        A process died again, and no record is proved to be the reason. The message names the
        record if there is one, and the memory that the process had.
    """
    try:
        return pool.alone(build_shard, task, on_row)
    except ProcessDied as error:
        again = error
    if again.kind == "lost":
        raise ShardError(
            f"{task.name}: its process was ended from outside, and again when it was built alone "
            f"({again}); run the same command again: what is done stays done"
        )
    found = list(killers(task.job.source, task.plan.items))
    for item, death in found:
        if death.kind != "crash":
            raise ShardError(_no_proof(task, item, death))
    if not found:
        raise ShardError(
            f"{task.name}: its process died twice ({again}), and each of its "
            f"{counted(len(task.plan.items), 'record')} can be read; the process had "
            f"{memory_there()}. Run the same command on a machine with more memory; if it dies "
            "there too, report it"
        )
    left_out = {item.key: reject_of(task.job.source, item, death) for item, death in found}
    try:
        return pool.alone(build_shard, replace(task, left_out=left_out), on_row)
    except ProcessDied as error:
        raise ShardError(
            f"{task.name}: its process died ({error}) also without "
            f"{', '.join(item.member or item.key for item, _ in found)}"
        ) from error


def _no_proof(task: ShardTask, item: Item, death: ProcessDied) -> str:
    what = f"{task.name}: {item.member or item.key}"
    if death.kind == "memory":
        return (
            f"{what}: the memory was full ({death.how}) in a process that read this record alone "
            f"and had {memory_there()}; run the same command on a machine with more, or leave "
            "the record out by --image-ids"
        )
    return (
        f"{what}: a process that read this record alone ended twice by {death.how}, which no "
        "record should cause; leave it out by --image-ids, and report it"
    )
