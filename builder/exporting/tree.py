"""Exports a config as files: shard by shard, in parallel, and resumable.

The state of an export is in `.export/<config>/` beside the tree. It holds the plan, which says what
the export was started with, and a receipt for each finished shard. A receipt holds the shard's
lines of the JSON Lines (or COCO) file. That file is written when all receipts are there.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from asam_datasets.contract import signed
from asam_datasets.index import Index
from builder.core.console import Progress, counted
from builder.core.errors import CaptionError, ContractError, SettingsError, ShardError
from builder.core.files import (
    read_object,
    remove_unfinished,
    sha256_json,
    write_bytes,
    write_json,
)
from builder.core.records import Json
from builder.core.shown import orientation
from builder.exporting import evaluation, train
from builder.exporting.options import EMPTY, REFUSE, TRAIN
from builder.exporting.origin import Origin
from builder.exporting.result import COUNTS, Exported
from builder.exporting.state import begin, locked, scratch_folder, told

# Raise this number when the same shards give other files, so that no tree mixes old and new files.
# In layout 2 the masks are numbered by the area of their boxes. In layout 1 they had the json's
# order.
_LAYOUT = 2
# Raise this number when receipts hold something else. A receipt of another form is made again.
_RECEIPT = 2
_ASAMS_CONTROL = 2  # from this index format on, control images follow ASAM's recipe

OnRow = Callable[[int, int], None]
ExportShard = Callable[["ShardTask", OnRow], Json]
Engine = Callable[[ExportShard, Sequence["ShardTask"], int, OnRow], list[Json]]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to export, and all that its export needs to know. Picklable."""

    origin: Origin
    kind: str
    file: str
    folder: Path
    state: Path
    missing_captions: str
    skip_empty: bool
    plan_sha256: str
    index_sha256: str


def in_order(
    function: ExportShard, tasks: Sequence[ShardTask], workers: int, on_row: OnRow
) -> list[Json]:
    """The default engine: export one shard after another in this process."""
    del workers
    return [function(task, on_row) for task in tasks]


def export_config(
    origin: Origin,
    out: Path,
    *,
    missing_captions: str = REFUSE,
    skip_empty: bool = False,
    split_name: str = TRAIN,
    workers: int = 1,
    quiet: bool = True,
    engine: Engine = in_order,
) -> Exported:
    """Write a config's folder tree into `out`. What is there already is not written again.

    Parameters
    ----------
    origin
        What to read.
    out
        The folder that ASAM's scripts call SAM-1B. The config's folder is made in it.
    missing_captions
        What to do if images have no caption: "refuse" to start, "skip" these images, or export them
        with an "empty" caption.
    skip_empty
        Leave out the images of a train config that have no mask. ASAM's tuning stops at such an
        image.
    split_name
        "train" or "validation". It is part of the name of a train config's list of pairs,
        `<config>-controlnet-<split_name>.json`.
    workers
        The number of processes.
    quiet
        Show no progress bar.
    engine
        Calls `export_shard` for each task, such as `in_order` or `builder.core.pool.run`.

    Raises
    ------
    CaptionError
        Images have no caption, and `missing_captions` is "refuse".
    SettingsError
        The dist holds no pixels, or has index format 1, whose control images don't follow ASAM's
        recipe. Or `skip_empty` or `split_name` is given for an evaluation config. Or `out` holds a
        folder of the config's name that this export did not begin. Or another process is exporting
        the config.
    AsamDatasetsError
        A shard or an image can't be read.
    """
    started = time.monotonic()
    index, config = origin.index(), origin.config
    _refuse(index, missing_captions, origin.image_root)
    train_config = index.kind == "train"
    if not train_config and (skip_empty or split_name != TRAIN):
        raise SettingsError(
            f"{config} is an evaluation config: --skip-empty and --split-name are for train configs"
        )
    folder = out / (config if train_config else evaluation.folder_name(config))
    state = out / ".export" / config
    with locked(state):
        plan = _plan(index, missing_captions, skip_empty)
        begin(folder, state, plan)
        remove_unfinished(state)  # receipts that a killed run was writing
        tasks = [
            ShardTask(
                origin=origin,
                kind=index.kind,
                file=file,
                folder=split_folder,
                state=state,
                missing_captions=missing_captions,
                skip_empty=skip_empty,
                plan_sha256=sha256_json(plan),
                index_sha256=index.sha256,
            )
            for split_folder, file in _shards(index, folder)
        ]
        with Progress(index.counts.images, "image", f"export {config}", quiet=quiet) as bar:
            receipts = engine(export_shard, tasks, workers, lambda rows, masks: bar.update(rows))
        _refuse_repeats(tasks, receipts)
        with told(f"the lists of {config}"):
            if train_config:
                files, loaders = _finish_train(out, config, split_name, receipts)
            else:
                files, loaders = _finish_eval(out, config, tasks, receipts)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    for receipt in receipts:
        counts.update(receipt["counts"])
    seconds = time.monotonic() - started
    return Exported(config, index.kind, folder, dict(counts), files, loaders, seconds)


def export_shard(task: ShardTask, on_row: OnRow) -> Json:
    """Write the files of one shard's rows. If a receipt proves that they exist, do nothing.

    Returns the receipt.
    """
    path = task.state / f"{task.file}.json"
    if (receipt := _receipt(path, task)) is not None:
        receipt["counts"]["written"] = 0
        on_row(receipt["counts"]["images"], receipt["counts"]["masks"])
        return receipt
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    lines: list[Json] = []
    write = _write_train if task.kind == "train" else _write_eval
    where = f"{task.origin.config}/{task.file}"
    with told(where), scratch_folder(path.with_suffix(".tmp")) as scratch:
        task.folder.mkdir(parents=True, exist_ok=True)
        for row in task.origin.rows(task.file, task.index_sha256):
            try:
                if len(row["masks"]) != (number := len(row["annotations"])):
                    raise ShardError(f"expected {number} masks, found {len(row['masks'])}")
                line = write(task, scratch, row, counts)
            except ShardError as error:
                raise ShardError(f"{where}, {row['file_name']}: {error}") from error
            if line is not None:
                lines.append(line)
                counts["images"] += 1
                counts["masks"] += len(row["masks"])
                counts["without_masks"] += not row["masks"]
                counts["rejected_annotations"] += row["num_rejected"] or 0
            on_row(1, len(row["masks"]))
        os.sync()  # one call for thousands of files; the receipt must not precede them on the disk
        receipt = {
            "form": _RECEIPT,
            "plan_sha256": task.plan_sha256,
            "counts": dict(counts),
            "lines": lines,
        }
        write_json(path, signed(receipt))
    return receipt


def _write_train(task: ShardTask, scratch: Path, row: Json, counts: Counter[str]) -> Json | None:
    """Write a train row. Returns its values for the JSON Lines, or None if it was left out."""
    prompt = row["text"]
    if prompt is None and task.missing_captions != EMPTY:
        if task.missing_captions == REFUSE:
            raise CaptionError(f"{row['file_name']} has no caption, though the index counts none")
        counts["left_out_without_caption"] += 1
        return None
    if task.skip_empty and not row["masks"]:
        counts["left_out_without_masks"] += 1
        return None
    counts["without_caption"] += prompt is None
    written, sizes = train.write_image(task.folder, scratch, row)
    counts["written"] += written
    return {
        "image_id": row["image_id"],
        "file_name": row["file_name"],
        "prompt": prompt or "",
        "sizes": sizes,
    }


def _write_eval(task: ShardTask, scratch: Path, row: Json, counts: Counter[str]) -> Json:
    """Write an evaluation row; returns its entry for the COCO file."""
    one_mask = evaluation.has_one_mask(task.origin.config)
    counts["written"] += 1
    entry = evaluation.write_image(task.folder, scratch, row, one_mask=one_mask)
    with suppress(OSError, ValueError):  # a file that is no picture is copied as it is
        counts["turned"] += orientation(row["image"]["bytes"]) != 1
    return entry


def _finish_train(
    out: Path, config: str, split_name: str, receipts: Sequence[Json]
) -> tuple[list[Path], list[Json]]:
    """Write the two JSON Lines files as ASAM's generate_caption.py and modify_json.py do.

    The captions stand in the order of the image ids, one line each. The pairs stand in the order of
    the captions, and no newline follows the last.
    """
    captions, pairs = [], []
    lines = [line for receipt in receipts for line in receipt["lines"]]
    for line in sorted(lines, key=lambda line: line["image_id"]):
        name, prompt = line["file_name"], line["prompt"]
        control = Path(name).with_suffix(".png").name
        captions.append(json.dumps({"img": name, "prompt": prompt}) + "\n")
        pairs.append(json.dumps({"prompt": prompt, "target": name, "source": control}))
    files = [out / f"{config}-blip2-caption.json", out / f"{config}-controlnet-{split_name}.json"]
    write_bytes(files[0], "".join(captions).encode())
    write_bytes(files[1], "\n".join(pairs).encode())
    folder = (out / config).as_posix()
    loader = {"name": "sam", "im_dir": folder, "gt_dir": folder, "im_ext": ".jpg", "gt_ext": ""}
    return files, [loader]


def _finish_eval(
    out: Path, config: str, tasks: Sequence[ShardTask], receipts: Sequence[Json]
) -> tuple[list[Path], list[Json]]:
    """Write a COCO file for each split. A set with one mask for each image needs none."""
    one_mask = evaluation.has_one_mask(config)
    splits: dict[Path, list[Json]] = {}
    for task, receipt in zip(tasks, receipts, strict=True):
        splits.setdefault(task.folder, []).extend(receipt["lines"])
    files, loaders = [], []
    for folder, entries in splits.items():
        if not one_mask:
            files.append(folder / evaluation.INSTANCES)
            write_json(files[-1], evaluation.coco(entries))
        names = [entry["file_name"] for entry in entries]
        if one_mask and (clash := evaluation.clashing(names)):
            raise ShardError(
                f"{folder}: {clash[0]} and {clash[1]} would have the same mask file, because ASAM "
                "finds it by the name without its suffix: rename one of them in the release, build "
                "it again, and export into another --out"
            )
        loaders += evaluation.loaders(config, folder, names, one_mask=one_mask)
    return files, loaders


def _refuse_repeats(tasks: Sequence[ShardTask], receipts: Sequence[Json]) -> None:
    """Raise ShardError if two images have one name: the files of one have replaced the other's."""
    seen: Counter[tuple[Path, str]] = Counter(
        (task.folder, line["file_name"])
        for task, receipt in zip(tasks, receipts, strict=True)
        for line in receipt["lines"]
    )
    for (folder, name), count in seen.items():
        if count > 1:
            raise ShardError(
                f"{folder}: {count} images are called {name!r}, so the files of the last one "
                "replaced the others': build the config again from a source without repeats, and "
                "export it into another --out"
            )


def _shards(index: Index, folder: Path) -> Iterator[tuple[Path, str]]:
    """The folder for its files, and the file, of each shard. Several splits get a folder each."""
    several = len(index.splits) > 1
    for name, split in index.splits.items():
        for shard in split.shards:
            yield folder / name if several else folder, shard.file


def _refuse(index: Index, missing_captions: str, image_root: Path | None) -> None:
    config, counts = index.config, index.counts
    if not index.num_rows:
        raise SettingsError(f"{config} holds no image, so there is nothing to export: build it")
    if index.annotations_only and image_root is None:
        raise SettingsError(
            f"{config} was built with --annotations-only and holds no pixels, which ASAM's tree "
            "needs: give the tar or folder with the images as --image-root"
        )
    if index.kind == "train" and index.format_version < _ASAMS_CONTROL:
        raise SettingsError(
            f"{config} is of format {index.format_version}, whose control images are not those of "
            "ASAM's recipe: build it again"
        )
    missing = counts.captions_missing
    if index.kind == "train" and missing and missing_captions == REFUSE:
        raise CaptionError(
            f"{missing:,} of {counted(counts.images, 'image')} of {config} have no caption, and "
            "ASAM's scripts stop with a KeyError at the first of them: caption them (python -m "
            "builder.caption), leave them out (--missing-captions skip), or give them an empty "
            "caption (--missing-captions empty)"
        )


def _plan(index: Index, missing_captions: str, skip_empty: bool) -> Json:
    """What an export is started with. A later run continues it only if its plan is equal."""
    shards = [[shard.file, shard.sha256] for shard in index.shards]
    return {
        "layout": _LAYOUT,
        "shards": shards,
        "missing_captions": missing_captions,
        "skip_empty": skip_empty,
    }


def _receipt(path: Path, task: ShardTask) -> Json | None:
    """A shard's receipt, or None if it is damaged, of another plan, or of another form.

    It is also None if a file of its images is missing, surplus or of another size.
    """
    try:
        receipt = read_object(path) or {}
        whole = receipt == signed(receipt)
    except (ContractError, ValueError):
        return None
    stated = receipt.get("form"), receipt.get("plan_sha256")
    if not whole or stated != (_RECEIPT, task.plan_sha256):
        return None
    lines = receipt["lines"]
    if task.kind == "train":
        there = (train.is_there(task.folder, x["file_name"], x["sizes"]) for x in lines)
    else:
        there = (evaluation.is_there(task.folder, line) for line in lines)
    return receipt if all(there) else None
