"""Takes boxes and ranks of annotations in any form that `datasets` returns, without loss."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from asam_datasets.errors import AsamDatasetsError
from asam_datasets.segmentation import UNREADABLE, fields, host_array

_FLOATS = [float] * 4


def box_areas(annotations: Any) -> npt.NDArray[np.float64]:
    """The area of each annotation's box, `bbox[2] * bbox[3]`.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `decode_masks` takes.

    Returns
    -------
    numpy.ndarray
        (N,) float64, in square pixels.

    Raises
    ------
    AsamDatasetsError
        A bbox is not four finite numbers, or its dtype may have changed it: it holds float32 or
        less, and not only whole numbers.
    """
    try:
        ids, values = fields(annotations, "bbox")
        values = list(values)
        names = list(range(len(values)) if ids is None else ids)
        pairs = list(zip(names, values, strict=True))
    except UNREADABLE as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a bbox of "
            f"[x, y, width, height]: {error!r}"
        ) from error
    if all(type(value) is list and [*map(type, value)] == _FLOATS for value in values):
        boxes = np.array(values, np.float64).reshape(-1, 4)  # as a row without a format has them
    else:
        boxes = np.array([_box(name, value) for name, value in pairs], np.float64).reshape(-1, 4)
    for i in np.flatnonzero(~np.isfinite(boxes).all(axis=1))[:1].tolist():
        _refuse(*pairs[i])
    # Python multiplies to infinity where numpy warns.
    return np.array([width * height for _, _, width, height in boxes.tolist()], np.float64)


def stated_ranks(annotations: Any) -> npt.NDArray[np.int64] | None:
    """The rank that each annotation states, (N,) int64; None if not all of them state one.

    Raises
    ------
    AsamDatasetsError
        The ranks are no whole numbers.
    """
    try:
        _, values = fields(annotations, "rank")
        ranks = np.array([host_array(value) for value in values])
    except UNREADABLE:
        return None
    if not len(ranks):
        return None
    if ranks.ndim != 1 or ranks.dtype.kind not in "iu":
        raise AsamDatasetsError(
            f"annotations: each rank must be a whole number, found {ranks.dtype} of shape "
            f"{ranks.shape}"
        )
    return ranks.astype(np.int64)


def _box(name: Any, value: Any) -> npt.NDArray[Any]:
    """A bbox as four numbers that float64 holds, which may still be infinite or nan."""
    try:
        box = host_array(value)
    except UNREADABLE:
        _refuse(name, value)
    if box.shape != (4,) or box.dtype.kind not in "iuf":
        _refuse(name, value)
    if box.dtype.kind == "f" and box.dtype.itemsize < 8 and np.isfinite(box).all():
        # Up to this limit the dtype holds each whole number. A fraction, and what is above the
        # limit, may be the rounded form of another number.
        limit = 2.0 ** (np.finfo(box.dtype).nmant + 1)
        exact = box.astype(np.float64)
        if (exact != np.floor(exact)).any() or np.abs(exact).max() > limit:
            raise AsamDatasetsError(
                f"annotation {name}: its bbox {exact.tolist()} is {box.dtype} and may be rounded, "
                "which can change the order of the masks: take the row without a format, as by "
                "ds.with_format(None)"
            )
    return box


def _refuse(name: Any, value: Any) -> NoReturn:
    found = repr(value)
    found = found if len(found) <= 80 else f"{found[:77]}..."
    raise AsamDatasetsError(
        f"annotation {name}: bbox must be [x, y, width, height], four finite numbers, not {found}"
    )
