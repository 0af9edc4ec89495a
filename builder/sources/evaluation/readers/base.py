"""What the readers share: the types of listing and ground truth, and the pairing of files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from builder.core import strict_json
from builder.core.console import counted
from builder.core.errors import SourceError
from builder.core.records import Reject
from builder.core.text import encoding_of
from builder.sources.evaluation.faults import Fault
from builder.sources.evaluation.json_stream import Element
from builder.sources.evaluation.patterns import Pattern
from builder.sources.evaluation.photos import scan_images
from builder.sources.evaluation.raster import Mask
from builder.sources.evaluation.readers.options import Options


@dataclass(frozen=True, slots=True)
class Entry:
    """An image, and where its ground truth is. Picklable.

    Parameters
    ----------
    image
        Its path in the source folder.
    image_id
        Its id in the row.
    truth
        What the reader needs to find the ground truth; only that reader looks at it.
    files
        All files that the ground truth is read from.
    values
        The values of the names in the image's pattern.
    size
        (width, height) in pixels, if the release states it.
    truth_bytes
        About how many bytes of ground truth there are.
    """

    image: str
    image_id: str
    truth: Any
    files: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    truth_bytes: int = 0


@dataclass(slots=True)
class Found:
    """What a reader lists. `files` are those it read that belong to no single entry."""

    entries: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Annotation:
    """An instance: its compressed COCO RLE and what the release says of it."""

    id: int
    counts: bytes
    category: str | None = None
    category_id: int | None = None
    iscrowd: bool = False


@dataclass(slots=True)
class Truth:
    """The ground truth of one image.

    `faults` are faults of single annotations, with the annotation's id. `void` marks the pixels
    that are excluded from evaluation, (H, W).
    """

    annotations: list[Annotation] = field(default_factory=list)
    faults: list[tuple[int, Fault]] = field(default_factory=list)
    void: Mask | None = None


class Reader(Protocol):
    """Reads one part of a release.

    `listing` is called once. `read` may be called in any process, with an entry that `listing`
    made and the image's size in pixels. It raises Fault if the image's whole ground truth can't be
    used.
    """

    def listing(self) -> Found: ...
    def read(self, entry: Entry, height: int, width: int) -> Truth: ...


def pair(
    root: Path,
    part: Options,
    source: str,
    *,
    image_id: str = "{id}",
    more_truth: str | None = None,
    beside: Iterable[str] = (),
    ids: str | None = None,
) -> Found:
    """Pair images with the files of their ground truth; `Entry.truth` is the list of the latter.

    An image and its ground truth have the same values of the names that both patterns have.

    Parameters
    ----------
    root, part, source
        As `Options.open` has them.
    image_id
        Template of an image's id, filled with the values of its pattern.
    more_truth
        Pattern of ground truth that is read after `part.truth` where it is there.
    beside
        Templates of further files that a row depends on.
    ids
        A text file with one id per line. Only these images are listed.

    Raises
    ------
    SourceError
        The file of ids can't be read.
    """
    found = Found()
    shared = [name for name in Pattern(part.images).names if name in Pattern(part.truth).names]
    truths: dict[tuple[str, ...], list[str]] = {}
    for pattern in filter(None, (part.truth, more_truth)):
        for path, values in Pattern(pattern).scan(root):
            if leads_nowhere(root, path, source, found):
                continue
            truths.setdefault(tuple(values[name] for name in shared), []).append(path)
    only = None if ids is None else _ids(root / ids)
    seen: set[str] = set()
    alone = set(truths)
    for image, values in scan_images(root, part.images):
        if only is not None:
            if values["id"] not in only:
                continue
            seen.add(values["id"])
        key = tuple(values[name] for name in shared)
        alone.discard(key)
        if leads_nowhere(root, image, source, found):
            continue
        if key in truths:
            size = sum((root / path).stat().st_size for path in truths[key])
            others = [Pattern(template).fill(values) for template in beside]
            others = [path for path in others if not leads_nowhere(root, path, source, found)]
            files = (*truths[key], *(path for path in others if (root / path).is_file()))
            name = Pattern(image_id).fill(values)
            entry = Entry(image, name, truths[key], files, values, truth_bytes=size)
            found.entries.append(entry)
        else:
            expected = Pattern(part.truth).fill(values)
            found.rejects.append(Reject(source, image, "truth_missing", expected, "no such file"))
    if ids is not None and only is not None:
        found.files.append(ids)
        lacking = [(ids, {"id": name}) for name in sorted(only - seen)]
    elif part.strays == "reject":
        lacking = [(truths[key][0], dict(zip(shared, key, strict=True))) for key in sorted(alone)]
    else:
        lacking = []
    for member, values in lacking:
        expected = Pattern(part.images).fill(values)
        found.rejects.append(Reject(source, member, "image_missing", expected, "no such file"))
    return found


def leads_nowhere(root: Path, path: str, source: str, found: Found) -> bool:
    """Whether a path is a link to nothing, or to itself. `found` then gets a reject."""
    whole = root / path
    if not whole.is_symlink() or whole.exists():
        return False
    target = f"a link to {whole.readlink().name}, which is not there"
    found.rejects.append(Reject(source, path, "link_to_nothing", "a file or a link to one", target))
    return True


def _ids(path: Path) -> set[str]:
    try:
        data = path.read_bytes()
        lines = data.decode(encoding_of(data[:4])).splitlines()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}: expected one id a line") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: expected UTF-8, found {error}: save it as UTF-8") from error
    return {line.split()[0] for line in lines if line.strip()}


class Images:
    """The images of a part by the name that a JSON calls them.

    Parameters
    ----------
    root, part, source
        As `Options.open` has them.
    basename
        Compare only the last component of the name that the JSON has.
    quiet
        Count the images that the JSON lists and the folder lacks, in place of a reject for each.
    """

    def __init__(
        self,
        root: Path,
        part: Options,
        source: str,
        *,
        basename: bool = False,
        quiet: bool = False,
    ) -> None:
        self.part, self.source = part, source
        self.basename, self.quiet = basename, quiet
        self.paths: dict[str, tuple[str, dict[str, str]]] = {}
        self.used: set[str] = set()
        self.absent = 0
        self.broken = Found()
        for path, values in scan_images(root, part.images):
            if leads_nowhere(root, path, source, self.broken):
                continue
            if values["name"] in self.paths:
                other = self.paths[values["name"]][0]
                raise SourceError(
                    f"{root}: {other} and {path} have the same name, by which {part.truth} "
                    "calls its images: remove one of them"
                )
            self.paths[values["name"]] = (path, values)

    def find(self, name: str, found: Found) -> tuple[str, dict[str, str]] | None:
        """The image that a JSON calls `name`: its path, and the values of its pattern.

        Returns None if there is no such image, or if it was found before. `found` then gets a
        reject, unless absent images are only counted.
        """
        if self.basename:
            name = PurePosixPath(name.replace("\\", "/")).name
        name = name.removeprefix("./")
        if name in self.used:
            self._reject(found, name, "duplicate_image", "each image listed once", "listed again")
            return None
        self.used.add(name)
        if name not in self.paths:
            self.absent += 1
            if not self.quiet:
                expected = Pattern(self.part.images).fill({"name": name})
                self._reject(found, name, "image_missing", expected, "no such file")
            return None
        return self.paths[name]

    def finish(self, found: Found) -> None:
        """Report links to nothing, and images absent or not listed as the options say."""
        found.rejects += self.broken.rejects
        if self.quiet and self.absent:
            found.notes.append(
                f"split {self.part.split}: {counted(self.absent, 'image')} of {self.part.truth} "
                "left out: not in the folder that this protocol reads"
            )
        if self.part.strays == "reject":
            for name in sorted(self.paths.keys() - self.used):
                path = self.paths[name][0]
                self._reject(found, path, "truth_missing", f"an entry in {self.part.truth}", "none")

    def _reject(self, found: Found, member: str, reason: str, expected: str, what: str) -> None:
        found.rejects.append(Reject(self.source, member, reason, expected, what))


def load_json(path: Path) -> Any:
    """Parse a JSON file. Raises SourceError if it can't be read or is not JSON."""
    try:
        return strict_json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: expected JSON, found {error}; download it again") from error


def reject_repeated(element: Element, source: str, file: str, found: Found) -> None:
    """Add a reject for an element of a JSON in which a key stands twice."""
    what = f"{element.repeated!r} twice in an element of {element.key}, byte {element.offset}"
    expected = "each key once in an object"
    found.rejects.append(Reject(source, file, "json_duplicate_key", expected, what))


def note_dropped(found: Found, part: Options, dropped: int) -> None:
    """Add a note that says how many images without annotations were left out."""
    if dropped:
        found.notes.append(
            f"split {part.split}: {counted(dropped, 'image')} without annotations left out, as the "
            "protocol does"
        )


def integer(value: Any, otherwise: int) -> int:
    """`value` where it is a whole number of 64 bits, else `otherwise`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return value if good else otherwise


def missing_fields(record: Any, fields: Iterable[str]) -> list[str]:
    """The fields that a JSON object lacks; all of them when it is no object."""
    return [name for name in fields if not isinstance(record, dict) or name not in record]
