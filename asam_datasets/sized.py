"""Rows whose pictures and masks are arrays of a wanted size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

from asam_datasets.arrays import sample
from asam_datasets.control import mask_order
from asam_datasets.deadlines import T
from asam_datasets.errors import AsamDatasetsError, CorruptDataError, what_went_wrong
from asam_datasets.frames import Frame, frame_of
from asam_datasets.index import Index
from asam_datasets.resizing import bitmap, colors, photograph
from asam_datasets.rle import parse_rle
from asam_datasets.segmentation import segmentations

_FRAME = "frame"  # the column that says how a row was brought to the size
_FRAME_FEATURE = {
    "scale": [datasets.Value("float64")],
    "offset": [datasets.Value("float64")],
    "resized": [datasets.Value("int32")],
}
_PICTURES = ("image", "conditioning_image", "void_mask")

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizer:
    """Brings rows to a size. It is also a transform for `Dataset.with_transform`.

    Attributes
    ----------
    size
        (height, width) in pixels.
    fit
        "stretch", "cover" or "contain"; see `frame_of`.
    exact
        Whether JPEGs are decoded at their full size, by Pillow.
    names
        The columns of its rows.
    needs
        The columns that they are made of.
    features
        Those of its rows.
    """

    size: tuple[int, int]
    fit: str
    exact: bool
    names: tuple[str, ...]
    needs: tuple[str, ...]
    features: datasets.Features

    def row(self, row: Row) -> Row:
        """Bring a row to the size.

        Parameters
        ----------
        row
            Plain values, with pictures as {"bytes", "path"}. Columns may be missing.

        Returns
        -------
        dict
            The columns `names`, without those whose source is missing, and then those columns of
            the row that are not in `needs`.

        Raises
        ------
        CorruptDataError
            A picture or mask can't be decoded, or their sizes differ. The file, the column and the
            annotation are named.
        """
        work = _Work(self, row)
        made: Row = {c: work.picture(c) for c in _PICTURES if c in row and c in self.names}
        # Masks are made of the annotations' RLE. The PNGs serve where someone took those away.
        masks = "masks" in self.names and ("masks" in row or "masks" not in self.needs)
        if "annotations" in row:
            made |= work.annotations(masks)
        elif masks and "masks" in row:
            made["masks"] = work.masks()
        if _FRAME in self.names and ("width" in row or "width" not in self.needs):
            made[_FRAME] = work.described()
        kept = {c: row[c] for c in row if c not in made and c in self.names}
        others = {c: row[c] for c in row if c not in self.needs}
        made |= kept
        return {c: made[c] for c in self.names if c in made} | others

    def bytes(self, row: Row) -> int:
        """About how many bytes a row takes once it was brought to the size."""
        found = row.get("annotations") or row.get("masks") or ()
        masks = len(found) if "masks" in self.names else 0
        return (6 + masks) * self.size[0] * self.size[1]

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Bring a batch of rows to the size, as a transform does."""
        rows = [
            self.row(dict(zip(batch, values, strict=True)))
            for values in zip(*batch.values(), strict=True)
        ]
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


@dataclass
class _Work:
    """One row on its way to a size. What is decoded first fixes the frame."""

    sizer: Sizer
    row: Row
    frame: Frame | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if "width" in self.row and "height" in self.row:
            self.frame_for((self.row["height"], self.row["width"]))

    def frame_for(self, full: tuple[int, int]) -> Frame:
        """The row's frame; raises ValueError if it is of a picture of another size."""
        if self.frame is None:
            self.frame = frame_of(full, self.sizer.size, self.sizer.fit)
        elif self.frame.full != full:
            (height, width), found = self.frame.full, f"{full[1]} x {full[0]} pixels"
            raise ValueError(f"{width} x {height} pixels expected, as of the row, found {found}")
        return self.frame

    def described(self) -> dict[str, Any] | None:
        """The column `frame`."""
        if (frame := self.frame) is None:
            return None
        return {
            "scale": [*frame.scale],
            "offset": [*frame.offset],
            "resized": [*frame.resized],
        }

    def picture(self, column: str) -> npt.NDArray[np.uint8] | None:
        """A picture in the frame; None where the row has none."""
        if self.row[column] is None:
            return None
        data = self.row[column]["bytes"]
        if column == "image":
            return self._tried(column, lambda: photograph(data, self.frame_for, self.sizer.exact))
        decode = colors if column == "conditioning_image" else bitmap
        return self._tried(column, lambda: decode(data, self.frame_for))

    def masks(self) -> npt.NDArray[np.uint8]:
        """The masks in the frame, from their PNGs."""
        out = np.zeros((len(self.row["masks"]), *self.sizer.size), np.uint8)
        for i, png in enumerate(self.row["masks"]):
            out[i] = self._tried("masks", partial(bitmap, png["bytes"], self.frame_for))
        return out

    def annotations(self, masks: bool) -> Row:
        """The annotations in the frame, and, if wanted, their masks."""
        return self._tried("annotations", lambda: self._annotations(masks))

    def _annotations(self, masks: bool) -> Row:
        values = self.row["annotations"]
        out = np.zeros((len(values) if masks else 0, *self.sizer.size), np.uint8)
        made: Row = {"masks": out} if masks else {}
        if not values:
            return {"annotations": [], **made}
        found = segmentations(values)
        for name, size in zip(found.ids, found.sizes, strict=True):
            try:
                frame = self.frame_for(size)
            except ValueError as error:
                raise ValueError(f"annotation {name}: {error}") from error
        runs = parse_rle(found.counts, frame.full[0] * frame.full[1])
        found.refuse(runs.problems, [*range(len(values))])
        samples = sample(runs, frame.full, frame.rows, frame.columns)
        if masks:
            samples.fill(out, [*range(len(values))])
        if "annotations" not in self.sizer.names:
            return made
        ranks = np.argsort(mask_order(values)).tolist()
        areas, boxes = samples.areas().tolist(), samples.boxes().tolist()
        parts = zip(values, ranks, areas, boxes, strict=True)
        return {"annotations": [_moved(*part, frame) for part in parts], **made}

    def _tried(self, column: str, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises what it likes
            raise CorruptDataError(
                f"{self._name()}, column {column}: {what_went_wrong(error)}"
            ) from error

    def _name(self) -> str:
        """The row as messages name it."""
        named = self.row.get("file_name")
        for column in ("image", "conditioning_image"):
            named = named or (self.row.get(column) or {}).get("path")
        return str(named) if named else f"the row of image {self.row.get('image_id', 'unknown')}"


def _moved(
    annotation: Row, rank: int, area: int, box: tuple[int, int, int, int], frame: Frame
) -> Row:
    """An annotation in a frame. `box` is its mask's, as pycocotools' `toBbox` gives it."""
    left, top, right, bottom = map(float, box)
    moved = {**annotation, "bbox": [left, top, right - left, bottom - top], "area": area}
    if "point_coords" in annotation:
        moved["point_coords"] = [frame.point(*point) for point in annotation["point_coords"]]
    if "crop_box" in annotation:
        x, y, width, height = annotation["crop_box"]
        (left, top), (sx, sy) = frame.point(x, y), frame.scale
        moved["crop_box"] = [left, top, width * sx, height * sy]
    return {**moved, "rank": rank}


def sizer_for(
    index: Index,
    columns: Sequence[str] | None,
    size: tuple[int, int],
    fit: str,
    exact: bool,
    mapped: bool,
) -> Sizer:
    """What brings the rows of a config to a size.

    Parameters
    ----------
    index
        Of the config.
    columns
        The columns that its rows shall have; None for all, and `frame`.
    size, fit, exact
        As `load` takes them, checked.
    mapped
        Whether its rows come from a Dataset whose columns a user may choose later.

    Raises
    ------
    UnknownNameError
        There is no such column.
    AsamDatasetsError
        A column holds pictures of a kind that is not known.
    """
    names = [*index.features, _FRAME] if columns is None else columns
    framed = not isinstance(names, str) and isinstance(names, Collection) and _FRAME in names
    chosen = [name for name in names if name != _FRAME] if framed else names
    if chosen or not framed:
        chosen = index.columns(chosen)
    needs = dict.fromkeys(chosen)
    if "masks" in needs and "annotations" in index.features:
        needs["annotations"] = None
        if not mapped:
            del needs["masks"]
    if framed:
        needs |= dict.fromkeys(c for c in ("width", "height") if c in index.features)
    features = {name: _sized_feature(index, name, size) for name in names}
    return Sizer(size, fit, exact, (*features,), (*needs,), datasets.Features(features))


def _sized_feature(index: Index, name: str, size: tuple[int, int]) -> Any:
    """The feature of a column of rows of a size."""
    if name == _FRAME:
        return _FRAME_FEATURE
    if name in ("image", "conditioning_image"):
        return datasets.Array3D((*size, 3), "uint8")
    if name == "void_mask":
        return datasets.Array2D(size, "uint8")
    if name == "masks":
        return datasets.Array3D((None, *size), "uint8")
    feature = index.features[name]
    if name == "annotations":
        fields = feature[0] if isinstance(feature, list) else feature.feature
        return [{**fields, "rank": datasets.Value("int64")}]
    if isinstance(feature, datasets.Image):
        raise AsamDatasetsError(
            f"column {name}: size= knows no rule for pictures of that name: choose columns= "
            "without it"
        )
    return feature
