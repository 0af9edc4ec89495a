"""What the values of a column must be, beside their type.

`datasets.Image` opens the file or the URL that a picture names when the picture has no bytes. So a
dist from someone else could have a reader's own files read. A picture in a dist holds its bytes.
"""

from __future__ import annotations

import pyarrow as pa

# Values that may be absent. `path` is the name of a picture.
OPTIONAL = frozenset(
    {"image", "text", "conditioning_image", "void_mask", "category", "category_id", "path"}
)
_PICTURE = {"bytes", "path"}  # the fields of `datasets.Image`


def check_values(name: str, values: pa.Array) -> None:
    """Check that nothing is absent from a column that every row must have.

    Parameters
    ----------
    name
        The column's name. Columns of other names than this project's own are checked alike.
    values
        A valid array.

    Raises
    ------
    ValueError
        It names the field, and says how many values are absent.
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
    elif pa.types.is_list(kind):
        _check(f"{path}[]", "", values.flatten())
