"""Finds the records that kill the process that reads them.

Such a record becomes a reject, which needs a proof, because a process may also be killed for
reasons that have nothing to do with its records. The proof is that a process which reads this
record alone is killed twice by the same signal, one that a process gets for what it did itself.

The processes that read import no more than the source needs, so that they start fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from builder.core import pool
from builder.core.deaths import ProcessDied
from builder.core.records import Item, Reject, Source

KILLS_THE_READER = "kills_the_reader"


def killers(source: Source, items: Sequence[Item]) -> Iterator[tuple[Item, ProcessDied]]:
    """The items of which each ends a process that reads it alone, twice and in the same way.

    All items are read in a process of its own, then halves of those that killed one, and so on.

    Raises
    ------
    SourceError
        The source can't be read.
    ShardError
        No process can be started.
    """
    death = _death(source, items)
    if death is None:
        return
    if len(items) > 1:
        middle = len(items) // 2
        yield from killers(source, items[:middle])
        yield from killers(source, items[middle:])
    elif (again := _death(source, items)) is not None and again.how == death.how:
        yield items[0], again


def _death(source: Source, items: Sequence[Item]) -> ProcessDied | None:
    """How a process of its own ends that reads the items; None if it reads all of them."""
    try:
        pool.alone(_read_all, (source, items), lambda images, masks: None)
    except ProcessDied as error:
        return error
    return None


def _read_all(task: tuple[Source, Sequence[Item]], on_row: Callable[[int, int], None]) -> None:
    source, items = task
    with source.open() as reader:
        for item in items:
            reader.read(item)
            on_row(1, 0)


def reject_of(source: Source, item: Item, death: ProcessDied) -> Reject:
    """The reject of an item that `killers` found, and whose death is a crash."""
    return Reject(
        source.name,
        item.member or item.key,
        KILLS_THE_READER,
        "a record that can be read",
        f"a process that read it alone was ended by {death.how}, twice",
    )
