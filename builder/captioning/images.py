"""The sources of images to caption: an SA-1B tar or folder, or the configs of a dist."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from asam_datasets.contract import check_size
from asam_datasets.index import parse_index
from asam_datasets.patience import PATIENT, Patience
from builder.core.errors import SettingsError, SourceError
from builder.core.layout import DATA, INDEX
from builder.sources.archive import Archive, Member
from builder.sources.sa1b import Sa1bSource, open_sources

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class ImageSource(Protocol):
    """Named images. A source is picklable, since each process reads its own images.

    Threads may call `read`.
    """

    @property
    def config(self) -> str:
        """The config that the captions are for."""
        ...

    @property
    def name(self) -> str:
        """The source's name in a reject."""
        ...

    def names(self) -> list[str]:
        """The images' file names, without repetition, in the source's order; raises SourceError."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of an image; raises SourceError."""
        ...


@dataclass(frozen=True)
class ArchiveImages:
    """The images of a tar or folder. If two have the same file name, the first one is taken."""

    archive: Archive
    config: str

    @property
    def name(self) -> str:
        """The tar's or folder's name."""
        return self.archive.name

    def names(self) -> list[str]:
        """The images' file names, without folders."""
        if not self._members:
            raise SourceError(f"{self.archive.url}: expected images, found none")
        return list(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of an image."""
        return self.archive.read(self._members[name])

    @functools.cached_property
    def _members(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        for member in self.archive.contents().members:
            base = posixpath.basename(member.name)
            if base.lower().endswith(_SUFFIXES) and not base.startswith("."):
                found.setdefault(base, member)
        return found


@dataclass(frozen=True)
class ConfigImages:
    """The images of a built config, by their `file_name`."""

    folder: Path

    @property
    def config(self) -> str:
        """The config's name."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The config's name, too."""
        return self.folder.name

    def names(self) -> list[str]:
        """The images' file names."""
        return list(self._rows)

    def read(self, name: str) -> bytes:
        """The bytes of an image; raises SourceError where the config was built without pixels."""
        shard, row = self._rows[name]
        data = self._images(shard)[row].as_py()
        if data is None or data["bytes"] is None:
            raise SourceError(
                f"{self.folder}: {name} has no pixels, because the config was built with "
                "--annotations-only: caption the tar or folder that it was built from"
            )
        pixels: bytes = data["bytes"]
        return pixels

    @functools.cached_property
    def _rows(self) -> dict[str, tuple[str, int]]:
        """The shard and the row of each image."""
        path = self.folder / INDEX
        try:
            check_size(path.stat().st_size, str(path))
            index = parse_index(path.read_bytes(), str(path), self.config)
        except OSError as error:
            raise SourceError(f"{path}: can't be read: {error}; build the config again") from error
        found: dict[str, tuple[str, int]] = {}
        for shard in index.shards:
            names = _column(self.folder / shard.file, "file_name").to_pylist()
            found |= {name: (shard.file, row) for row, name in enumerate(names)}
        return found

    def _images(self, shard: str) -> Any:
        return _cached_column(self.folder / shard, "image")


def _column(path: Path, name: str) -> pa.ChunkedArray:
    """A column of a shard. The column of an Arrow shard is mapped into memory."""
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=[name]).column(name)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all().column(name)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise SourceError(
            f"{path}: can't be read: {error}; check it with builder.verify"
        ) from error


# Shards are read in order, so a few are enough.
_cached_column = functools.lru_cache(maxsize=4)(_column)


@dataclass(frozen=True)
class SelectedImages:
    """The images that the selection of an SA-1B source takes."""

    source: Sa1bSource

    @property
    def config(self) -> str:
        """The source's config."""
        return self.source.config

    @property
    def name(self) -> str:
        """The tar's or folder's name."""
        return self.source.name

    def names(self) -> list[str]:
        """The images' file names, without folders."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of an image."""
        return self.source.archive.read(self._members[name])

    @functools.cached_property
    def _members(self) -> dict[str, Member]:
        jpgs = [item.locator.jpg for item in self.source.listing().items]
        return {posixpath.basename(member.name): member for member in jpgs}


def open_images(
    sources: Sequence[str],
    *,
    config: str | None = None,
    allow_truncated: bool = False,
    patience: Patience = PATIENT,
    quiet: bool = True,
) -> list[ImageSource]:
    """Open the sources that a user named.

    Parameters
    ----------
    sources
        Tars, folders, globs of these, links files, dists, or configs' folders of a dist.
    config
        The name of the config for a tar or folder, or the config to take of a dist.
    allow_truncated
        Whether to use the complete members of a truncated tar.
    patience
        How long a request to a remote store may take, and how often it is repeated.
    quiet
        Show no progress while remote tars are listed.

    Raises
    ------
    SourceError
        There is no such source, or it holds no image.
    SettingsError
        Two sources are for the same config, or the dist has no config of that name.
    """
    found: list[ImageSource] = []
    for source in sources:
        built = [path.parent for path in sorted(Path(source).glob(f"{DATA}/*/{INDEX}"))]
        if (Path(source) / INDEX).is_file():
            built = [Path(source).resolve()]
        if built and config not in (None, *(folder.name for folder in built)):
            raise SettingsError(
                f"{source} has no config {config}; it has {', '.join(x.name for x in built)}"
            )
        found += [ConfigImages(folder) for folder in built if config in (None, folder.name)]
        if not built:
            opened = open_sources(
                [source],
                config=config,
                allow_truncated=allow_truncated,
                patience=patience,
                quiet=quiet,
            )
            found += [ArchiveImages(each.archive, each.config) for each in opened]
    twice = {x.config for x in found if sum(x.config == y.config for y in found) > 1}
    if twice:
        raise SettingsError(
            f"two sources have the same captions file: {', '.join(sorted(twice))}; caption them "
            "one after the other into different folders"
        )
    return found
