"""Record batches from their parts: the numbers that describe one, and the bytes of its columns.

The Arrow library reads a record batch from a binary message and trusts the numbers in it. A hostile
message could crash the process. So an index holds plain numbers instead. They are checked here, and
each array is made from them:

    lengths, nulls    of each array of the batch, depth first, a column's own array before its parts
    buffers           the bytes of each buffer, in the same order; each starts at the first multiple
                      of 8 that is not before the end of the one before it
    crc32             of each column's bytes, from its first buffer to its last

That is the order of the Arrow format (https://arrow.apache.org/docs/format/Columnar.html, "IPC").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa

from asam_datasets.contract import Node

ALIGNMENT = 8
_MOST_ROWS = 2**31 - 1
_MOST_BYTES = 2**31 - 1  # of a buffer: offsets are int32
_RECORD_BATCH = 3  # of the union MessageHeader in Arrow's Message.fbs


@dataclass(frozen=True)
class Layout:
    """How many arrays and buffers each column of a schema has.

    `arrays[i]` and `buffers[i]` are the numbers of the first array and the first buffer of column
    i. The last item of each list is the total.
    """

    schema: pa.Schema

    @cached_property
    def arrays(self) -> list[int]:
        return list(accumulate((_parts(field.type)[0] for field in self.schema), initial=0))

    @cached_property
    def buffers(self) -> list[int]:
        return list(accumulate((_parts(field.type)[1] for field in self.schema), initial=0))


@dataclass(frozen=True, slots=True)
class Batch:
    """A record batch of an Arrow shard; the module's docstring describes its lists of numbers.

    `offset` is where its body starts in the file, and `body` is the body's size, both in bytes.
    """

    rows: int
    offset: int
    body: int
    lengths: tuple[int, ...]
    nulls: tuple[int, ...]
    buffers: tuple[int, ...]
    crc32: tuple[int, ...]

    @classmethod
    def from_json(cls, node: Node, layout: Layout, start: int, end: int) -> Batch:
        """Check and take what an index says of a record batch.

        Parameters
        ----------
        node
            What the index says.
        layout
            Of the config's schema.
        start, end
            The part of the file in which the body must lie, in bytes.

        Raises
        ------
        ContractError
            The numbers don't describe a record batch of that schema in that part of the file.
        """
        arrays, buffers = layout.arrays[-1], layout.buffers[-1]
        rows = node["rows"].integer(1, _MOST_ROWS)
        offset = node["offset"].integer(start, end)
        batch = cls(
            rows=rows,
            offset=offset,
            body=node["body"].integer(0, end - offset),
            lengths=node["lengths"].integers(arrays, 0, _MOST_ROWS),
            nulls=node["nulls"].integers(arrays, 0, _MOST_ROWS),
            buffers=node["buffers"].integers(buffers, 0, _MOST_BYTES),
            crc32=node["crc32"].integers(len(layout.schema), 0, 2**32 - 1),
        )
        if any(batch.lengths[i] != rows for i in layout.arrays[:-1]):
            node["lengths"].fail(f"{rows} rows in every column")
        if sum([-(-size // ALIGNMENT) * ALIGNMENT for size in batch.buffers]) > batch.body:
            node["buffers"].fail(f"buffers that fit in a body of {batch.body} bytes")
        return batch

    def to_json(self) -> dict[str, Any]:
        """As the index holds it."""
        return {
            "rows": self.rows,
            "offset": self.offset,
            "body": self.body,
            "lengths": list(self.lengths),
            "nulls": list(self.nulls),
            "buffers": list(self.buffers),
            "crc32": list(self.crc32),
        }

    def starts(self) -> list[int]:
        """Where each buffer starts in the body."""
        padded = (-(-size // ALIGNMENT) * ALIGNMENT for size in self.buffers)
        return list(accumulate(padded, initial=0))[:-1]

    def columns(self, layout: Layout) -> list[tuple[int, int]]:
        """Where each column's bytes start in the body, and how many bytes there are."""
        starts = self.starts()
        found = []
        for first, stop in zip(layout.buffers, layout.buffers[1:], strict=False):
            ends = [starts[i] + self.buffers[i] for i in range(first, stop) if self.buffers[i]]
            found.append((starts[first], ends[-1] - starts[first] if ends else 0))
        return found

    def column(self, number: int, layout: Layout, data: pa.Buffer) -> pa.Array:
        """Make a column from its bytes, and check every value in it.

        Parameters
        ----------
        number
            The column's place in the schema.
        layout
            Of the schema.
        data
            The column's bytes, from its first buffer to its last.

        Raises
        ------
        pyarrow.ArrowException
            The numbers and the bytes don't make a valid array.
        """
        first, stop = layout.arrays[number : number + 2]
        arrays = iter(zip(self.lengths[first:stop], self.nulls[first:stop], strict=True))
        first, stop = layout.buffers[number : number + 2]
        starts = self.starts()
        buffers = (
            data.slice(starts[i] - starts[first], self.buffers[i]) if self.buffers[i] else None
            for i in range(first, stop)
        )
        array = _array(layout.schema.field(number).type, arrays, buffers)
        array.validate(full=True)
        return array


def _parts(kind: pa.DataType) -> tuple[int, int]:
    """How many arrays and buffers an array of a type has, those of its children included."""
    found = [_parts(part) for part in _children(kind)]
    arrays = 1 + sum(count for count, _ in found)
    return arrays, kind.num_buffers + sum(count for _, count in found)


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_struct(kind):
        return [kind.field(i).type for i in range(kind.num_fields)]
    return [kind.value_type] if pa.types.is_list(kind) else []


def _array(
    kind: pa.DataType, arrays: Iterator[tuple[int, int]], buffers: Iterator[pa.Buffer | None]
) -> pa.Array:
    """An array and its parts, depth first; the caller validates it."""
    length, nulls = next(arrays)
    own = [next(buffers)]  # the bits that say which values are there
    if own[0] is None and nulls:
        raise pa.ArrowInvalid(
            f"an array of {kind} has {nulls} nulls, but no buffer that marks them"
        )
    own += [next(buffers) or pa.py_buffer(b"") for _ in range(kind.num_buffers - 1)]
    children = [_array(child, arrays, buffers) for child in _children(kind)]
    return pa.Array.from_buffers(kind, length, own, nulls, children=children or None)


def read_message(head: bytes) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Parse the message before a record batch's body in an Arrow stream, with every bound checked.

    Returns the arrays' lengths and nulls, and (start in the body, bytes) of each buffer. The
    message begins with a marker and a length of 4 bytes each. What follows is Arrow's Message.fbs
    in flatbuffers' encoding (https://flatbuffers.dev/internals/).

    Raises
    ------
    ValueError
        The message is of another kind, compressed or malformed.
    """
    try:
        marker, size = struct.unpack_from("<Ii", head)
        if marker != 0xFFFFFFFF or size != len(head) - 8:
            raise ValueError(f"no message of {len(head) - 8} bytes")
        data = head[8:]
        message = _table(data, _unsigned(data, 0), 4)
        kind = data[message[1]] if message[1] else None
        if kind != _RECORD_BATCH or not message[2]:
            raise ValueError(f"a message of kind {kind}")
        fields = _table(data, message[2] + _unsigned(data, message[2]), 5)
        if fields[3] or fields[4]:
            raise ValueError("a compressed or variadic record batch")
        nodes, buffers = _pairs(data, fields[1]), _pairs(data, fields[2])
    except (struct.error, IndexError) as error:
        raise ValueError(f"a malformed message: {error}") from error
    return [length for length, _ in nodes], [nulls for _, nulls in nodes], buffers


def _unsigned(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _table(data: bytes, at: int, count: int) -> Sequence[int]:
    """The positions of the first `count` fields of a flatbuffers table; 0 for an absent field."""
    vtable = at - struct.unpack_from("<i", data, at)[0]
    if vtable < 0:
        raise ValueError("a table outside the message")
    size = struct.unpack_from("<H", data, vtable)[0]
    slots = range(vtable + 4, vtable + 4 + 2 * count, 2)
    offsets = [struct.unpack_from("<H", data, s)[0] if s < vtable + size else 0 for s in slots]
    return [at + offset if offset else 0 for offset in offsets]


def _pairs(data: bytes, at: int) -> list[tuple[int, int]]:
    """A vector of structs of two int64; `at` is the position of its reference, 0 for none."""
    if not at:
        return []
    at += _unsigned(data, at)
    count = _unsigned(data, at)
    if count > len(data) // 16:
        raise ValueError(f"{count} pairs in {len(data)} bytes")
    numbers = struct.unpack_from(f"<{2 * count}q", data, at + 4)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
