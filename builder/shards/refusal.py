"""Whether so much of a source was rejected that it can't be a good one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.core.console import counted
from builder.core.records import Listed, Reject
from builder.core.rejects import (
    ANNOTATION,
    CAPTION_LINE,
    NO_INSTANCE,
    RECORD,
    UNKNOWN_IMAGE,
    count_reasons,
    subject,
)

_SHOWN = 3  # reasons in a message


def refusals(
    listing: Listed, read: Sequence[Reject], *, images: int, masks: int, most: float
) -> list[str]:
    """What of a source was rejected to more than a share.

    Compared are the records that were listed, the images that were read, the masks, and the lines
    of the captions file. Each is compared alone, because a selection reads few of many records.
    Not counted are images that a protocol drops because they have no instance, captions of images
    of another source, and captions that a model failed to make: those images have none.

    Parameters
    ----------
    listing
        What the source's listing says, with its rejects.
    read
        The rejects of the items that were read.
    images, masks
        How many are in the rows.
    most
        The largest share that is accepted, 0 to 1.

    Returns
    -------
    list of str
        A line for each kind of thing, then its most frequent reasons, each after two spaces. Empty
        if the source is accepted. A source without an image never is, because `load_dataset`
        refuses a split without rows.
    """
    if not images:
        rejects = [*listing.rejects, *read]
        return ["no image could be used", *_reasons(rejects)]
    listed = [r for r in listing.rejects if subject(r) == RECORD and not _of_caption(r)]
    unread = [r for r in read if subject(r) == RECORD and r.reason != NO_INSTANCE]
    annotations = [r for r in (*listing.rejects, *read) if subject(r) == ANNOTATION]
    found = [
        *_share("records listed", listed, listing.records + len(listed), most),
        *_share("images", unread, listing.items, most),
        *_share("masks", annotations, masks + len(annotations), most),
        *caption_refusals(listing.rejects, listing.captions, most),
    ]
    if not masks and not annotations and most < 1:
        found.append(f"not one mask in {counted(images, 'image')}")
    return found


def caption_refusals(rejects: Sequence[Reject], captions: int, most: float) -> list[str]:
    """As `refusals`, of the lines of the captions file alone.

    Parameters
    ----------
    rejects
        Those of the captions file may be among others.
    captions
        How many captions the file holds.
    most
        The largest share that is accepted, 0 to 1.
    """
    lines = [r for r in rejects if subject(r) == CAPTION_LINE and r.reason != UNKNOWN_IMAGE]
    return list(_share("lines of captions", lines, captions + len(lines), most))


def _of_caption(reject: Reject) -> bool:
    return reject.reason.startswith("caption_")


def _share(what: str, rejects: Sequence[Reject], whole: int, most: float) -> Iterator[str]:
    if len(rejects) > most * whole:
        share = len(rejects) / whole
        head = f"{len(rejects):,} of {whole:,} {what} could not be used ({share:.1%})"
        yield head
        yield from _reasons(rejects)


def _reasons(rejects: Sequence[Reject]) -> Iterator[str]:
    """The most frequent reasons, each with the values that were found first."""
    for reason, count in list(count_reasons(rejects).items())[:_SHOWN]:
        first = next(reject for reject in rejects if reject.reason == reason)
        where = first.member
        if first.annotation_id is not None:
            where += f", annotation {first.annotation_id}"
        yield f"  {count:,} x {reason}: expected {first.expected}, found {first.found} ({where})"
