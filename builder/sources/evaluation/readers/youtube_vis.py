"""YouTube-VIS JSON: each annotation is an object with one segmentation, or null, per frame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from builder.core.errors import SourceError
from builder.core.records import Reject
from builder.core.text import brief
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.json_stream import elements
from builder.sources.evaluation.readers.base import (
    Annotation,
    Entry,
    Found,
    Images,
    Truth,
    integer,
    missing_fields,
    note_dropped,
    reject_repeated,
)
from builder.sources.evaluation.readers.coco_json import Places, add_category, category_of
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.readers.segmentation import to_counts

_VIDEO_FIELDS = ("id", "width", "height", "file_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class YoutubeVisOptions(Options):
    """Options of `YoutubeVis`, which has none of its own."""

    reader: ClassVar[str] = "youtube_vis"

    def open(self, root: Path, source: str) -> YoutubeVis:
        return YoutubeVis(root, self, source)


class YoutubeVis:
    """Reads the part's JSON; see `builder.sources.evaluation.readers.base.Reader`.

    An image's id is its file name without the suffix, `<video>/<frame>`. `Entry.truth` holds the
    places of the video's annotations, and the number of the frame.
    """

    def __init__(self, root: Path, part: YoutubeVisOptions, source: str) -> None:
        self.root, self.part, self.source = root, part, source
        self._video: tuple[bytes, list[Any]] | None = (
            None  # of the last read; frames of a video follow one another
        )

    def listing(self) -> Found:
        found = Found()
        files = (self.part.truth,)
        videos: list[Any] = []
        categories: dict[Any, str] = {}
        places: dict[Any, array[int]] = {}
        frames: dict[Any, set[int]] = {}
        for element in elements(self.root / self.part.truth):
            record = element.value
            if element.repeated is not None:
                reject_repeated(element, self.source, self.part.truth, found)
            elif element.key == "videos":
                videos.append(record)
            elif element.key == "categories":
                add_category(record, categories, self.source, self.part.truth, found)
            elif element.key == "annotations":
                if not _is_annotation(record):
                    expected = "an object with video_id and a list of segmentations"
                    self._reject(found, "annotation_fields", expected, brief(record))
                    continue
                video = record["video_id"]
                places.setdefault(video, array("q")).extend((element.offset, element.length))
                shown = (t for t, s in enumerate(record["segmentations"]) if s is not None)
                frames.setdefault(video, set()).update(shown)
        if not videos:
            raise SourceError(
                f"{self.root / self.part.truth}: expected YouTube-VIS JSON with a list of videos, "
                "found none: is it the file of another release?"
            )
        on_disk = Images(self.root, self.part, self.source)
        dropped = 0
        for video in videos:
            if not _is_video(video):
                expected = f"the fields {', '.join(_VIDEO_FIELDS)}"
                self._reject(found, "image_fields", expected, brief(video))
                continue
            spans = Places(places.get(video["id"], array("q")).tobytes(), categories)
            size = (integer(video["width"], -1), integer(video["height"], -1))
            for t, name in enumerate(video["file_names"]):
                path = on_disk.find(str(name), found)
                if path is None:
                    continue
                if self.part.empty == "drop" and t not in frames.get(video["id"], ()):
                    dropped += 1
                    continue
                image_id = str(name).rpartition(".")[0]
                found.entries.append(Entry(path[0], image_id, (spans, t), files, path[1], size))
        on_disk.finish(found)
        note_dropped(found, self.part, dropped)
        return found

    def read(self, entry: Entry, height: int, width: int) -> Truth:
        truth = Truth()
        places, frame = entry.truth
        if self._video is None or self._video[0] != places.spans:
            self._video = (places.spans, places.read(self.root / self.part.truth))
        for i, record in enumerate(self._video[1]):
            number = integer(record.get("id"), i)
            segmentations = record["segmentations"]
            segmentation = segmentations[frame] if frame < len(segmentations) else None
            if segmentation is None:
                continue
            try:
                counts = to_counts(segmentation, height, width)
                category, category_id = category_of(record, places.categories)
            except Fault as fault:
                truth.faults.append((number, fault))
                continue
            crowd = bool(record.get("iscrowd", 0))
            truth.annotations.append(Annotation(number, counts, category, category_id, crowd))
        return truth

    def _reject(self, found: Found, reason: str, expected: str, what: str) -> None:
        found.rejects.append(Reject(self.source, self.part.truth, reason, expected, what))


def _is_video(record: Any) -> bool:
    return (
        not missing_fields(record, _VIDEO_FIELDS)
        and isinstance(record["id"], (int, str))
        and isinstance(record["file_names"], list)
    )


def _is_annotation(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and isinstance(record.get("video_id"), (int, str))
        and isinstance(record.get("segmentations"), list)
    )
