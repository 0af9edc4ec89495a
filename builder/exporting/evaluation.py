"""An evaluation config in the layouts that ASAM's evaluation loaders read.

A set with one mask for each image gets the layout of ASAM's repacks. Its `OnlineDataset` reads it::

    HRSOD_TE/imgs/<file name>           the image's bytes, untouched
    HRSOD_TE/gts/<its stem>.png         the mask, 0 and 255

All other sets get one COCO file. ASAM's `COCODataset` reads it if the set's name contains "coco"::

    ADE20K/imgs/<file name>
    ADE20K/instances.json

Folder names are in capitals, as ASAM's are. The names in its table of datasets have no protocol,
because "sam" in a path or a name has another meaning there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from asam_datasets import PROTOCOLS
from builder.core.errors import ShardError
from builder.core.records import Json
from builder.core.rows import image_bytes
from builder.exporting.png import palette_mask
from builder.masks.png import encode_bitmap

IMAGES, MASKS, INSTANCES = "imgs", "gts", "instances.json"
# The sets that ASAM gives to OnlineDataset: one image, one mask.
ONE_MASK = ("doors", "big", "hrsod_te", "camo", "kvasir_seg", "cvc_clinicdb")
_NO_CATEGORY = "object"
_DECIMAL = re.compile(r"\d{1,18}")


def folder_name(config: str) -> str:
    """The folder of a config in the tree."""
    return config.upper()


def dataset_name(config: str) -> str:
    """A config's dataset, without the protocol: `camo` for `camo_asam`."""
    for protocol in PROTOCOLS:
        config = config.removesuffix(f"_{protocol}")
    return config


def has_one_mask(config: str) -> bool:
    """Whether a config's images have one mask each."""
    return dataset_name(config) in ONE_MASK


def clashing(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of images whose masks would have the same name, or None."""
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        first = seen.setdefault(PurePosixPath(name).with_suffix(".png"), name)
        if first != name:
            return first, name
    return None


def write_image(folder: Path, scratch: Path, row: Json, *, one_mask: bool) -> Json:
    """Write a row's image and, with `one_mask`, its mask.

    Returns the row's entry for `coco`. Its `sizes` are the sizes of the files, for `is_there`.

    Raises
    ------
    ShardError
        The file name leads out of the folder, or `one_mask` is set and the row has more masks.
    """
    name = PurePosixPath(row["file_name"])
    if (
        name.is_absolute()
        or ".." in name.parts
        or {"\\", "\0"} & {*row["file_name"]}
        or not name.name
    ):
        raise ShardError(f"file_name {row['file_name']!r}: expected a relative path")
    sizes: dict[str, int] = {}
    if one_mask:
        if len(row["masks"]) > 1:
            raise ShardError(f"expected one mask, found {len(row['masks'])}")
        empty = np.zeros((row["height"], row["width"]), np.bool_)
        mask = row["masks"][0]["bytes"] if row["masks"] else encode_bitmap(empty)
        sizes["mask"] = _put(scratch, folder / MASKS / name.with_suffix(".png"), palette_mask(mask))
    sizes["image"] = _put(scratch, folder / IMAGES / name, image_bytes(row))
    keys = ("file_name", "width", "height", "image_id", "annotations")
    return {**{key: row[key] for key in keys}, "sizes": sizes}


def coco(entries: Iterable[Json]) -> Json:
    """COCO's document for the entries of all images.

    The image ids are those of the release if all of them are different numbers. Otherwise they
    count from 1. `release_id` holds the release's id. Annotation ids count from 1, because a
    release's ids may repeat in another image. Masks are compressed RLE. A mask without a category
    gets the category "object".

    Parameters
    ----------
    entries
        What `write_image` returned for each image.
    """
    listed = list(entries)
    numbers = [int(e["image_id"]) if _DECIMAL.fullmatch(e["image_id"]) else -1 for e in listed]
    if min(numbers, default=0) < 0 or len(set(numbers)) != len(numbers):
        numbers = list(range(1, len(listed) + 1))
    named = {
        a["category_id"]: a["category"] or str(a["category_id"])
        for e in listed
        for a in e["annotations"]
        if a["category_id"] is not None
    }
    other = 0 if 0 not in named else max(named) + 1
    images: list[Json] = []
    annotations: list[Json] = []
    for number, entry in zip(numbers, listed, strict=True):
        info = {key: entry[key] for key in ("file_name", "width", "height")}
        images.append({"id": number, **info, "release_id": entry["image_id"]})
        for annotation in entry["annotations"]:
            category = annotation["category_id"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": other if category is None else category,
                    "segmentation": annotation["segmentation"],
                    "bbox": annotation["bbox"],
                    "area": annotation["area"],
                    "iscrowd": int(bool(annotation["iscrowd"])),
                }
            )
    if any(annotation["category_id"] == other for annotation in annotations):
        named[other] = _NO_CATEGORY
    categories = [{"id": key, "name": named[key]} for key in sorted(named)]
    return {"images": images, "annotations": annotations, "categories": categories}


def is_there(folder: Path, entry: Json) -> bool:
    """Whether the files of an image stand in the config's folder and have their sizes.

    Parameters
    ----------
    folder
        The config's folder in the tree.
    entry
        What `write_image` returned for the image.
    """
    image = folder / IMAGES / entry["file_name"]
    mask = (folder / MASKS / entry["file_name"]).with_suffix(".png")
    paths = {"image": image, "mask": mask}
    try:
        return all(paths[key].stat().st_size == size for key, size in entry["sizes"].items())
    except OSError:
        return False


def loaders(config: str, folder: Path, names: Sequence[str], *, one_mask: bool) -> list[Json]:
    """The entries for the list `valid_datasets` in ASAM's main.py, one for each file extension."""
    name, images = dataset_name(config), (folder / IMAGES).as_posix()
    if not one_mask:
        annotations = (folder / INSTANCES).as_posix()
        return [{"name": f"{name}_coco", "im_dir": images, "annotation_file": annotations}]
    masks = (folder / MASKS).as_posix()
    extensions = sorted({PurePosixPath(name).suffix for name in names})
    return [
        {"name": name, "im_dir": images, "gt_dir": masks, "im_ext": suffix, "gt_ext": ".png"}
        for suffix in extensions
    ]


def _put(scratch: Path, path: Path, data: bytes) -> int:
    """Write a file; returns its size in bytes."""
    temporary = scratch / path.name
    temporary.write_bytes(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.rename(path)
    return len(data)
