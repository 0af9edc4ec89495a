"""An evaluation release as a source of checked rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from builder.core.console import counted
from builder.core.errors import SourceError
from builder.core.files import sha256_file, sha256_json
from builder.core.records import Item, Json, Listing, Outcome, Reject
from builder.masks.png import encode_bitmap, encode_masks
from builder.masks.rle import RleBatch
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.layout import settle
from builder.sources.evaluation.photos import published
from builder.sources.evaluation.readers.base import Entry, Found, Reader, Truth
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.table import Protocol, Row, row

PROBES = 8  # records read before a release in which none can be used is given up


@dataclass(frozen=True)
class EvalSource:
    """One protocol of one dataset of the suite, read from the folder it was unpacked in.

    `bbox` and `area` of an annotation are those of its mask, as pycocotools computes them from an
    RLE. The values that the release states are not kept (COCO's are those of the polygon). An
    annotation whose mask is empty is rejected.

    Parameters
    ----------
    name
        The dataset's name in the table. The column `source` holds it, too.
    protocol_name
        `native`, `sam` or `asam`.
    folder
        Where the release's archives were unpacked.
    annotations_only
        Leave the `image` column null.
    splits
        Only these splits; None for all.
    limit
        Only the first so many images of each split.
    """

    name: str
    protocol_name: str
    folder: Path
    annotations_only: bool = False
    splits: tuple[str, ...] | None = None
    limit: int | None = None

    kind = "eval"

    @property
    def row(self) -> Row:
        """The dataset's row of the table."""
        return row(self.name)

    @property
    def protocol(self) -> Protocol:
        """The protocol's entry of the table."""
        return self.row.protocol(self.protocol_name)

    @property
    def config(self) -> str:
        """The config's name: the dataset's, and the protocol's unless it is native."""
        return self.row.config(self.protocol_name)

    @cached_property
    def _settled(self) -> tuple[list[Options], list[str]]:
        return settle(self.folder, self.row, self.protocol, self.splits)

    def listing(self) -> Listing:
        """List the images with their ground truth.

        Raises
        ------
        SourceError
            The folder doesn't hold the release, a list can't be read, or no record can be used.
        MissingExtraError
            A package that this dataset's reader needs is not installed.
        """
        try:
            return self._list()
        except OSError as error:
            raise SourceError(f"{self.folder} can't be listed: {error}") from error
        except RecursionError as error:
            raise SourceError(
                f"{self.folder} can't be listed: a JSON is nested too deeply; unpack it again"
            ) from error

    def _list(self) -> Listing:
        parts, notes = self._settled
        listing = Listing([], {}, notes=list(notes))
        files: set[str] = set()
        for i, part in enumerate(parts):
            found = part.open(self.folder, self.name).listing()
            if not found.entries:
                listing.notes.append(self._left_out(part, found, alone=len(parts) == 1))
                continue
            found.entries.sort(key=lambda entry: entry.image)
            listing.items += self._items(i, part, found.entries)
            listing.rejects += found.rejects
            listing.notes += found.notes
            files.update(path for entry in found.entries for path in (entry.image, *entry.files))
            files.update(found.files)
        if not listing.items:
            lines = [f"{self.folder}: nothing of {self.config}", *listing.notes]
            raise SourceError("\n  ".join(lines))
        items = self._unique(listing.items, listing.rejects)
        listing.items, listing.records = self._limited(items), len(items)
        self._probe(parts, listing.items)
        listing.fingerprint = self._fingerprint(files)
        if self.limit is None and self.splits is None:
            listing.warnings += self._counted(listing.items)
            listing.masks = self.protocol.masks
        return listing

    def _items(self, index: int, part: Options, entries: list[Entry]) -> Iterator[Item]:
        stat = cache(lambda path: (self.folder / path).stat())
        for entry in entries:
            times = [stat(path).st_mtime_ns for path in (entry.image, *entry.files)]
            pixels = 0 if self.annotations_only else stat(entry.image).st_size
            size = pixels + 2 * entry.truth_bytes
            yield Item(entry.image, size, (index, entry), part.split, " ".join(map(str, times)))

    def _left_out(self, part: Options, found: Found, *, alone: bool) -> str:
        """A note that a split is left out, because none of its images was downloaded.

        Only `native` may leave out a split, and only if another one is there. Raises SourceError
        otherwise.
        """
        absent = {reject.reason for reject in found.rejects} == {"image_missing"}
        if not absent or alone or self.protocol_name != "native":
            raise SourceError(self._all_unusable(part, found.rejects))
        images = counted(len(found.rejects), "image")
        return f"split {part.split}: {images} listed, none of them in {self.folder}: left out"

    def settings(self) -> Mapping[str, Any]:
        """The options that change the bytes of a row: the protocol's parts, and all others.

        Raises
        ------
        MissingExtraError
            A package that fills this dataset's polygons is not installed.
        """
        alternatives = [
            [{"reader": part.reader, **asdict(part)} for part in layouts]
            for layouts in self.protocol.parts
        ]
        return {
            "dataset": self.name,
            "protocol": self.protocol_name,
            "parts_sha256": sha256_json(alternatives),
            "annotations_only": self.annotations_only,
            "masks_fit": self.row.masks_fit,
            "libraries": self._libraries(),
            "splits": list(self.splits) if self.splits is not None else None,
            "limit": self.limit,
        }

    @contextmanager
    def open(self) -> Iterator[EvalReader]:
        """Open for reading, in the process that calls it."""
        parts, _ = self._settled
        readers = [part.open(self.folder, self.name) for part in parts]
        yield EvalReader(self, parts, readers)

    def _libraries(self) -> dict[str, str]:
        """The versions of the libraries that draw and decode ground truth.

        Another version may give another mask.
        """
        libraries = {"pillow": version("pillow"), "pycocotools": version("pycocotools")}
        for layouts in self.protocol.parts:
            for part in layouts:
                libraries |= part.libraries()
        return libraries

    def _unique(self, items: list[Item], rejects: list[Reject]) -> list[Item]:
        """The items without repeated images of a split, which are rejected."""
        seen: set[tuple[str, str]] = set()
        kept = []
        for item in items:
            if (item.split, item.key) in seen:
                expected = f"each image once in split {item.split}"
                rejects.append(Reject(self.name, item.key, "duplicate_image", expected, "again"))
                continue
            seen.add((item.split, item.key))
            kept.append(item)
        return kept

    def _limited(self, items: list[Item]) -> list[Item]:
        """The first `limit` of each split."""
        if self.limit is None:
            return items
        by_split: dict[str, list[Item]] = {}
        for item in items:
            by_split.setdefault(item.split, []).append(item)
        return [item for split in by_split.values() for item in split[: self.limit]]

    def _probe(self, parts: list[Options], items: list[Item]) -> None:
        """Read the first records of each part, and raise SourceError if none of them is usable.

        Then the files are probably those of another release.
        """
        with self.open() as reader:
            for i, part in enumerate(parts):
                first = [item for item in items if item.locator[0] == i][:PROBES]
                rejects: list[Reject] = []
                for item in first:
                    outcome = reader.read(item)
                    rejects += outcome.rejects
                    if outcome.row is not None or outcome.rejects[-1].reason == "no_instance":
                        break
                else:
                    if first:
                        raise SourceError(self._all_unusable(part, rejects))

    def _all_unusable(self, part: Options, rejects: list[Reject]) -> str:
        lines = [f"{self.folder}: not one usable image of {self.config}, split {part.split}"]
        for reject in rejects[:3]:
            lines.append(
                f"{reject.member}: {reject.reason}: expected {reject.expected}, "
                f"found {reject.found}"
            )
        lines.append(f"expected there: {self.row.unpacked}")
        return "\n  ".join(lines)

    def _counted(self, items: list[Item]) -> list[str]:
        """A warning for each split whose number of images differs from the published one."""
        found = Counter(item.split for item in items)
        return [
            f"split {split}: {counted(found[split], 'image')}; the whole has {count}"
            for split, count in self.protocol.counts.items()
            if split in found and found[split] != count
        ]

    def _fingerprint(self, files: set[str]) -> Json:
        """Identifies the files used: path and size of each, and the sha256 of JSON and lists."""
        table = []
        for path in sorted(files):
            whole = self.folder / path
            digest = sha256_file(whole) if whole.suffix in (".json", ".txt") else None
            table.append([path, whole.stat().st_size, digest])
        return {
            "name": self.name,
            "size": sum(size for _, size, _ in table),
            "members": len(table),
            "sha256": sha256_json(table),
        }


class EvalReader:
    """An open release."""

    def __init__(self, source: EvalSource, parts: list[Options], readers: list[Reader]) -> None:
        self.source, self.parts, self.readers = source, parts, readers
        self._sums: dict[str, str] = {}

    def inputs(self, item: Item) -> str:
        """The checksums of the image and of all files of its ground truth."""
        _, entry = item.locator
        return " ".join(map(self._sha256, (entry.image, *entry.files)))

    def read(self, item: Item) -> Outcome:
        """Read and check one image with its ground truth."""
        index, entry = item.locator
        try:
            outcome = self._read(self.parts[index], self.readers[index], entry)
        except Fault as fault:
            outcome = Outcome(None, [self._reject(entry, fault)])
        except RecursionError:
            deep = Fault("truth_unreadable", "the release's nesting", "JSON nested too deeply")
            outcome = Outcome(None, [self._reject(entry, deep)])
        outcome.inputs = self.inputs(item)
        return outcome

    def _sha256(self, path: str) -> str:
        """The checksum of a file, which is read once. Many images may share a file."""
        if path not in self._sums:
            try:
                self._sums[path] = sha256_file(self.source.folder / path)
            except OSError as error:
                self._sums[path] = str(error.strerror)
        return self._sums[path]

    def _read(self, part: Options, reader: Reader, entry: Entry) -> Outcome:
        path = self.source.folder / entry.image
        try:
            stored = path.read_bytes()
        except OSError as error:
            raise Fault("image_unreadable", "a readable file", str(error.strerror)) from error
        data, (width, height) = published(stored, self.source.row.masks_fit)
        if entry.size not in (None, (width, height)):
            expected = "{} x {} pixels, as the release says".format(*(entry.size or ()))
            turned = " (turned by its EXIF orientation?)" if entry.size == (height, width) else ""
            raise Fault("image_size", expected, f"{width} x {height}{turned}")
        truth = reader.read(entry, height, width)
        rejects = [self._reject(entry, fault, number) for number, fault in truth.faults]
        annotations, masks = self._instances(truth, entry, height, width, rejects)
        if part.empty == "drop" and not annotations:
            rejects.append(self._reject(entry, Fault("no_instance", "an instance", "none")))
            return Outcome(None, rejects)
        void = truth.void if truth.void is not None and truth.void.any() else None
        image = None if self.source.annotations_only else {"bytes": data, "path": path.name}
        return Outcome(
            {
                "image": image,
                "image_id": entry.image_id,
                "file_name": entry.image,
                "width": width,
                "height": height,
                "masks": [{"bytes": png, "path": None} for png in masks],
                "void_mask": None if void is None else {"bytes": encode_bitmap(void), "path": None},
                "annotations": annotations,
                "image_sha256": hashlib.sha256(data).hexdigest(),
                "source": self.source.name,
                "num_rejected": len(rejects),
            },
            rejects,
            orientation_reset=data != stored,
        )

    def _instances(
        self, truth: Truth, entry: Entry, height: int, width: int, rejects: list[Reject]
    ) -> tuple[list[Json], list[bytes]]:
        """The annotations and mask PNGs of the well-formed masks that are not empty."""
        batch = RleBatch.parse([a.counts for a in truth.annotations], height, width)
        kept = []
        for i, annotation in enumerate(truth.annotations):
            problem = batch.problem[i]
            if problem is None and batch.areas[i] == 0:
                problem = ("mask_empty", "at least one pixel", "none")
            if problem is None:
                kept.append(i)
            else:
                rejects.append(self._reject(entry, Fault(*problem), annotation.id))
        batch = batch.select(kept)
        annotations = [
            {
                "id": annotation.id,
                "category": annotation.category,
                "category_id": annotation.category_id,
                "segmentation": {"size": [height, width], "counts": annotation.counts.decode()},
                "bbox": bbox,
                "area": area,
                "iscrowd": annotation.iscrowd,
            }
            for annotation, bbox, area in zip(
                (truth.annotations[i] for i in kept),
                batch.bboxes.tolist(),
                batch.areas.tolist(),
                strict=True,
            )
        ]
        return annotations, encode_masks(batch)

    def _reject(self, entry: Entry, fault: Fault, annotation_id: int | None = None) -> Reject:
        return Reject(
            self.source.name, entry.image, fault.reason, fault.expected, fault.found, annotation_id
        )
