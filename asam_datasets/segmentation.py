"""Takes ids, sizes and RLE strings from annotations in any form that `datasets` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asam_datasets.errors import AsamDatasetsError

_MAX_PIXELS = 2**31 - 1


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
            except (TypeError, ValueError):
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


def unwrapped(annotations: Any) -> Any:
    """Convert pyarrow's arrays and scalars to Python values; return anything else as it is."""
    for convert in ("to_pylist", "as_py"):
        if hasattr(annotations, convert):
            return getattr(annotations, convert)()
    return annotations


def segmentations(annotations: Any) -> Segmentations:
    """Read ids, sizes and counts from any form of an `annotations` column.

    Raises
    ------
    AsamDatasetsError
        An annotation has no segmentation of a valid size with an RLE string.
    """
    annotations = unwrapped(annotations)
    try:
        if isinstance(annotations, Mapping):
            records = annotations["segmentation"]
            ids = annotations.get("id", range(len(annotations["segmentation"])))
        else:
            records = [annotation["segmentation"] for annotation in annotations]
            ids = [annotation.get("id", i) for i, annotation in enumerate(annotations)]
        if isinstance(records, Mapping):
            pairs = list(zip(records["size"], records["counts"], strict=True))
        else:
            pairs = [(record["size"], record["counts"]) for record in records]
        sizes = [(int(height), int(width)) for (height, width), _ in pairs]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a segmentation of "
            f"{{size: [height, width], counts: compressed RLE}}: {error!r}"
        ) from error
    for i, ((height, width), (_, counts)) in enumerate(zip(sizes, pairs, strict=True)):
        if height < 1 or width < 1 or height * width > _MAX_PIXELS:
            raise AsamDatasetsError(
                f"annotation {ids[i]}: a mask can't have the size {height, width}"
            )
        if not isinstance(counts, str | bytes):
            raise AsamDatasetsError(
                f"annotation {ids[i]}: counts must be a compressed RLE string, "
                f"not {type(counts).__name__}"
            )
    return Segmentations(ids, sizes, [counts for _, counts in pairs])
