"""One image of SA-1B with its record: read, checked, and made a row of the train schema."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import Any, NamedTuple

from asam_datasets.orientation import upright
from builder.core.records import Item, Json, Outcome, Reject
from builder.masks.control import mask_order, paint
from builder.masks.png import encode_masks
from builder.masks.rle import RleBatch
from builder.sources import checks
from builder.sources.archive import Archive, Member
from builder.sources.checks import Problem

_LONGEST_ID = 100  # characters of an annotation's id in a reject


class Pair(NamedTuple):
    """An image, its record and its caption."""

    image_id: int
    jpg: Member
    json: Member
    caption: str | None


@dataclass(frozen=True, slots=True)
class Sa1bReader:
    """Reads and checks one image after another.

    Parameters
    ----------
    archive
        Where the source is.
    annotations_only
        Leave the column `image` null.
    """

    archive: Archive
    annotations_only: bool = False

    def inputs(self, item: Item) -> str:
        """The checksum of the bytes of the json and the jpg."""
        pair: Pair = item.locator
        if self._oversized(pair):
            return ""
        read = self.archive.read
        return _inputs(read(pair.json), read(pair.jpg))

    def read(self, item: Item) -> Outcome:
        """Read an image and its record, check both, decode the masks, paint the control image."""
        pair: Pair = item.locator
        if refused := self._oversized(pair):
            return refused
        text, jpeg = self.archive.read(pair.json), self.archive.read(pair.jpg)
        outcome = self._read(pair, text, jpeg)
        outcome.inputs = _inputs(text, jpeg)
        return outcome

    def _oversized(self, pair: Pair) -> Outcome | None:
        """The reject of a file that is too large to be read."""
        for member, bound, reason in (
            (pair.jpg, checks.MAX_JPEG_BYTES, "jpeg_too_large"),
            (pair.json, checks.MAX_JSON_BYTES, "json_too_large"),
        ):
            if member.size > bound:
                problem = Problem(reason, f"at most {bound} bytes", f"{member.size} bytes")
                return self._rejected(member, problem)
        return None

    def _read(self, pair: Pair, text: bytes, stored: bytes) -> Outcome:
        record = checks.parse_json(text)
        if isinstance(record, Problem):
            return self._rejected(pair.json, record)
        file_name = posixpath.basename(pair.jpg.name)
        size = checks.check_image_info(record, file_name, pair.image_id)
        if isinstance(size, Problem):
            return self._rejected(pair.json, size)
        jpeg = upright(stored)  # SA-1B's masks were made for the stored pixels
        if wrong := checks.check_jpeg(jpeg, *size):
            return self._rejected(pair.jpg, wrong)
        annotations, batch, rejects = self._annotations(pair, record["annotations"], *size)
        control = paint(batch, mask_order(annotations))
        stem = posixpath.splitext(file_name)[0]
        image = None if self.annotations_only else {"bytes": jpeg, "path": file_name}
        row = {
            "image": image,
            "text": pair.caption,
            "conditioning_image": {"bytes": control, "path": f"{stem}.png"},
            "image_id": pair.image_id,
            "file_name": file_name,
            "width": size[0],
            "height": size[1],
            "masks": [{"bytes": png, "path": None} for png in encode_masks(batch)],
            "annotations": annotations,
            "image_sha256": hashlib.sha256(jpeg).hexdigest(),
            "source": self.archive.name,
            "num_rejected": len(rejects),
        }
        unknown, reset = checks.unknown_keys(record), jpeg != stored
        return Outcome(row, rejects, unknown, orientation_reset=reset)

    def _annotations(
        self, pair: Pair, values: list[Any], width: int, height: int
    ) -> tuple[list[Json], RleBatch, list[Reject]]:
        """The annotations that pass every check, their masks, and the rejects of the others."""
        rejects: list[Reject] = []

        def reject(annotation_id: int | str, problem: Problem) -> None:
            name, member = self.archive.name, pair.json.name
            rejects.append(Reject(name, member, *problem, annotation_id=annotation_id))

        clean: list[Json] = []
        seen: set[int] = set()
        for place, value in enumerate(values):
            annotation = checks.clean_annotation(value, width, height)
            if isinstance(annotation, Problem):
                stated = value.get("id") if isinstance(value, dict) else None
                if (
                    isinstance(stated, bool)
                    or not isinstance(stated, int | str)
                    or len(str(stated)) > _LONGEST_ID
                ):
                    stated = f"annotations[{place}]"
                reject(stated, annotation)
            elif annotation["id"] in seen:
                expected, found = "an id once in an image", f"{annotation['id']} again"
                reject(annotation["id"], Problem("duplicate_annotation_id", expected, found))
            else:
                seen.add(annotation["id"])
                clean.append(annotation)
        batch = RleBatch.parse([a["segmentation"]["counts"] for a in clean], height, width)
        keep = []
        for i, annotation in enumerate(clean):
            rle = batch.problem[i]
            problem = (
                Problem(*rle)
                if rle
                else checks.check_geometry(
                    annotation, int(batch.areas[i]), batch.bboxes[i].tolist()
                )
            )
            if problem:
                reject(annotation["id"], problem)
            else:
                keep.append(i)
        if len(keep) < len(clean):
            batch, clean = batch.select(keep), [clean[i] for i in keep]
        return clean, batch, rejects

    def _rejected(self, member: Member, problem: Problem) -> Outcome:
        return Outcome(None, [Reject(self.archive.name, member.name, *problem)])


def _inputs(text: bytes, jpeg: bytes) -> str:
    digest = hashlib.sha256(text)
    digest.update(jpeg)
    return f"{len(text)} {digest.hexdigest()}"
