"""Makes a shard of an earlier one with other captions. Nothing in it is decoded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asam_datasets.batches import Layout
from asam_datasets.contract import Node, parse_json, signed
from asam_datasets.index import Index
from asam_datasets.reading import Reader
from asam_datasets.shards import Shard
from asam_datasets.stores import Files, Hub
from builder.core.errors import ContractError, ShardError
from builder.core.files import read_file, replace_durably, unique, write_json
from builder.core.layout import config_folder
from builder.shards.receipt import check_file
from builder.shards.write import ShardWriter

_PIECE = 16 << 20  # bytes of a shard that one request gets

OnRow = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TextTask:
    """A shard to make with other captions. Picklable.

    Parameters
    ----------
    store
        Where the earlier shard is.
    index
        The index that describes it; no other shard need be in it.
    shard
        The earlier shard.
    captions
        The captions by file name.
    settings_sha256
        The hash of the new settings.
    folder
        The dist to write to.
    """

    store: Files | Hub
    index: Index
    shard: Shard
    captions: Mapping[str, str]
    settings_sha256: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Texted:
    """A shard with its captions.

    Parameters
    ----------
    shard
        The shard as the index describes it.
    missing
        How many rows have no caption.
    names
        The file names of its rows.
    reused
        Whether an earlier run had made it.
    """

    shard: Shard
    missing: int
    names: tuple[str, ...]
    reused: bool = False


def make_shard(task: TextTask, on_row: OnRow) -> Texted:
    """Make a shard unless an earlier run of the same command has made it.

    Parameters
    ----------
    task
        The shard.
    on_row
        Called after each row with (images, masks).

    Raises
    ------
    ShardError
        The earlier shard is not what its index says, or the new one can't be written.
    AsamDatasetsError
        The earlier shard can't be reached.
    """
    index, name = task.index, task.shard.file
    if done := _done(task):
        return done
    final = config_folder(task.folder, index.config) / name
    temporary = task.folder / unique(name)
    names: list[str] = []
    missing = 0
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with (
            _checked(task) as store,
            ShardWriter(temporary, index.features, index.format) as writer,
        ):
            for row in _rows(store, index, task.shard):
                row["text"] = task.captions.get(row["file_name"])
                missing += row["text"] is None
                names.append(row["file_name"])
                writer.add(row)
                on_row(1, len(row["masks"]))
            shard = replace(writer.close(), file=name)
        replace_durably(temporary, final)
        made = Texted(shard, missing, tuple(names))
        write_json(_note(task), _noted(task, made))
    except OSError as error:
        raise ShardError(
            f"{index.config}/{name}: could not be written: {error}; make room and run the same "
            "command again: only what is missing is made"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return made


def _rows(store: Files | Hub, index: Index, shard: Shard) -> Iterator[dict[str, Any]]:
    reader = Reader(store, index, None, None)
    if index.format == "parquet":
        batches = reader.read_parquet(index.path(shard), shard.rows)
    else:
        batches = reader.read_ahead(index.places([shard]))
    for batch in batches:
        for i in range(batch.num_rows):
            yield batch.slice(i, 1).to_pylist()[0]


@contextmanager
def _checked(task: TextTask) -> Iterator[Files | Hub]:
    """Where the earlier shard can be read, all bytes of which have been checked."""
    store, path = task.store, task.index.path(task.shard)
    what = f"{store.name}/{path}"
    try:
        if isinstance(store, Files) and store.is_local:
            check_file(Path(store.local(path)), task.shard)
            yield store
            return
        folder = task.folder / unique("fetched")
        try:
            copy = folder / path
            copy.parent.mkdir(parents=True)
            with copy.open("wb") as file:
                for start in range(0, task.shard.bytes, _PIECE):
                    file.write(store.read(path, start, min(start + _PIECE, task.shard.bytes)))
            check_file(copy, task.shard)
            yield Files(str(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError as error:
        raise ShardError(f"{what}: the index names it, and there is no such file") from error


def _note(task: TextTask) -> Path:
    return task.folder / "made" / f"{task.shard.file}.json"


def _noted(task: TextTask, made: Texted) -> dict[str, Any]:
    """What says how a shard was made, and what it holds."""
    return signed(
        {
            "of": task.shard.sha256,
            "settings_sha256": task.settings_sha256,
            "shard": made.shard.to_json(),
            "missing": made.missing,
            "names": list(made.names),
        }
    )


def _done(task: TextTask) -> Texted | None:
    """What an earlier run made of the same shard with the same settings, if all of it is there."""
    path, index = _note(task), task.index
    layout = Layout(index.schema) if index.format == "arrow" else None
    try:
        content = read_file(path)
        if content is None:
            return None
        node = Node(str(path), "", parse_json(content, str(path)))
        node["sha256"].equal(signed(node.mapping())["sha256"])
        node["of"].equal(task.shard.sha256)
        node["settings_sha256"].equal(task.settings_sha256)
        shard = Shard.from_json(node["shard"], task.shard.file, layout)
        names = tuple(name.text() for name in node["names"].items())
        check_file(config_folder(task.folder, index.config) / shard.file, shard)
        return Texted(shard, node["missing"].integer(0), names, reused=True)
    except (ContractError, ShardError):
        return None
