"""How captions fit the images of an SA-1B source."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator

from builder.core.errors import SettingsError
from builder.core.records import Reject
from builder.core.rejects import UNKNOWN_IMAGE
from builder.sources.archive import some


def unknown_images(captions: Iterable[str], names: Container[str], source: str) -> Iterator[Reject]:
    """A reject for each caption of an image that the source does not hold, by name.

    Parameters
    ----------
    captions
        The file names that have a caption.
    names
        The file names of the source's images, whether they are selected and usable or not.
    source
        The source's name.
    """
    for file_name in sorted(name for name in captions if name not in names):
        yield Reject(source, file_name, UNKNOWN_IMAGE, "an image of this source", "no such jpg")


def check_fit(captions: Collection[str], names: Collection[str], where: str) -> None:
    """Refuse captions that name no image of the source; raises SettingsError.

    Parameters
    ----------
    captions
        The file names that have a caption.
    names
        The file names of the source's images. There is at least one.
    where
        The source, for the message.
    """
    if any(name in captions for name in names):
        return
    held = f"{len(captions)} captions, of {some(sorted(captions))}" if captions else "no caption"
    raise SettingsError(
        f"{where}: the captions given are of none of its images: expected names such as "
        f"{next(iter(names))}, found {held}; give the captions of this source, or leave them out"
    )
