"""Takes ids, sizes and RLE strings from annotations in any form that `datasets` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asam_datasets.errors import AsamDatasetsError
from asam_datasets.rle import MAX_PIXELS

# What values of another form than expected raise; torch raises the RuntimeError.
UNREADABLE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Segmentations:
    """What decoding needs of N annotations: ids, (height, width) in pixels, and RLE strings."""

    ids: Sequence[Any]
    sizes: list[tuple[int, int]]
    counts: list[str | bytes]

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The (height, width) to decode to: `size`, or for None the size that all masks have.

        Raises
        ------
        AsamDatasetsError
            `size` is no pair of positive numbers, or it is None and the masks' sizes differ.
        """
        if size is not None:
            try:
                height, width = map(int, size)
            except (TypeError, ValueError, OverflowError):
                height = width = 0
            if min(height, width) < 1:
                raise AsamDatasetsError(f"size must be (height, width) in pixels, not {size!r}")
            return height, width
        different = sorted(set(self.sizes))
        if len(different) > 1:
            raise AsamDatasetsError(
                f"the masks differ in size ({different[0]}, {different[1]}, ...): "
                "give size=(height, width) to decode them together"
            )
        return different[0] if different else (0, 0)

    def by_size(self) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Each size and the masks that have it."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(self.sizes):
            groups.setdefault(size, []).append(i)
        return iter(groups.items())

    def refuse(self, problems: dict[int, tuple[str, str, str]], which: list[int]) -> None:
        """Raise AsamDatasetsError for the first problem, if there is one.

        `problems` are those of `parse_rle` for the masks whose numbers are in `which`.
        """
        for k, (reason, expected, found) in problems.items():
            raise AsamDatasetsError(
                f"annotation {self.ids[which[k]]}: malformed RLE ({reason}): "
                f"expected {expected}, found {found}"
            )


def fields(annotations: Any, name: str) -> tuple[Sequence[Any] | None, Any]:
    """The ids of annotations in any form, and one field of each.

    Parameters
    ----------
    annotations
        A row's `annotations`, or a column of them that has one row: a list of dicts, a dict of
        lists, or an object of pyarrow or pandas.
    name
        The field.

    Returns
    -------
    tuple
        The ids, or None where there are none, and the field's values.

    Raises
    ------
    Exception
        One of UNREADABLE: these are no annotations, or the field is missing.
    """
    annotations = _one_row(annotations)
    if isinstance(annotations, Mapping):
        ids = unwrapped(annotations.get("id"))
        return (None if ids is None else list(ids)), unwrapped(annotations[name])
    values = [annotation[name] for annotation in annotations]
    return [annotation.get("id", i) for i, annotation in enumerate(annotations)], values


def unwrapped(value: Any) -> Any:
    """Convert what pyarrow or pandas holds to Python values; return anything else as it is."""
    for convert in ("to_pylist", "as_py", "to_list"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    return value


def _one_row(annotations: Any) -> Any:
    """The annotations of a row, also where a column of one row was given.

    With the formats "arrow" and "pandas", `datasets` returns such a column for one row.
    """
    values = unwrapped(annotations)
    if values is not annotations and isinstance(values, list) and len(values) == 1:
        (only,) = values
        return only if isinstance(only, list | np.ndarray) else values
    return values


def host_array(value: Any) -> npt.NDArray[Any]:
    """A value as a numpy array of the dtype that it has; tensors come from their device.

    Raises
    ------
    Exception
        One of UNREADABLE: numpy can't hold the value.
    """
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def segmentations(annotations: Any) -> Segmentations:
    """Read ids, sizes and counts from any form of an `annotations` column.

    Raises
    ------
    AsamDatasetsError
        An annotation has no segmentation of a valid size with an RLE string.
    """
    try:
        ids, records = fields(annotations, "segmentation")
        if isinstance(records, Mapping):
            pairs = list(zip(records["size"], records["counts"], strict=True))
        else:
            pairs = [(record["size"], record["counts"]) for record in records]
        ids = range(len(pairs)) if ids is None else ids
        sizes = [(int(height), int(width)) for (height, width), _ in pairs]
        described = list(zip(ids, sizes, pairs, strict=True))
    except UNREADABLE as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a segmentation of "
            f"{{size: [height, width], counts: compressed RLE}}: {error!r}"
        ) from error
    for name, (height, width), (_, counts) in described:
        if height < 1 or width < 1 or height * width > MAX_PIXELS:
            raise AsamDatasetsError(
                f"annotation {name}: a mask can't have the size {height, width}"
            )
        if not isinstance(counts, str | bytes):
            raise AsamDatasetsError(
                f"annotation {name}: counts must be a compressed RLE string, "
                f"not {type(counts).__name__}"
            )
    return Segmentations(ids, sizes, [counts for _, counts in pairs])
