"""The user's own copy of the images, joined to rows that hold only annotations."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
import tarfile
from pathlib import Path

from asam_datasets.errors import ImageRootError


class ImageRoot:
    """The user's own copy of the images, found by file name and checked by sha256.

    Parameters
    ----------
    root
        A folder, a tar, or a glob of folders and tars, of SA-1B or of an evaluation release.

    Raises
    ------
    ImageRootError
        There is no file, or a tar can't be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.name = str(root)
        self._found: dict[str, list[tuple[str, int, int]]] = {}  # by name: file, offset, size
        wanted = str(Path(self.name).expanduser())
        # Path.glob takes no absolute pattern.
        paths = [wanted] if Path(wanted).exists() else sorted(glob.glob(wanted))  # noqa: PTH207
        for path in paths:
            if Path(path).is_dir():
                for folder, _, names in os.walk(path):
                    for name in names:
                        self._add(name, str(Path(folder, name)), 0, -1)
            elif tarfile.is_tarfile(path):
                self._add_tar(path)
            else:
                self._add(path, path, 0, -1)
        if not self._found:
            raise ImageRootError(f"image_root={self.name}: no file there")

    def _add_tar(self, path: str) -> None:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        self._add(member.name, path, member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise ImageRootError(
                f"image_root={self.name}: {path} can't be read as a plain tar: {error}; "
                "fetch it again, decompress it if it is compressed, or give a folder of the images"
            ) from error

    def _add(self, name: str, path: str, offset: int, size: int) -> None:
        self._found.setdefault(posixpath.basename(name), []).append((path, offset, size))

    def read(self, file_name: str, sha256: str) -> bytes:
        """The bytes of the image with this name and sha256.

        Raises
        ------
        ImageRootError
            No image has that name, it can't be read, or its sha256 differs.
        """
        places = self._found.get(posixpath.basename(file_name), [])
        if not places:
            raise ImageRootError(f"image_root={self.name}: no {file_name} there")
        for path, offset, size in places:
            try:
                with Path(path).open("rb") as file:
                    file.seek(offset)
                    data = file.read(size)
            except OSError as error:
                raise ImageRootError(
                    f"image_root={self.name}: {file_name} can't be read: {error}"
                ) from error
            found = hashlib.sha256(data).hexdigest()
            if found == sha256:
                return data
        raise ImageRootError(
            f"image_root={self.name}: {file_name} in {path} is not the image that was annotated: "
            f"sha256 {sha256} expected, {found} found"
        )
