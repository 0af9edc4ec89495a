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
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from asam_datasets import mask_order
from builder.core.errors import ShardError
from builder.core.records import Json
from builder.exporting.png import palette_mask, rgb_control

_IMAGE_KEYS = ("image_id", "width", "height", "file_name")
_ANNOTATION_KEYS = (
    *("bbox", "area", "segmentation", "predicted_iou", "point_coords", "crop_box", "id"),
    "stability_score",
)
_FILE_NAME = re.compile(r"(?P<stem>[\w-][\w.-]*)\.jpg")


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


def write_image(folder: Path, scratch: Path, row: Json) -> bool:
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
    bool
        Whether anything was written. If the process is killed, no file is left half written, and no
        json without the other files of its image.
    """
    files = ImageFiles.of(folder, row["file_name"])
    text = json.dumps(record(row)).encode()
    jpeg, count = row["image"]["bytes"], len(row["masks"])
    if _whole(files, text, len(jpeg), count):
        return False
    files.json.unlink(missing_ok=True)
    if files.masks.exists():
        shutil.rmtree(files.masks)
    masks = scratch / "masks"
    masks.mkdir()
    for rank, position in enumerate(mask_order(row["annotations"]).tolist()):
        mask = palette_mask(row["masks"][position]["bytes"])
        (masks / f"segmentation_{rank}.png").write_bytes(mask)
    masks.rename(files.masks)
    _put(scratch, files.control, rgb_control(row["conditioning_image"]["bytes"]))
    _put(scratch, files.jpg, jpeg)
    _put(scratch, files.json, text)
    return True


def is_there(folder: Path, file_name: str) -> bool:
    """Whether the files of an image stand in the config's folder."""
    files = ImageFiles.of(folder, file_name)
    return all(path.exists() for path in (files.jpg, files.json, files.control, files.masks))


def _whole(files: ImageFiles, text: bytes, jpeg_size: int, count: int) -> bool:
    try:
        return (
            files.json.read_bytes() == text
            and files.jpg.stat().st_size == jpeg_size
            and files.control.exists()
            and sum(1 for _ in files.masks.iterdir()) == count
        )
    except OSError:
        return False


def _put(scratch: Path, path: Path, data: bytes) -> None:
    temporary = scratch / path.name
    temporary.write_bytes(data)
    temporary.rename(path)
