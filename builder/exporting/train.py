"""One row of a train config as ASAM's files: jpg, json, control image and a folder of masks.

::

    sa_000000/sa_1.jpg                  the image's bytes, untouched
    sa_000000/sa_1.json                 the record in SA-1B's form
    sa_000000/sa_1.png                  the control image
    sa_000000/sa_1/segmentation_0.png   one mask per annotation, and nothing else

The masks are numbered by the area of their boxes (`mask_order`), as in ASAM's recipe. An image
without masks gets an empty folder, as there. The json keeps the order of the annotations. It is
written last, so an image whose json has the right content is complete.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from asam_datasets import mask_order
from builder.core.errors import ShardError
from builder.core.records import Json
from builder.core.rows import image_bytes
from builder.exporting.png import palette_mask, rgb_control

_IMAGE_KEYS = ("image_id", "width", "height", "file_name")
_ANNOTATION_KEYS = (
    *("bbox", "area", "segmentation", "predicted_iou", "point_coords", "crop_box", "id"),
    "stability_score",
)
_FILE_NAME = re.compile(r"(?P<stem>[\w-][\w.-]*)\.jpg")
_MASK_NAME = re.compile(r"segmentation_\d+\.png")
_NAMED = 5  # the most foreign files that a message names


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The paths of one image."""

    jpg: Path
    json: Path
    control: Path
    masks: Path

    @classmethod
    def of(cls, folder: Path, file_name: str) -> ImageFiles:
        """The paths in `folder` of an image called `file_name`.

        Raises
        ------
        ShardError
            The name is not a plain file name that ends with .jpg.
        """
        match = _FILE_NAME.fullmatch(file_name)
        if match is None:
            raise ShardError(f"file_name {file_name!r}: expected a plain name that ends with .jpg")
        stem = match["stem"]
        paths = (folder / f"{stem}{suffix}" for suffix in (".jpg", ".json", ".png", ""))
        return cls(*paths)


def record(row: Json) -> Json:
    """A row's record in SA-1B's form, with its order of keys and without rejected annotations."""
    annotations = [{key: one[key] for key in _ANNOTATION_KEYS} for one in row["annotations"]]
    return {"image": {key: row[key] for key in _IMAGE_KEYS}, "annotations": annotations}


def write_image(folder: Path, scratch: Path, row: Json) -> tuple[bool, Json]:
    """Write the files of one image, or find them written.

    Parameters
    ----------
    folder
        The config's folder in the tree.
    scratch
        An empty folder on the same file system, for unfinished files. It is empty afterwards.
    row
        A row of a train config.

    Returns
    -------
    tuple
        Whether anything was written, and the sizes of the files in bytes, for `is_there`. If the
        process is killed, no file is left half written, and no json without the other files of its
        image.

    Raises
    ------
    ShardError
        The folder of masks holds something that no export wrote. It is not removed, because it
        may be the user's.
    """
    files = ImageFiles.of(folder, row["file_name"])
    text = json.dumps(record(row)).encode()
    if row["conditioning_image"] is None:
        raise ShardError("expected a control image, found none: build the config again")
    jpeg, control = image_bytes(row), rgb_control(row["conditioning_image"]["bytes"])
    order = mask_order(row["annotations"]).tolist()
    masks = [palette_mask(row["masks"][position]["bytes"]) for position in order]
    sizes = {
        "jpg": len(jpeg),
        "json": len(text),
        "png": len(control),
        "masks": [len(mask) for mask in masks],
    }
    _refuse_foreign(files.masks)
    if _whole(files, sizes) and files.json.read_bytes() == text:
        return False, sizes
    files.json.unlink(missing_ok=True)
    if files.masks.exists():
        shutil.rmtree(files.masks)
    unfinished = scratch / "masks"
    unfinished.mkdir()
    for rank, mask in enumerate(masks):
        (unfinished / _mask_name(rank)).write_bytes(mask)
    unfinished.rename(files.masks)
    _put(scratch, files.control, control)
    _put(scratch, files.jpg, jpeg)
    _put(scratch, files.json, text)
    return True, sizes


def is_there(folder: Path, file_name: str, sizes: Json) -> bool:
    """Whether the files of an image stand in the config's folder.

    Parameters
    ----------
    folder
        The config's folder in the tree.
    file_name
        The image's name.
    sizes
        The sizes of the files in bytes, as `write_image` returned them.

    Returns
    -------
    bool
        True if the jpg, the json and the control image have these sizes, and the folder of masks
        holds exactly the masks, each of its size. A missing or a surplus file gives False.
    """
    return _whole(ImageFiles.of(folder, file_name), sizes)


def _whole(files: ImageFiles, sizes: Json) -> bool:
    paths = {"jpg": files.jpg, "json": files.json, "png": files.control}
    masks = {_mask_name(rank): size for rank, size in enumerate(sizes["masks"])}
    try:
        with os.scandir(files.masks) as entries:
            found = {entry.name: entry.stat().st_size for entry in entries}
        return found == masks and all(
            path.stat().st_size == sizes[key] for key, path in paths.items()
        )
    except OSError:
        return False


def _refuse_foreign(masks: Path) -> None:
    """Raise ShardError if the folder of masks holds anything but files named as masks."""
    if not masks.exists():
        return
    foreign = sorted(entry.name for entry in masks.iterdir() if not _is_mask(entry))
    if foreign:
        named = ", ".join(foreign[:_NAMED]) + (", ..." if len(foreign) > _NAMED else "")
        raise ShardError(
            f"{masks}: expected only files segmentation_0.png, segmentation_1.png and so on, found "
            f"also {named}. ASAM takes the number of files in this folder as the number of masks: "
            "move these files away and run the same command again"
        )


def _mask_name(rank: int) -> str:
    return f"segmentation_{rank}.png"


def _is_mask(path: Path) -> bool:
    return _MASK_NAME.fullmatch(path.name) is not None and path.is_file()


def _put(scratch: Path, path: Path, data: bytes) -> None:
    temporary = scratch / path.name
    temporary.write_bytes(data)
    temporary.rename(path)
