"""The user's own copy of the images, joined to rows that hold only annotations."""

from __future__ import annotations

import glob
import hashlib
import posixpath
import sys
import tarfile
from pathlib import Path

from asam_datasets.errors import ImageRootError
from asam_datasets.folders import walk_folder
from asam_datasets.headers import is_tar
from asam_datasets.orientation import upright
from asam_datasets.tars import TarListing, list_tar


class ImageRoot:
    """The user's own copy of the images, found by file name and checked by sha256.

    Parameters
    ----------
    root
        A folder, a tar, or a glob of folders and tars, of SA-1B or of an evaluation release. A
        folder may hold folders, tars, and links to any of them.

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
                for folder, _, names in walk_folder(path):
                    for name in names:
                        self._add_file(str(Path(folder, name)))
            elif is_tar(path):
                self._add_tar(path)
            else:
                self._add(path, path, 0, -1)
        if not self._found:
            raise ImageRootError(f"image_root={self.name}: no file there")

    def _add_file(self, path: str) -> None:
        """Add a file of a folder: an image, or the images of a tar."""
        if Path(path).exists() and not Path(path).is_file():
            return  # a pipe or a device, which would be waited for
        if path.endswith(".tar"):
            self._add_tar(path)
        else:
            self._add(path, path, 0, -1)

    def _add_tar(self, path: str) -> None:
        try:
            with Path(path).open("rb") as file:
                found = list_tar(file, Path(path).stat().st_size, sys.maxsize)
        except (tarfile.TarError, OSError) as error:
            found = TarListing(damage=str(error))
        if found.damage:
            raise ImageRootError(
                f"image_root={self.name}: {path} can't be read as a plain tar: {found.damage}; "
                "fetch it again, decompress it if it is compressed, or give a folder of the images"
            )
        for place in found.places:
            self._add(place.name, path, place.offset, place.size)

    def _add(self, name: str, path: str, offset: int, size: int) -> None:
        self._found.setdefault(posixpath.basename(name), []).append((path, offset, size))

    def read(self, file_name: str, sha256: str) -> bytes:
        """The bytes of the image with this name and sha256.

        A build sets the EXIF orientation of some images to 1 (`upright`). The same is done here to
        an image whose own sha256 is another one.

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
            data = upright(data)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        raise ImageRootError(
            f"image_root={self.name}: {file_name} in {path} is not the image that was annotated: "
            f"sha256 {sha256} expected, {found} found"
        )
