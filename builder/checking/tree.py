"""The files that are checked: those of a dist here, or of a repo elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from asam_datasets.folders import walk_folder
from builder.core.errors import ContractError
from builder.core.files import read_file, sha256_file
from builder.core.layout import DATA, INDEX

_WILD = frozenset("*?[")


class Tree(ABC):
    """The files of a dist or a repo. Paths are relative, with "/" between their parts.

    Parameters
    ----------
    name
        Where it is, for messages.
    what
        "the dist" or "the repo".
    remedy
        What makes a damaged file again: "build" or "publish".
    own
        The name by which `load_dataset` knows it: a script of this name breaks it.
    dist
        The folder, which holds receipts too; None for a repo.
    """

    name: str
    what: str
    remedy: str
    own: str
    dist: Path | None = None

    @abstractmethod
    def names(self, folder: str) -> Sequence[str]:
        """The names of the files directly in a folder, sorted; "" is the top."""

    @abstractmethod
    def paths(self) -> Sequence[str]:
        """All files but those in folders that start with a dot."""

    @property
    @abstractmethod
    def folders(self) -> Sequence[str]:
        """The names of the folders in data/, sorted."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """A file's bytes; None where there is no such file."""

    @abstractmethod
    def sha256(self, path: str) -> str:
        """The sha256 of a file that is there."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a small file that is there.

        Raises
        ------
        ContractError
            It is too large to be read whole, or can't be read.
        """

    @cached_property
    def configs(self) -> list[str]:
        """The configs that have an index."""
        return [config for config in self.folders if INDEX in self.names(f"{DATA}/{config}")]

    def matches(self, pattern: str) -> bool:
        """Whether a file pattern of a card matches a file.

        Only the folder that the pattern names is searched, where it names one.
        """
        folder, _, last = pattern.rpartition("/")
        if _WILD & set(folder) or ".." in PurePosixPath(folder).parts or folder.startswith("/"):
            return any(fnmatchcase(path, pattern) for path in self.paths())
        return any(fnmatchcase(name, last) for name in self.names(folder))


class Folder(Tree):
    """A dist in a folder of this machine."""

    what = "the dist"
    remedy = "build"

    def __init__(self, dist: Path) -> None:
        self.dist: Path = dist
        self.name = str(dist)
        self.own = dist.resolve().name

    def names(self, folder: str) -> Sequence[str]:
        where = self.dist / folder
        if not where.is_dir():
            return []
        return sorted(path.name for path in where.iterdir() if path.is_file())

    def paths(self) -> Sequence[str]:
        found: list[str] = []
        for folder, below, names in walk_folder(self.dist):
            where = Path(folder).relative_to(self.dist)
            if not where.parts:
                below[:] = [name for name in below if not name.startswith(".")]
                names = [name for name in names if not name.startswith(".")]
            found += [(where / name).as_posix() for name in names if Path(folder, name).is_file()]
        return sorted(found)

    @cached_property
    def folders(self) -> Sequence[str]:
        data = self.dist / DATA
        return (
            sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
        )

    def size(self, path: str) -> int | None:
        file = self.dist / path
        return file.stat().st_size if file.is_file() else None

    def sha256(self, path: str) -> str:
        return sha256_file(self.dist / path)

    def read(self, path: str) -> bytes:
        content = read_file(self.dist / path)
        if content is None:
            raise ContractError(f"{self.dist / path}: not found")
        return content
