"""Builds one config from its source: the plan, a check of what is there, the shards, the index."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock

from asam_datasets.index import FORMAT_VERSION, Index
from builder.core import pool
from builder.core.console import Progress, say
from builder.core.errors import ContractError, SettingsError, ShardError
from builder.core.files import read_object, refuse_folders, remove_unfinished, sha256_json
from builder.core.layout import (
    config_folder,
    configs,
    index_path,
    receipts_folder,
    rejects_path,
    temporary_folder,
)
from builder.core.records import Json, Listing, Source
from builder.shards.build import Job, Made, OnRow, build_shard
from builder.shards.index import read_index, write_index
from builder.shards.plan import Settings, ShardPlan, make_plan
from builder.shards.receipt import receipt_path
from builder.shards.state import State, read_state, state_path, write_state

BuildShard = Callable[[ShardPlan, OnRow], Made]
Engine = Callable[[BuildShard, Sequence[ShardPlan], int, OnRow], list[Made]]

_PROBES = 8  # a dry run reads this many records for its estimate


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build.

    `reused` counts the shards that were done before. `refused` says of what too much was rejected;
    the index was then not written.
    """

    index: Index
    listing: Listing
    reused: int
    seconds: float
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of a dry run. Masks, bytes and seconds are estimated from `probes` records."""

    config: str
    images: int
    masks: int
    shards: int
    bytes: int
    seconds: float
    workers: int
    probes: int


def build_config(
    source: Source,
    dist: Path,
    settings: Settings,
    *,
    workers: int | None = None,
    resume: bool = True,
    max_rejects: float = 1.0,
    quiet: bool = False,
    engine: Engine = pool.run,
) -> Built:
    """Build a config in a dist. Shards that are done are kept.

    Parameters
    ----------
    source
        Where the rows come from.
    dist
        The dist's folder.
    settings
        Format and shard size.
    workers
        The number of processes. By default it follows from the source's size.
    resume
        Whether to keep shards that are done. If not, the config is deleted first.
    max_rejects
        The largest share of rejects that is accepted, 0 to 1. With more, the config gets no index.
    quiet
        Whether to show no progress bar.
    engine
        Runs the function that builds a shard over all shards.

    Raises
    ------
    SourceError
        The source can't be listed or read.
    SettingsError
        The dist holds the config with other settings or from another source, or holds configs of
        another format, or another process is building the config.
    ShardError
        A shard could not be written. Shards that are done stay in the dist.
    """
    started = time.monotonic()
    listing = source.listing()
    shards = make_plan(listing, settings.shard_size)
    settings_json = settings.as_json(source)
    state = State(settings_json, listing.fingerprint)
    with _locked(dist, source.config):
        check_format(dist, settings.fmt, except_config=source.config)
        _check_places(dist, source.config, [shard.file(settings.fmt) for shard in shards], resume)
        _clean(dist, source.config)
        if resume:
            resume = _compare(dist, source.config, state)
        if not resume:  # before any new shard is there, so that no reader sees those of two builds
            for folder in (
                config_folder(dist, source.config),
                receipts_folder(dist, source.config),
            ):
                shutil.rmtree(folder, ignore_errors=True)
        write_state(dist, source.config, state)
        job = Job(
            dist, source, settings.fmt, sha256_json(settings_json), listing.fingerprint, resume
        )
        masks_done = 0
        with Progress(len(listing.items), "image", source.config, quiet=quiet) as progress:

            def on_row(images: int, masks: int) -> None:
                nonlocal masks_done
                masks_done += masks
                rate = masks_done / max(progress.elapsed, 1e-9)
                progress.update(images, masks=f"{rate:,.0f}/s")

            processes = workers or _workers(listing)
            results = engine(partial(build_shard, job), shards, processes, on_row)
        receipts = [made.receipt for made in results]
        index, refused = write_index(dist, source, settings, listing, receipts, max_rejects)
    for why, number in Counter(made.why for made in results if made.why).items():
        what = f"{number} of {len(results)} shards" if number > 1 else "a shard"
        say(f"{source.config}: {what} built again: {why}")
    reused = sum(not made.built for made in results)
    return Built(index, listing, reused, time.monotonic() - started, refused)


def estimate_config(source: Source, settings: Settings, *, workers: int | None = None) -> Estimate:
    """Plan a config and estimate its size and time from a few records; writes nothing."""
    listing = source.listing()
    shards = make_plan(listing, settings.shard_size)
    step = max(1, len(listing.items) // _PROBES)
    probes = listing.items[::step][:_PROBES]
    planned = sum(item.num_bytes for item in listing.items)
    masks, size = 0, 0
    started = time.perf_counter()
    with source.open() as reader:
        for item in probes:
            row = reader.read(item).row
            masks += len(row["masks"]) if row else 0
            size += _weight(row) if row else 0
    seconds = (time.perf_counter() - started) / max(1, len(probes)) * len(listing.items)
    processes = min(workers or _workers(listing), max(1, len(shards)))
    share = planned / max(1, sum(item.num_bytes for item in probes))
    return Estimate(
        config=source.config,
        images=len(listing.items),
        masks=round(masks / max(1, len(probes)) * len(listing.items)),
        shards=len(shards),
        bytes=round(size * share),
        seconds=seconds / processes,
        workers=processes,
        probes=len(probes),
    )


def check_format(dist: Path, fmt: str, *, except_config: str | None = None) -> None:
    """Refuse a dist whose configs have another format.

    `load_dataset` takes the format of the first config for all configs, so a dist has only one.

    Parameters
    ----------
    dist
        The dist's folder.
    fmt
        The format to build in.
    except_config
        A config whose format does not matter, because it is built anew.

    Raises
    ------
    SettingsError
        Another config of the dist has another format.
    """
    for config in configs(dist):
        if config != except_config and (found := read_index(dist, config).format) != fmt:
            raise SettingsError(
                f"{dist} holds {config} in the format {found}, and all configs of a dist must have "
                f"the same format: build with --format {found}, or into another --out"
            )


def _workers(listing: Listing) -> int:
    return pool.workers_for(sum(item.num_bytes for item in listing.items))


def _compare(dist: Path, config: str, state: State) -> bool:
    """Whether an earlier build of the config can be resumed. One of format 1 can't.

    Raises
    ------
    SettingsError
        The config was built from another source or with other settings.
    """
    before = _of_format_1(dist, config, state)
    old = before is not None
    if before is None:
        if not config_folder(dist, config).exists() and not state_path(dist, config).exists():
            return True
        before = _begun(dist, config)
    differences = ["there is no readable record of how it was built"]
    if before is not None:
        differences = list(_differences(_plain(before), _plain(state)))
    if differences:
        raise SettingsError(
            f"{config_folder(dist, config)} was built differently: {'; '.join(differences)}. To "
            "replace it, add --no-resume; to keep it, choose another --out or --config"
        )
    if old:
        say(
            f"{config}: it was built in format 1, which can't be resumed in format "
            f"{FORMAT_VERSION}; it is built again from the start"
        )
    return not old


def _begun(dist: Path, config: str) -> State | None:
    """The settings and the source of the earlier build, from plan.json or else from the index."""
    what = "there is no plan.json"
    try:
        if state := read_state(dist, config):
            return state
    except ContractError as error:
        what = str(error)
    try:
        index = read_index(dist, config)
    except (ContractError, ShardError):
        return None
    say(f"{config}: {what}; the settings and the source are taken from its index")
    return State(index.settings, index.source)


def _of_format_1(dist: Path, config: str, now: State) -> State | None:
    """The settings and the source of an earlier build of format 1; None for other formats.

    Its row_version and encoders are those of `now`, because they change with the format.
    """
    try:
        found = read_object(state_path(dist, config))
        if found is None or "format_version" in found:
            return None
        same = {key: now.settings[key] for key in ("row_version", "encoders")}
        return State({**found["settings"], **same}, dict(found["source"]))
    except (ContractError, ValueError, TypeError, KeyError):
        return None


def _plain(state: State) -> Json:
    return {"settings": dict(state.settings), "source": dict(state.source)}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{at}{key}.")
        elif old != new:
            yield f"{at}{key} was {old}, now {new}"


@contextmanager
def _locked(dist: Path, config: str) -> Iterator[None]:
    receipts_folder(dist, config).mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(receipts_folder(dist, config).with_name(f".{config}.lock"))
    try:
        with lock.acquire(timeout=0):
            yield
    except filelock.Timeout as error:
        raise SettingsError(
            f"another process is building {config} in {dist}; wait for it, or stop it"
        ) from error


def _check_places(dist: Path, config: str, shards: Sequence[str], resume: bool) -> None:
    """Refuse, before any work, places where the build could not write or would remove too much.

    Raises
    ------
    SettingsError
        The config's folder is a link, and what it leads to may be another's. Or the build goes on,
        and a folder stands where it will write a file.
    """
    folder = config_folder(dist, config)
    if folder.is_symlink():
        raise SettingsError(
            f"{folder}: expected a folder, found a link to {folder.readlink()}; a build removes "
            "old shards from it: remove the link, or choose another --out"
        )
    if resume:
        refuse_folders((index_path(dist, config), rejects_path(dist, config)))
        refuse_folders((state_path(dist, config), *(folder / name for name in shards)))
        refuse_folders(receipt_path(dist, config, name) for name in shards)


def _clean(dist: Path, config: str) -> None:
    """Remove the temporary files that killed runs have left of this config."""
    shutil.rmtree(temporary_folder(dist, config), ignore_errors=True)
    for folder in (config_folder(dist, config), receipts_folder(dist, config)):
        remove_unfinished(folder)


def _weight(row: Mapping[str, Any]) -> int:
    """About how many bytes a row takes in a shard."""

    def weigh(value: Any) -> int:
        if isinstance(value, bytes | str):
            return len(value)
        if isinstance(value, Mapping):
            return sum(map(weigh, value.values()))
        if isinstance(value, list):
            return 4 + sum(map(weigh, value))
        return 8

    return weigh(row)
