"""`load`: a split of a config as a memory-mapped Dataset or as a stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from asam_datasets.ahead import SizedStream
from asam_datasets.arguments import check_above_zero, check_text, check_whole
from asam_datasets.errors import AsamDatasetsError, CorruptDataError
from asam_datasets.frames import check_fit, frame_size
from asam_datasets.images import ImageRoot
from asam_datasets.index import Index, open_index
from asam_datasets.names import REPO_ID
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.reading import Reader
from asam_datasets.script import AnyConfig
from asam_datasets.shards import Split
from asam_datasets.sized import Sizer, sizer_for
from asam_datasets.stores import Files, Hub, open_store
from asam_datasets.stream import RowStream, units
from asam_datasets.values import check_pictures, check_values


def load(
    config: str,
    split: str | None = None,
    *,
    repo_or_path: str | Path = REPO_ID,
    revision: str | None = None,
    token: str | bool | None = None,
    streaming: bool = False,
    columns: Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str = "stretch",
    exact: bool = False,
    image_root: str | Path | None = None,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    verify: bool = False,
    retries: int = PATIENT.retries,
    timeout: float = PATIENT.timeout,
    rate: float = PATIENT.rate,
    cache_dir: str | Path | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """Load a split of a config.

    Parameters
    ----------
    config, split
        Such as "sa_000000" and "train". The split may be left out if there is only one.
    repo_or_path
        A repo on the Hub, a folder that `python -m builder.build` wrote, or a URL that fsspec
        opens.
    revision, token
        The Hub's revision and token. They default to main and to the token of the usual login.
    streaming
        Return an IterableDataset, which fetches rows when they are asked for. Otherwise return a
        Dataset, whose shards are memory mapped from the folder or from the Hub's cache.
    columns
        Read only these columns. Defaults to all.
    size, fit
        Give arrays of this size, one number for a square or (height, width) in pixels. "stretch"
        changes the proportions, as ASAM does. "cover" fills the frame and cuts off what is beyond
        it on both sides, as diffusers' resizing and centre crop do. "contain" shows all of the
        picture and pads it on the right or below with zeros, as SAM does. See Returns.
    exact
        Decode JPEGs at their full size by Pillow, as `load_dataset` does, before they are resized.
        By default they are decoded by DCT scaling at the next eighth of their size above `size`,
        which is faster and changes pixels a little.
    image_root
        Your own tar, folder or glob of the images, for a config that holds only annotations. Each
        image must have the sha256 that its row states.
    shuffle_seed, epoch
        Shuffle a stream. First the record batches of the split are shuffled (of the part that a
        rank and worker has), then the rows within each window of WINDOW batches. The same two
        numbers give the same order, and every row comes once. From datasets 5 on, `set_epoch`
        replaces `epoch`.
    verify
        Compare the sha256 of each shard with the index, and check every value, before a Dataset is
        returned. Without it, a Dataset's shards are mapped into memory after their sizes, columns
        and numbers of rows were compared; a flipped byte in them is not noticed. What is copied
        into `cache_dir`, and every stream, is checked against the index as it is read. So `verify`
        is refused with `streaming`.
    retries
        How often a request is repeated, waiting 1, 2, 4, 8, 8, ... seconds, or as long as the
        server asks, if that is no more than 330 seconds. Defaults to 5.
    timeout, rate
        A request of N bytes is given up after timeout + N / rate seconds. They default to 60
        seconds and to 20,000 bytes a second. They hold for this project's own requests; those of
        plain `load_dataset` have no such bound.
    cache_dir
        Where a Dataset is kept that can't be a view of shards: chosen columns of a remote config,
        joined images, or Parquet. Defaults to the library's cache.

    Returns
    -------
    datasets.Dataset or datasets.IterableDataset
        With `size`, a row has these columns, of those that `columns` names or all:

        - `image`, uint8 (h, w, 3), RGB: turned as its EXIF orientation says, and resized once by
          Pillow's bilinear filter. `conditioning_image`, uint8 (h, w, 3), by nearest neighbour.
        - `masks`, uint8 (N, h, w) of 0 and 1, and `void_mask`, uint8 (h, w), by nearest neighbour
          at pixel centres, as `decode_masks` and the control image. Mask i belongs to
          annotations[i]. A mask without a pixel in the frame is all zeros.
        - `annotations`, with `bbox` [x, y, width, height] and `area` of the mask in the frame (0
          and zeros for one without a pixel), `point_coords` and `crop_box` moved to the frame, and
          `rank`, which `mask_order` and `decode_control` read. `segmentation` is as it was.
        - `frame`: a point (x, y) of the picture is at scale[0] * x + offset[0] and
          scale[1] * y + offset[1] of the frame. `resized` is the (height, width) of the whole
          picture at that scale; with "contain" the rest is padding.

        `width` and `height` are those of the picture. Threads decode the next rows of a stream. A
        Dataset decodes rows on access, by a transform (`Dataset.with_transform`), so its `features`
        are those of what it holds, and `with_format` would replace the transform.

        A stream's `state_dict` and `load_state_dict` resume at the exact row, shuffled or not, for
        each rank (`split_dataset_by_node`) and DataLoader worker. After a resume only the window
        that holds the row is read again.

    Raises
    ------
    UnknownNameError
        There is no such repo, config, split or column.
    ContractError, CorruptDataError
        The index or a shard is damaged.
    UnreachableError
        The Hub can't be reached or refuses access.
    SlowError
        An answer did not come in time.
    ImageRootError
        An image is missing from `image_root`, or has another sha256.
    AsamDatasetsError
        An argument is of another kind, or arguments contradict each other.
    """
    check_text("config", config, "sa_000000")
    if split is not None:
        check_text("split", split, "train")
    if not isinstance(repo_or_path, os.PathLike):
        check_text("repo_or_path", repo_or_path, REPO_ID)
    if verify and streaming:
        raise AsamDatasetsError(
            "verify=True is for streaming=False: a stream checks each record batch against the "
            "index as it is read; leave verify out"
        )
    if shuffle_seed is not None and not streaming:
        raise AsamDatasetsError("shuffle_seed is for streaming=True; a Dataset has .shuffle(seed=)")
    if size is None and (fit != "stretch" or exact):
        raise AsamDatasetsError(f"fit={fit!r} and exact={exact!r} are for size=; give size= too")
    if size is not None:
        size = frame_size(size)
        check_fit(fit)
    shuffle_seed = None if shuffle_seed is None else check_whole("shuffle_seed", shuffle_seed)
    epoch = check_whole("epoch", epoch)
    patience = Patience(
        check_above_zero("timeout", timeout),
        check_above_zero("rate", rate),
        check_whole("retries", retries),
    )
    store = open_store(repo_or_path, revision, token, patience)
    index = open_index(store, config, keep=not streaming)
    chosen = index.split(split)
    sizer = None if size is None else sizer_for(index, columns, size, fit, exact, not streaming)
    names = index.columns(columns) if sizer is None else [*sizer.needs]
    if index.format == "arrow" and streaming:
        reader = Reader(store, index, names, ImageRoot(image_root) if image_root else None)
        stream = RowStream(reader, units(index.places(chosen.shards)), shuffle_seed, epoch)
        return _stream(stream, reader.features, config, chosen.name, sizer)
    if shuffle_seed is not None:
        raise AsamDatasetsError(
            "shuffle_seed is for streaming=True on Arrow shards; elsewhere use .shuffle(seed=...)"
        )
    # A folder's shards are mapped where they are, and those of a repo in the Hub's cache. Elsewhere
    # no file stands on this machine, so the rows are copied.
    at_hand = store.is_local or (isinstance(store, Hub) and not columns)
    if index.format == "arrow" and not image_root and at_hand:
        mapped = _map_shards(store, index, chosen, verify)
        return _sized(mapped.select_columns(names) if columns or sizer else mapped, sizer)
    builder = AnyConfig(
        cache_dir=None if cache_dir is None else str(cache_dir),
        config_name=config,
        repo_or_path=store.url,
        columns=names if columns or sizer else None,
        image_root=str(image_root) if image_root else None,
        token=token,
        patience=patience,
    )
    if streaming:
        stream = builder.as_streaming_dataset(chosen.name)
        if sizer is None:
            return stream
        return _stream(stream._ex_iterable, stream.features, config, chosen.name, sizer)
    try:
        builder.download_and_prepare()
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, AsamDatasetsError):
            raise error.__cause__ from error
        raise
    return _sized(builder.as_dataset(chosen.name), sizer)


def _stream(
    rows: Any, features: datasets.Features, config: str, split: str, sizer: Sizer | None
) -> datasets.IterableDataset:
    """The IterableDataset of some rows, brought to a size if there is a sizer."""
    if sizer is not None:
        rows, features = SizedStream(rows, sizer), sizer.features
    info = datasets.DatasetInfo(features=features, config_name=config)
    return datasets.IterableDataset(rows, info=info, split=datasets.NamedSplit(split))


def _sized(mapped: datasets.Dataset, sizer: Sizer | None) -> datasets.Dataset:
    """A Dataset whose rows are brought to a size on access, if there is a sizer.

    Its table is kept without the features of `datasets`, which would decode each picture.
    """
    if sizer is None:
        return mapped
    table = mapped.data.replace_schema_metadata(None)
    return datasets.Dataset(table, split=mapped.split).with_transform(sizer)


def _map_shards(store: Files | Hub, index: Index, split: Split, verify: bool) -> datasets.Dataset:
    """The shards as one memory-mapped Dataset; nothing is copied."""
    parts = []
    for shard in split.shards:
        try:
            local = store.local(index.path(shard))
            with Path(local).open("rb") as file:
                _compare(local, "bytes", shard.bytes, os.fstat(file.fileno()).st_size)
                if verify:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    _compare(local, "sha256", shard.sha256, sha256)
        except FileNotFoundError as error:
            raise CorruptDataError(f"a shard that the index names is not there: {error}") from error
        try:
            part = datasets.Dataset.from_file(local, split=datasets.NamedSplit(split.name))
        except Exception as error:  # datasets and pyarrow raise what they like
            raise CorruptDataError(
                f"{local}: can't be read: {error!r}; remove the file and get or build it again"
            ) from error
        _compare(local, "rows", shard.rows, part.num_rows)
        _compare(local, "columns", index.features, part.features)
        _check_mapped(local, part.data.table, verify)
        parts.append(part)
    return datasets.concatenate_datasets(parts)


def _check_mapped(local: str, table: pa.Table, verify: bool) -> None:
    """Check that each picture holds its bytes; with `verify` also every value of the table."""
    try:
        if verify:
            table.validate(full=True)
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                if verify:
                    check_values(name, chunk)
                else:
                    check_pictures(name, chunk)
    except (ValueError, pa.ArrowException) as error:
        raise CorruptDataError(
            f"{local}: {error}; remove the file and get or build it again"
        ) from error


def _compare(local: str, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise CorruptDataError(
            f"{local}: {what} {expected} expected, {found} found; remove the file and get or "
            "build it again"
        )
