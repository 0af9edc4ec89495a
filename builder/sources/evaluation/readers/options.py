"""The options that table.toml gives a reader, and their check.

Each reader has an option class of its own beside it. All of them derive from `Options`.
"""

from __future__ import annotations

import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from builder.core.errors import SettingsError

if TYPE_CHECKING:
    from builder.sources.evaluation.readers.base import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(ABC):
    """What every reader is told of one split. Patterns are relative to the source folder.

    Parameters
    ----------
    split
        The split that the rows go to.
    images
        Pattern (patterns.py) of the images.
    truth
        Pattern of the files that hold the ground truth.
    empty
        `keep` writes a row for an image without an instance. `drop` leaves the image out.
    strays
        `reject` reports a file that has no counterpart: ground truth without an image, or an
        image that the JSON does not list. `ignore` accepts it, because another split uses it.
    """

    reader: ClassVar[str]

    split: str
    images: str
    truth: str
    empty: Literal["keep", "drop"] = "keep"
    strays: Literal["reject", "ignore"] = "reject"

    @abstractmethod
    def open(self, root: Path, source: str) -> Reader:
        """The reader of this split.

        Parameters
        ----------
        root
            The source folder.
        source
            The dataset's name, which the rejects carry.

        Raises
        ------
        MissingExtraError
            A package that the reader needs is not installed.
        """

    def libraries(self) -> dict[str, str]:
        """The versions, by package, of the optional libraries that shape the masks."""
        return {}

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check a part of table.toml and make options of it.

        Parameters
        ----------
        values
            The keys of the part. Lists are tuples by now.
        where
            The row, protocol and split, for the message.

        Raises
        ------
        SettingsError
            A key is unknown or missing, or its value has the wrong type.
        """
        where = f"table.toml: {where}: reader {cls.reader}"
        known = {field.name: field for field in fields(cls)}
        for key in values:
            if key not in known:
                raise SettingsError(f"{where} has no key {key!r}: choose from {', '.join(known)}")
        for key, field in known.items():
            if key not in values and field.default is MISSING:
                raise SettingsError(f"{where} needs the key {key!r}")
        hints = typing.get_type_hints(cls)
        for key, value in values.items():
            if not _fits(value, hints[key]):
                expected = _shown(hints[key])
                raise SettingsError(f"{where}: key {key!r}: expected {expected}, found {value!r}")
        try:
            return cls(**values)
        except ValueError as error:
            raise SettingsError(f"{where}: {error}") from error


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of an annotated type; knows the types that options have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is types.UnionType:
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    return isinstance(value, hint) and not isinstance(value, bool)


def _shown(hint: Any) -> str:
    """An annotated type in the words of a message."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if typing.get_origin(hint) is types.UnionType:
        return _shown(arguments[0])
    if typing.get_origin(hint) is tuple:
        return f"a list of {arguments[0].__name__}"
    return str(hint.__name__)
