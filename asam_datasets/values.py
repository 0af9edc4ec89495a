"""What the values of a column must be, beside their type.

`datasets.Image` opens the file or the URL that a picture names when the picture has no bytes. So a
dist from someone else could have a reader's own files read. A picture in a dist holds its bytes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Values that may be absent. `path` is the name of a picture.
OPTIONAL = frozenset(
    {"image", "text", "conditioning_image", "void_mask", "category", "category_id", "path"}
)
# The least value of integers: of a side, of an RLE's sides, of an area in pixels.
_LEAST = {"width": 1, "height": 1, "size": 1, "area": 0}
_BOX = 4  # a bbox is [x, y, width, height]
_PICTURE = {"bytes", "path"}  # the fields of `datasets.Image`


def check_values(name: str, values: pa.Array) -> None:
    """Check a column: nothing is absent that every row must have, and sizes and boxes are some.

    Numbers are finite, too: a NaN among scores would spread into every mean of them.

    Parameters
    ----------
    name
        The column's name. Columns of other names than this project's own are checked alike.
    values
        A valid array.

    Raises
    ------
    ValueError
        It names the field. It says how many values are absent, or what was expected and found.
    """
    _check(name, name, values)


def check_pictures(name: str, values: pa.Array) -> None:
    """Check of a column of pictures that each holds its bytes; reads none of them.

    Raises ValueError.
    """
    if pa.types.is_struct(values.type) and {f.name for f in values.type} == _PICTURE:
        _check(name, name, values)


def _check(path: str, field: str, values: pa.Array) -> None:
    if values.null_count and field not in OPTIONAL:
        raise ValueError(f"{path}: {values.null_count} of {len(values)} values are absent")
    kind = values.type
    if pa.types.is_struct(kind):
        present = values.is_valid() if values.null_count else None
        for i in range(kind.num_fields):
            child = values.field(i)
            name = kind.field(i).name
            _check(f"{path}.{name}", name, child if present is None else child.filter(present))
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        if field == "bbox":
            _check_boxes(path, values)
        _check(f"{path}[]", field, values.flatten())
    elif pa.types.is_floating(kind):
        if not pc.all(pc.is_finite(values), min_count=0).as_py():
            raise ValueError(f"{path}: expected finite numbers, found NaN or an infinite one")
    elif field in _LEAST and len(values) and (found := pc.min(values).as_py()) < _LEAST[field]:
        raise ValueError(f"{path}: expected at least {_LEAST[field]}, found {found}")


def _check_boxes(path: str, values: pa.Array) -> None:
    numbers = values.flatten().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    good = bool((lengths == _BOX).all()) and bool(np.isfinite(numbers).all())
    if not good or (numbers.reshape(-1, _BOX)[:, 2:] < 0).any():
        raise ValueError(
            f"{path}: expected {_BOX} finite numbers, the last two not negative; found another box"
        )
