"""Gives a built config other captions, without its tar.

A row's `text` is the only column that captions decide. So each shard is read, and written again
with other values in that column. Its record batches are cut anew, since their sizes differ. The
bytes are those that a build with these captions gives. All of it is made beside the dist, and put
in its place at the end (`swap.py`).
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import builder
from asam_datasets.index import Index, Rejects, parse_index
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.shards import Split
from asam_datasets.stores import Files, Hub, open_store
from builder.captioning.join import Joined, read_joined
from builder.core import pool
from builder.core.console import Progress, say
from builder.core.errors import CaptionError, SettingsError
from builder.core.files import dump_json, remove_unfinished, sha256_json, write_bytes
from builder.core.layout import (
    INDEX,
    REJECTS,
    SHARD_NAME,
    config_folder,
    index_path,
    recaption_folder,
    receipts_folder,
    rejects_path,
)
from builder.core.records import Json, Listed
from builder.core.rejects import UNKNOWN_IMAGE, count_reasons, write_rejects
from builder.shards.built import Built
from builder.shards.earlier import (
    Divided,
    Earlier,
    file_names,
    of_captions_alone,
    read_earlier,
)
from builder.shards.plan import ENCODERS, ROW_VERSION
from builder.shards.prepare import check_format, locked, refuse_link
from builder.shards.receipt import write_receipt
from builder.shards.refusal import caption_refusals
from builder.shards.state import write_plan
from builder.shards.swap import settle, swap
from builder.shards.texts import Texted, TextTask, make_shard
from builder.sources.archive import some
from builder.sources.captioned import check_fit, unknown_images


@dataclass(frozen=True, slots=True)
class RecaptionOptions:
    """How a config gets other captions. None of it changes a byte.

    Parameters
    ----------
    workers
        The number of processes. By default it follows from the config's size.
    max_rejects
        The largest share of the captions file's lines that may be unusable, 0 to 1.
    quiet
        Whether to show no progress bar.
    patience
        How long a request may take, and how often it is repeated.
    """

    workers: int | None = None
    max_rejects: float = 1.0
    quiet: bool = False
    patience: Patience = PATIENT


def recaption_config(
    config: str, captions: Path, origin: str, dist: Path, options: RecaptionOptions
) -> Built:
    """Make a config with other captions, as a build of its tar with these captions makes it.

    Parameters
    ----------
    config
        The config's name.
    captions
        A captions file, or a folder that holds the config's.
    origin
        Where the config is: a dist, a repo on the Hub, or a URL that fsspec opens.
    dist
        Where the config goes. It may be the same dist.
    options
        How to do it.

    Raises
    ------
    CaptionError
        The captions can't be read, or too many of their lines can't be used.
    SettingsError
        The captions are of none of the config's images. Or the config is an evaluation config, or
        was built by an earlier version. Or `dist` holds another config of that name, or configs of
        another format, or another process is building the config.
    AsamDatasetsError
        The config can't be read or written, or is damaged.
    """
    started = time.monotonic()
    store = open_store(origin, patience=options.patience)
    with ExitStack() as stack:
        same = _is_in(store, dist)
        if same:
            stack.enter_context(_settled(dist, config))
        earlier = read_earlier(store, config)
        joined = read_joined(captions, config)
        settings = _settings(earlier.index, joined)
        if not same:
            stack.enter_context(_settled(dist, config))
        there = earlier if same else _found(dist, config)
        if there and _is_done(there, joined, settings):
            say(f"{config}: it has these captions already")
            shutil.rmtree(recaption_folder(dist, config), ignore_errors=True)
            listing = there.plan.listed if there.plan else _listed(there, 0)
            seconds = time.monotonic() - started
            return Built(there.index, listing, len(there.index.shards), seconds)
        _check_place(earlier.index, dist, same=same)
        _check_captions(earlier, joined, options.max_rejects)
        texted = _texted(earlier, joined, settings, dist, options)
        index, listing, notes = _finish(earlier, joined, settings, texted, dist)
        swap(dist, config)
        reused = sum(each.reused for each in texted)
        listing = replace(listing, notes=(*listing.notes, *notes))
        return Built(index, listing, reused, time.monotonic() - started)


@contextmanager
def _settled(dist: Path, config: str) -> Iterator[None]:
    """Lock the config, and settle what a killed run has left."""
    with locked(dist, config):
        settle(dist, config)
        yield


def _is_in(store: Files | Hub, dist: Path) -> bool:
    return isinstance(store, Files) and store.is_local and Path(store.local("")) == dist.resolve()


def _found(dist: Path, config: str) -> Earlier | None:
    """The config as the dist holds it already, if it does."""
    if not index_path(dist, config).exists():
        return None
    return read_earlier(Files(str(dist.resolve())), config)


def _settings(index: Index, joined: Joined) -> Json:
    """The settings that a build with these captions has.

    The masks keep the version of the encoder that made them. The other encoders write anew.
    """
    before = index.settings
    if before["row_version"] != ROW_VERSION or not isinstance(before["encoders"], dict):
        raise SettingsError(
            f"{index.name}: {index.config} was built by a version whose rows differ from those of "
            f"today (row_version {before['row_version']}, expected {ROW_VERSION}): build it from "
            "its tar again"
        )
    encoders = {name: version(name) for name in ENCODERS}
    return {
        **before,
        "encoders": {**before["encoders"], **encoders},
        "captions_sha256": joined.sha256,
        "captions_model": joined.model,
    }


def _is_done(earlier: Earlier, joined: Joined, settings: Mapping[str, object]) -> bool:
    """Whether a config has these captions, and the rejects of their files, already."""
    if earlier.index.settings != settings:
        return False
    given = list(joined.rejects)
    table = list(earlier.rejects)
    start = len(earlier.divided(()).listed)
    rest = table[start + len(given) :]
    unknown = (reject for reject in rest if of_captions_alone(reject))
    return table[start : start + len(given)] == given and all(
        reject.reason == UNKNOWN_IMAGE for reject in unknown
    )


def _check_place(index: Index, dist: Path, *, same: bool) -> None:
    """Raise SettingsError if the config must not be written there."""
    config = index.config
    check_format(dist, index.format, except_config=config)
    refuse_link(dist, config)
    folder, receipts = config_folder(dist, config), receipts_folder(dist, config)
    if not same and (folder.exists() or receipts.exists()):
        raise SettingsError(
            f"{dist} holds something of {config} already, which has other captions or was made "
            f"differently: to give it these captions, add --from {dist}; else choose another --out"
        )


def _check_captions(earlier: Earlier, joined: Joined, most: float) -> None:
    """Refuse, before any shard is made, captions that a build would refuse.

    A config of which some images were selected does not say which others its source holds. So it
    can't be told whether a caption of another image is a reject, and none is accepted.
    """
    index = earlier.index
    if refused := caption_refusals(joined.rejects, len(joined.captions), most):
        raise CaptionError(
            "\n".join([f"{index.config}: {refused[0]}", *refused[1:]])
            + "\nThe config stays as it is. Mend the file, or accept it as it is by --max-rejects 1"
        )
    selected = index.settings["image_ids"] is not None or index.settings["limit"] is not None
    if not selected and any(name in joined.captions for name in earlier.names()):
        return
    names = _all_names(earlier, set(earlier.names()))[1]
    check_fit(joined.captions.keys(), names, earlier.index.name)
    if selected and (others := sorted(joined.captions.keys() - names)):
        raise SettingsError(
            f"{index.config} holds some images of its source, chosen by --image-ids or --limit, "
            f"and the captions name {len(others)} others ({some(others)}); whether the source "
            "holds those is not recorded. Give the captions of the config's images alone"
        )


def _all_names(earlier: Earlier, rows: Collection[str]) -> tuple[Divided, set[str]]:
    """The config's rejects, and the file names of all images of the source that are known."""
    divided = earlier.divided(rows)
    return divided, {*rows, *file_names(divided)}


def _texted(
    earlier: Earlier, joined: Joined, settings: Json, dist: Path, options: RecaptionOptions
) -> list[Texted]:
    """Make all shards beside the dist; those that an earlier run has made are kept."""
    index, folder = earlier.index, recaption_folder(dist, earlier.index.config)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)
    settings_sha256 = sha256_json(settings)
    tasks = [
        TextTask(
            *(earlier.store, replace(index, splits={name: Split(name, (shard,))}), shard),
            *(joined.captions, settings_sha256, folder),
        )
        for name, split in index.splits.items()
        for shard in split.shards
    ]
    workers = options.workers or pool.workers_for(index.num_bytes)
    done = 0
    with Progress(index.num_rows, "image", index.config, quiet=options.quiet) as bar:

        def on_row(images: int, masks: int) -> None:
            nonlocal done
            done += masks
            bar.update(images, masks=f"{done / max(bar.elapsed, 1e-9):,.0f}/s")

        return pool.run(make_shard, tasks, workers, on_row)


def _finish(
    earlier: Earlier, joined: Joined, settings: Json, texted: Sequence[Texted], dist: Path
) -> tuple[Index, Listed, list[str]]:
    """Write what a config has beside its shards; returns its index, what was listed, and notes."""
    before, config = earlier.index, earlier.index.config
    folder = recaption_folder(dist, config)
    rows = {name for each in texted for name in each.names}
    divided, names = _all_names(earlier, rows)
    unknown = unknown_images(joined.captions, names, before.source_name)
    listed = (*divided.listed, *joined.rejects, *unknown)
    rejects = [*listed, *divided.read]
    table = write_rejects(rejects)
    shards = iter(each.shard for each in texted)
    index = replace(
        before,
        settings=settings,
        code_version=builder.__version__,
        counts=replace(
            before.counts,
            captions_missing=sum(each.missing for each in texted),
            rejects=count_reasons(rejects),
        ),
        rejects=Rejects(len(rejects), hashlib.sha256(table).hexdigest()),
        splits={
            name: Split(name, tuple(next(shards) for _ in split.shards))
            for name, split in before.splits.items()
        },
    )
    content = dump_json(index.to_json())
    read = parse_index(content, str(index_path(dist, config)), config)
    _keep_others(dist, folder, config, {shard.file for shard in read.shards})
    shutil.rmtree(receipts_folder(folder, config), ignore_errors=True)
    notes = []
    if earlier.plan and earlier.receipts:
        now = replace(earlier.plan.listed, rejects=listed, captions=len(joined.captions))
        write_plan(folder, config, replace(earlier.plan, settings=settings, listed=now))
        settings_sha256 = sha256_json(settings)
        for old, new in zip(earlier.receipts.values(), texted, strict=True):
            receipt = replace(
                old,
                shard=new.shard,
                settings_sha256=settings_sha256,
                counts={**old.counts, "captions_missing": new.missing},
                code_version=builder.__version__,
            )
            write_receipt(folder, receipt)
    else:
        now = _listed(earlier, len(joined.captions))
        notes.append(
            f"{config} has no receipts here ({earlier.why}), so a later build from its tar makes "
            "its shards again"
        )
    write_bytes(rejects_path(folder, config), table)
    write_bytes(index_path(folder, config), content)
    return read, now, notes


def _listed(earlier: Earlier, captions: int) -> Listed:
    """What is known of a listing without its plan."""
    index = earlier.index
    return Listed(items=index.num_rows, fingerprint=index.source, captions=captions)


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for path in folder.iterdir():
        if path.is_dir() and path.name.startswith("fetched."):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _keep_others(dist: Path, folder: Path, config: str, shards: Collection[str]) -> None:
    """Copy files that no build made, which stay in a config's folder. Others are removed."""
    new, old = config_folder(folder, config), config_folder(dist, config)
    for path in new.iterdir():
        if path.name not in shards:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    remove_unfinished(old)
    for path in old.iterdir() if old.is_dir() else ():
        if SHARD_NAME.fullmatch(path.name) or path.name in (INDEX, REJECTS):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
