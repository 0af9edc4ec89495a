"""Plans a config, and prepares its place in a dist: what is there is compared and cleaned up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from asam_datasets.index import FORMAT_VERSION
from builder.core.console import say
from builder.core.errors import ContractError, SettingsError, ShardError
from builder.core.files import read_object, refuse_folders, remove_unfinished, sha256_json
from builder.core.layout import (
    config_folder,
    configs,
    index_path,
    recaption_folder,
    receipts_folder,
    rejects_path,
    temporary_folder,
)
from builder.core.records import Json, Source
from builder.shards.build import Job, ShardTask
from builder.shards.index import read_index
from builder.shards.plan import Settings, ShardPlan, encoding, make_plan
from builder.shards.receipt import receipt_path
from builder.shards.state import (
    State,
    StoredPlan,
    create_plan,
    read_plan,
    read_state,
    state_path,
    write_plan,
)
from builder.shards.swap import settle

_SHOWN = 3  # differences between two plans in a message


@dataclass(frozen=True, slots=True)
class Planned:
    """A config's plan.

    Parameters
    ----------
    source
        Where the rows come from.
    plan
        The plan as plan.json holds it.
    shards
        The shards with their items.
    size
        About how many bytes of rows they hold.
    started
        When the planning began, by `time.monotonic`.
    """

    source: Source
    plan: StoredPlan
    shards: Sequence[ShardPlan]
    size: int
    started: float

    def tasks(self, dist: Path, *, resume: bool) -> list[ShardTask]:
        """The shards to build; `resume` says whether those that are done are kept."""
        settings = dict(self.plan.settings)
        job = Job(
            *(dist, self.source, settings["format"], sha256_json(settings)),
            *(dict(self.plan.listed.fingerprint), resume, encoding()),
        )
        return [ShardTask(job, shard) for shard in self.shards]


def plan_config(source: Source, settings: Settings) -> Planned:
    """List a source and plan its config; raises SourceError if it can't be listed."""
    started = time.monotonic()
    listing = source.listing()
    shards = make_plan(listing, settings.shard_size)
    hashes = {shard.file(settings.fmt): shard.sha256() for shard in shards}
    plan = StoredPlan(settings.as_json(source), source.kind, listing.summary(), hashes)
    size = sum(item.num_bytes for item in listing.items)
    return Planned(source, plan, shards, size, started)


@contextmanager
def prepared(planned: Planned, dist: Path, *, resume: bool) -> Iterator[list[ShardTask]]:
    """Lock a config, and make its place ready for all its shards; gives the tasks.

    Raises
    ------
    SettingsError
        The dist holds the config with other settings or from another source, or another process is
        building the config.
    """
    config, plan = planned.source.config, planned.plan
    with locked(dist, config):
        _check_place(planned, dist, resume)
        _clean(dist, config)
        if resume:
            resume = _compare(dist, config, plan.state)
        if not resume:  # before any new shard is there, so that no reader sees those of two builds
            for folder in (config_folder(dist, config), receipts_folder(dist, config)):
                shutil.rmtree(folder, ignore_errors=True)
        write_plan(dist, config, plan)
        yield planned.tasks(dist, resume=resume)


def prepare_part(planned: Planned, dist: Path) -> list[ShardTask]:
    """Make a config's place ready for a part of its shards; gives the tasks of all of them.

    Other processes, also on other machines, may build parts of it at the same time. So nothing is
    locked, and nothing is removed. The first one stores the plan, the others compare theirs.

    Raises
    ------
    SettingsError
        The plan that is stored is another one.
    """
    config, plan = planned.source.config, planned.plan
    _check_place(planned, dist, True)
    if create_plan(dist, config, plan):
        return planned.tasks(dist, resume=True)
    try:
        stored = read_plan(dist, config)
    except ContractError as error:
        raise SettingsError(f"{error}, or choose another --out") from error
    before, now = (_comparable(each) for each in (stored or plan, plan))
    if differences := list(_differences(before, now)):
        more = len(differences) - _SHOWN
        shown = "; ".join(differences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise SettingsError(
            f"{state_path(dist, config)}: the plan that is stored there is another one: {shown}. "
            "All parts need the same source, captions, options and versions; to build anew, choose "
            "another --out"
        )
    return planned.tasks(dist, resume=True)


def unfinished(dist: Path, config: str) -> bool:
    """Whether a process was killed while it wrote a shard of the config, or still writes one."""
    return any(temporary_folder(dist, config).glob("*"))


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
            + _recaption(dist, config, state, differences)
        )
    if old:
        say(
            f"{config}: it was built in format 1, which can't be resumed in format "
            f"{FORMAT_VERSION}; it is built again from the start"
        )
    return not old


def _recaption(dist: Path, config: str, now: State, differences: Sequence[str]) -> str:
    """What a message adds if the captions are all that differs, and other ones are given."""
    captions_only = all(line.startswith("settings.captions_") for line in differences)
    if not captions_only or not now.settings["captions_sha256"]:
        return ""
    if not index_path(dist, config).is_file():
        return ""
    return (
        f". Only the captions differ: --recaption {config} --captions FILE --from {dist} --out "
        f"{dist} puts them in, and needs no tar"
    )


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


def _comparable(plan: StoredPlan) -> Json:
    """What two plans of the same config have in common. Notes may differ between machines."""
    document = plan.to_json()
    listed = document["plan"]["listed"]
    del document["sha256"], listed["notes"], listed["warnings"]
    listed["rejects"] = {str(number): reject for number, reject in enumerate(listed["rejects"])}
    return document


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
def locked(dist: Path, config: str) -> Iterator[None]:
    """Let no other process build the config meanwhile; raises SettingsError if one does."""
    path = receipts_folder(dist, config).with_name(f".{config}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        with lock.acquire(timeout=0):
            yield
    except filelock.Timeout as error:
        raise SettingsError(
            f"another process is building {config} in {dist}; wait for it, or stop it"
        ) from error


def _check_place(planned: Planned, dist: Path, resume: bool) -> None:
    """Refuse, before any work, places where the build could not write or would remove too much.

    Raises
    ------
    SettingsError
        The config's folder is a link, and what it leads to may be another's. Or the build goes on,
        and a folder stands where it will write a file.
    """
    config, shards = planned.source.config, planned.plan.shards
    refuse_link(dist, config)
    folder = config_folder(dist, config)
    if resume:
        refuse_folders((index_path(dist, config), rejects_path(dist, config)))
        refuse_folders((state_path(dist, config), *(folder / name for name in shards)))
        refuse_folders(receipt_path(dist, config, name) for name in shards)


def refuse_link(dist: Path, config: str) -> None:
    """Raise SettingsError if the config's folder is a link: what it leads to may be another's."""
    folder = config_folder(dist, config)
    if folder.is_symlink():
        raise SettingsError(
            f"{folder}: expected a folder, found a link to {folder.readlink()}; a build removes "
            "old shards from it: remove the link, or choose another --out"
        )


def _clean(dist: Path, config: str) -> None:
    """Remove the temporary files that killed runs have left of this config."""
    settle(dist, config)
    for made in (recaption_folder(dist, config), temporary_folder(dist, config)):
        shutil.rmtree(made, ignore_errors=True)
    for folder in (config_folder(dist, config), receipts_folder(dist, config)):
        remove_unfinished(folder)
