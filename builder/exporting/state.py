"""What a running export keeps beside the tree: its lock, its plan, its unfinished files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from builder.core.errors import ContractError, SettingsError, ShardError
from builder.core.files import read_object, write_json
from builder.core.records import Json

_PLAN = "plan.json"


def begin(folder: Path, state: Path, plan: Json) -> None:
    """Refuse a folder that something else made, and write the plan of this export."""
    path = state / _PLAN
    try:
        before = read_object(path)
    except ContractError:
        before = None
    if before != plan and folder.exists():
        made = (
            "it was made by something else than builder.export"
            if before is None
            else (
                "it was exported from other shards, with other --missing-captions or --skip-empty, "
                "or by an earlier version"
            )
        )
        raise SettingsError(f"{folder} exists, and {made}: remove it, or choose another --out")
    if before != plan:
        shutil.rmtree(state, ignore_errors=True)
        write_json(path, plan)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an OSError into a ShardError that says what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise ShardError(
            f"{what}: can't be exported: {error}; make room, or remove the cause that it "
            "names, and run the same command again: only what is missing is written"
        ) from error


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep other processes out of the export whose state is in a folder."""
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(state.parent / f".{state.name}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except filelock.Timeout as error:
        raise SettingsError(
            f"another process is exporting {state.name} into {state.parent.parent}"
        ) from error


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder for unfinished files. What a killed run left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
