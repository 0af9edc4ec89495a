"""SA-1B: a tar or folder of `sa_<id>.jpg` + `sa_<id>.json` as rows of the train schema."""

from __future__ import annotations

import glob
import hashlib
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from asam_datasets import CONFIG_NAME
from asam_datasets.deadlines import open_files
from asam_datasets.patience import PATIENT, Patience
from asam_datasets.redaction import hide_in
from builder.core.console import counted
from builder.core.errors import SettingsError, SourceError, UsageError
from builder.core.records import Item, Json, Listing, Reject
from builder.core.text import brief, encoding_of
from builder.sources.archive import Archive, Contents, Member, some
from builder.sources.captioned import check_fit, unknown_images
from builder.sources.links import is_links_file, read_links
from builder.sources.record import Pair, Sa1bReader

_ID = re.compile(r"[0-9]{1,18}")
_STEM = re.compile(rf"sa_({_ID.pattern})")
# The bytes of a row beside its jpeg (masks, annotations and control image) for each byte of json.
# Of real rows the image makes up 82 %, masks 9 %, annotations 6 % and the control image 3 %.
_BYTES_PER_JSON_BYTE = 3.0

_KINDS = 3  # kinds of files that a message names


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of a source are built; all of them by default."""

    image_ids: frozenset[int] | None = None
    limit: int | None = None

    def settings(self) -> Json:
        """The selection as JSON values. Different selections give different values."""
        if self.image_ids is None:
            return {"image_ids": None, "limit": self.limit}
        joined = "\n".join(map(str, sorted(self.image_ids)))
        digest = hashlib.sha256(joined.encode()).hexdigest()
        return {"image_ids": digest, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class Sa1bSource:
    """An SA-1B tar or folder.

    Parameters
    ----------
    archive
        Where it is.
    config
        The config's name, such as `sa_000000`.
    captions
        Captions by file name (`sa_1.jpg`).
    captions_sha256
        The sha256 of the captions file: part of the settings.
    captions_model
        The model and preset that made them, if the file's provenance states them.
    caption_rejects
        Lines of the captions file that could not be used.
    selection
        Which images to build.
    annotations_only
        Leave the column `image` null.
    sample
        Whether this is the sample that the project makes by code.
    """

    archive: Archive
    config: str
    captions: Mapping[str, str] = field(default_factory=dict)
    captions_sha256: str | None = None
    captions_model: str | None = None
    caption_rejects: Sequence[Reject] = ()
    selection: Selection = field(default_factory=Selection)
    annotations_only: bool = False
    sample: bool = False

    @property
    def name(self) -> str:
        """What the `source` column says: the tar's or folder's name."""
        return self.archive.name

    @property
    def kind(self) -> str:
        """The schema of the rows."""
        return "train"

    def settings(self) -> Json:
        """The options that change the bytes of a row, as JSON values."""
        return {
            "kind": "sa1b",
            "sample": self.sample,
            "captions_sha256": self.captions_sha256,
            "captions_model": self.captions_model,
            "annotations_only": self.annotations_only,
            **self.selection.settings(),
        }

    def listing(self) -> Listing:
        """Pair the members by stem, apply the selection, and join the captions.

        Raises
        ------
        SourceError
            The source can't be read, or holds no pair of `sa_<id>.jpg` and `sa_<id>.json`.
        SettingsError
            The source holds none of the images that the selection or the captions file names.
        """
        contents = self.archive.contents()
        rejects = list(contents.rejects)
        notes = list(contents.notes)
        jpgs, jsons = self._sort_out(contents, rejects, notes)
        if not jpgs.keys() & jsons.keys():
            raise SourceError(self._nothing(contents))
        rejects += self._unpaired(jpgs, jsons)
        pairs = self._select(jpgs, jsons, notes)
        names = dict.fromkeys(posixpath.basename(member.name) for member in jpgs.values())
        rejects += [*self.caption_rejects, *unknown_images(self.captions, names, self.name)]
        if self.captions_sha256 is not None:
            check_fit(self.captions.keys(), names.keys(), self.archive.url)
        return Listing(
            items=[_item(pair) for pair in pairs],
            fingerprint=contents.fingerprint(self.name),
            rejects=rejects,
            notes=notes,
            records=len(jpgs.keys() & jsons.keys()),
            captions=len(self.captions),
        )

    @contextmanager
    def open(self) -> Iterator[Sa1bReader]:
        """Open for reading."""
        yield Sa1bReader(self.archive, annotations_only=self.annotations_only)

    def _sort_out(
        self, contents: Contents, rejects: list[Reject], notes: list[str]
    ) -> tuple[dict[int, Member], dict[int, Member]]:
        """Members by image id; a second member of one id is rejected."""
        found: dict[str, dict[int, Member]] = {".jpg": {}, ".json": {}}
        others = []
        for member in contents.members:
            stem, extension = posixpath.splitext(posixpath.basename(member.name))
            match = _STEM.fullmatch(stem)
            if extension not in found or not match:
                others.append(member.name)
                continue
            first = found[extension].setdefault(int(match[1]), member)
            if first is not member:
                expected = f"one {extension} of image {int(match[1])}; kept the one at {first.name}"
                where = f"another, {member.size} bytes at byte {member.offset}"
                rejects.append(Reject(self.name, member.name, "duplicate_image", expected, where))
        if others:
            notes.append(f"ignored {counted(len(others), 'member')} of other names: {some(others)}")
        return found[".jpg"], found[".json"]

    def _unpaired(self, jpgs: dict[int, Member], jsons: dict[int, Member]) -> Iterator[Reject]:
        lonely = [(jpgs[i], ".json", "jpg_without_json") for i in jpgs.keys() - jsons.keys()]
        lonely += [(jsons[i], ".jpg", "json_without_jpg") for i in jsons.keys() - jpgs.keys()]
        for member, extension, reason in sorted(lonely, key=lambda x: x[0].name):
            expected = posixpath.splitext(member.name)[0] + extension
            yield Reject(self.name, member.name, reason, expected, "no such member")

    def _select(
        self, jpgs: dict[int, Member], jsons: dict[int, Member], notes: list[str]
    ) -> list[Pair]:
        wanted = self.selection.image_ids
        if wanted is not None and (absent := sorted(wanted - (jpgs.keys() & jsons.keys()))):
            notes.append(
                f"not found: {len(absent)} of {counted(len(wanted), 'image id')} asked for: "
                + some([str(i) for i in absent])
            )
        if wanted is not None and not wanted & jpgs.keys() & jsons.keys():
            raise SettingsError(
                f"{self.archive.url}: it holds none of the {len(wanted)} image ids asked for "
                f"({some([str(i) for i in sorted(wanted)]) or 'the list is empty'}); leave "
                "--image-ids out, or give other ids"
            )
        pairs = [
            Pair(i, jpg, jsons[i], self.captions.get(posixpath.basename(jpg.name)))
            for i, jpg in jpgs.items()  # in the source's own order, so a tar is read forwards
            if i in jsons and (wanted is None or i in wanted)
        ]
        return pairs[: self.selection.limit]

    def _nothing(self, contents: Contents) -> str:
        kinds: dict[str, list[str]] = {}
        for member in contents.members:
            kinds.setdefault(posixpath.splitext(member.name)[1], []).append(member.name)
        most = sorted(kinds.items(), key=lambda kind: -len(kind[1]))[:_KINDS]
        shown = (f"{counted(len(of), f'{end} file'.strip())}: {some(of)}" for end, of in most)
        found = "; ".join(shown) or "no file"
        return (
            f"{self.archive.url}: expected pairs of sa_<id>.jpg and sa_<id>.json, found "
            + "; ".join([found, *contents.notes])
        )


def open_sources(
    sources: Sequence[str],
    *,
    config: str | None = None,
    allow_truncated: bool = False,
    patience: Patience = PATIENT,
    quiet: bool = True,
) -> list[Sa1bSource]:
    """The sources that a user's arguments name.

    Parameters
    ----------
    sources
        Tars, folders, globs of either, URLs, or SA-1B's links file (a .txt or .tsv).
    config
        The name of the config, for a single source. Defaults to the source's name without .tar.
    allow_truncated
        Accept tars that were cut off, and use the members that are complete.
    patience
        How long a request to a remote store may take, and how often it is repeated.
    quiet
        Show no progress while remote tars are listed.

    Raises
    ------
    SourceError
        A glob matches nothing, or a links file can't be used.
    SettingsError
        Two sources would make the same config, or a config's name is invalid.
    """
    archives: list[Archive] = []
    for source in sources:
        if is_links_file(source):
            archives += (
                Archive(url, allow_truncated, patience, source, tar, quiet)
                for tar, url in read_links(source).items()
            )
        else:
            archives += (
                Archive(url, allow_truncated, patience, quiet=quiet)
                for url in _expand(source, patience)
            )
    if config is not None and len(archives) != 1:
        raise UsageError(f"--config {config} can name one source only, found {len(archives)}")
    found: dict[str, Sa1bSource] = {}
    for archive in archives:
        url, name = archive.url, config or archive.name.removesuffix(".tar")
        if not CONFIG_NAME.fullmatch(name):
            expected = "expected letters, digits, '.', '_' and '-', such as sa_000000"
            if config is not None:
                raise UsageError(f"--config {name!r} can't name a config: {expected}")
            raise SettingsError(
                f"{url}: {name!r} can't name a config: {expected}; give --config NAME"
            )
        if name in found:
            raise SettingsError(
                f"{found[name].archive.url} and {url} would both make the config {name}; "
                "build one of them with --config NAME"
            )
        found[name] = Sa1bSource(archive, name)
    return list(found.values())


def read_image_ids(path: str, patience: Patience = PATIENT) -> frozenset[int]:
    """Read SA-1B's sa_images_ids.txt: one image id a line.

    Parameters
    ----------
    path
        A local path or a URL.
    patience
        How long a request to a remote store may take.

    Raises
    ------
    SourceError
        The file can't be read, or a line is no image id.
    """
    ids = set()
    try:
        files, place = open_files(path, patience)
        with files.open(place, "rb") as binary:
            encoding = encoding_of(binary.read(4))
            binary.seek(0)
            with io.TextIOWrapper(binary, encoding) as lines:
                for number, line in enumerate(lines, 1):
                    text = line.strip().removesuffix(".jpg").removeprefix("sa_")
                    if text and not _ID.fullmatch(text):
                        raise SourceError(
                            f"{path}: line {number}: expected an image id such as 226692, "
                            f"found {brief(line.strip())}"
                        )
                    if text:
                        ids.add(int(text))
    except SourceError:
        raise
    except Exception as error:  # no such protocol, no UTF-8, or whatever the transport raises
        said = str(error) or type(error).__name__
        raise SourceError(f"{path}: can't be read: {said}; give a list of ids") from hide_in(error)
    return frozenset(ids)


def _expand(source: str, patience: Patience) -> list[str]:
    remote_query = "://" in source and "?" in source
    if remote_query or Path(source).exists() or not any(character in source for character in "*?["):
        return [source]
    protocol = source.split("://")[0] + "://" if "://" in source else ""
    try:
        fs, pattern = open_files(source, patience)
        # fsspec does not look into a folder that is a link.
        through_links = isinstance(fs, LocalFileSystem) and "**" not in pattern
        paths = glob.glob(pattern) if through_links else fs.glob(pattern)  # noqa: PTH207
        found = sorted(p for p in paths if p.endswith(".tar") or fs.isdir(p))
    except Exception as error:  # no such protocol, or whatever the transport raises
        said = str(error) or type(error).__name__
        raise SourceError(f"{source}: can't be listed: {said}") from hide_in(error)
    if not found:
        raise SourceError(f"{source}: matches no .tar and no folder")
    return [protocol + path if protocol not in ("", "file://") else path for path in found]


def _item(pair: Pair) -> Item:
    return Item(
        key=posixpath.splitext(posixpath.basename(pair.jpg.name))[0],
        num_bytes=pair.jpg.size + int(_BYTES_PER_JSON_BYTE * pair.json.size),
        locator=pair,
        version=f"{pair.jpg.version} {pair.json.version}",
        member=pair.jpg.name,
    )
