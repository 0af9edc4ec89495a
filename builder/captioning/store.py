"""The captions of one config: ASAM's JSON Lines file, its provenance and its rejects.

    <config>-blip2-caption.json               {"img": "sa_1.jpg", "prompt": "a street at night"}
    <config>-blip2-caption.provenance.json    the model and the settings that made them, counts
    <config>-blip2-caption.rejects.jsonl      the images that have no caption, and why

`append` writes whole lines and syncs them to disk before it returns. A killed run may leave an
incomplete last line. It is cut off when the next run opens the file. If a write fails, as on a full
disk, the file is cut back to its former size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from builder.captioning.lines import Lines, not_written
from builder.captioning.provenance import read_provenance
from builder.core import strict_json
from builder.core.errors import CaptionsFileError, ContractError
from builder.core.files import remove_unfinished, write_json
from builder.core.records import Json, Reject
from builder.core.rejects import read_rejects

SUFFIX = "-blip2-caption"
LINE = '{"img": "sa_1.jpg", "prompt": "a street at night"}'  # an example, for messages


def captions_path(folder: Path, config: str) -> Path:
    """The path of a config's captions file in `folder`."""
    return folder / f"{config}{SUFFIX}.json"


def provenance_path(captions: Path) -> Path:
    """The path of a captions file's provenance."""
    return captions.with_suffix(".provenance.json")


def rejects_path(captions: Path) -> Path:
    """The path of a captions file's rejects."""
    return captions.with_suffix(".rejects.jsonl")


# ------------------------------------------------------------------------------------- reading


class Captions:
    """The captions of a file by image, and its problems.

    `problems` holds a reject for each line that could not be used. Its reason is
    `captions_broken_line`, `captions_empty`, or `captions_duplicate`. Of several lines for one
    image, the first is used.
    """

    def __init__(
        self, path: Path, sha256: str, prompts: Mapping[str, str], problems: list[Reject]
    ) -> None:
        self.path = path
        self.sha256 = sha256
        self.problems = problems
        self._prompts = prompts

    def get(self, file_name: str) -> str | None:
        """The caption of an image, without spaces at its ends, or None if there is none."""
        return self._prompts.get(file_name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)


def read_captions(path: Path) -> Captions:
    """Read a captions file.

    Raises
    ------
    CaptionsFileError
        It can't be read, or holds no usable line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CaptionsFileError(f"captions file {path}: {error.strerror}") from error
    prompts: dict[str, str] = {}
    problems: list[Reject] = []
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            name, prompt = parse_line(line)
        except ValueError as error:
            reason, expected, found = "captions_broken_line", f"a line such as {LINE}", str(error)
        else:
            if name in prompts:
                reason, expected, found = "captions_duplicate", f"one line for {name}", "another"
            elif not prompt:
                reason, expected, found = "captions_empty", f"a prompt for {name}", "an empty one"
            else:
                prompts[name] = prompt
                continue
        problems.append(Reject(Path(path).name, f"line {number}", reason, expected, found))
    if problems and not prompts:
        raise CaptionsFileError(
            f"captions file {path}: none of its lines can be used; expected JSON Lines such as "
            f"{LINE}, found at {problems[0].member}: {problems[0].found}"
        )
    return Captions(Path(path), hashlib.sha256(data).hexdigest(), prompts, problems)


def parse_line(line: bytes) -> tuple[str, str]:
    """Return the image and the prompt of one line, both without spaces at their ends.

    Raises
    ------
    ValueError
        The line can't be used. The message says what was found.
    """
    try:
        entry = strict_json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are not UTF-8 at column {error.start + 1}") from error
    except strict_json.DuplicateKeyError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({str(error)[:80]}): {line[:80]!r}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"a JSON {type(entry).__name__}, not an object")
    for key in ("img", "prompt"):
        if not isinstance(entry.get(key), str):
            raise ValueError(f"no text under {key!r}: {line[:80]!r}")
        try:
            entry[key].encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a lone surrogate in {key!r}") from error
    name, prompt = entry["img"].strip(), entry["prompt"].strip()
    if not name:
        raise ValueError("an empty 'img'")
    return name, prompt


def holds_name(name: str) -> bool:
    """Whether a captions file can hold an image's name: spaces at its ends would be lost."""
    try:
        return parse_line(json.dumps({"img": name, "prompt": ""}).encode())[0] == name
    except ValueError:
        return False


# ------------------------------------------------------------------------------------- writing


class CaptionsWriter:
    """Appends captions to a config's file, which may hold captions of an earlier run.

    Parameters
    ----------
    path
        The captions file.
    identity
        What decides the captions: model, revision, settings. A file with another identity is
        refused. So is a file that holds captions but has no provenance. If there are only rejects,
        and they have another identity, they are deleted, so that those images are tried again.
    details
        What else the provenance records of this run, such as versions and device. They are listed
        under "runs"; runs with the same details are listed once.
    force_mix
        Append to such a file nevertheless. Its former identity is kept under "mixed_with".
    retry_rejects
        Delete the earlier rejects, so that those images are tried again.

    The provenance is written with the first captions, or by `finish`. Files that are made and stay
    empty are removed if an error ends the run before that.

    Raises
    ------
    CaptionsFileError
        The file is refused, broken, or in use by another run.
    CaptionError
        A file can't be written.
    """

    def __init__(
        self,
        path: Path,
        identity: Json,
        details: Json | None = None,
        *,
        force_mix: bool = False,
        retry_rejects: bool = False,
    ) -> None:
        self.path = path
        self._provenance: Json = {**identity, "runs": [details or {}]}
        self._begun = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._captions = Lines(path)
        try:
            self._rejects = Lines(rejects_path(path))
            remove_unfinished(path.parent, provenance_path(path).name)
            self._check_identity(identity, force_mix)
            self.prompts = self._read_own()
            if retry_rejects:
                self._rejects.clear()
            self.rejected = self._read_rejects()
        except BaseException:
            self.discard()
            raise

    @property
    def done(self) -> set[str]:
        """The images that are captioned or rejected."""
        return self.prompts.keys() | self.rejected.keys()

    def append(self, prompts: Iterable[tuple[str, str]], rejects: Iterable[Reject] = ()) -> None:
        """Add captions and rejects. They are on disk when this returns.

        Parameters
        ----------
        prompts
            Pairs of an image's name and its caption.
        rejects
            The images that have no caption, and why.

        Raises
        ------
        CaptionError
            They can't be written.
        ValueError
            An image already has a caption, or a caption is empty.
        """
        if not self._begun:
            self._write_provenance(complete=False)
        new = {name.strip(): prompt.strip() for name, prompt in prompts}
        for name, prompt in new.items():
            if not prompt or name in self.prompts:
                raise ValueError(f"{name}: {'captioned twice' if prompt else 'empty caption'}")
        self._captions.append([{"img": name, "prompt": prompt} for name, prompt in new.items()])
        self.prompts.update(new)
        refused = [asdict(reject) for reject in rejects]
        self._rejects.append(refused)
        self.rejected.update({entry["member"]: entry["reason"] for entry in refused})

    def finish(self) -> None:
        """Record the counts of a finished run in the provenance."""
        self._write_provenance(complete=True)

    def discard(self) -> None:
        """Remove the files that this made and that are empty, and close the others."""
        self._captions.discard()
        if hasattr(self, "_rejects"):
            self._rejects.discard()

    def close(self) -> None:
        """Close the files."""
        self._captions.close()
        if hasattr(self, "_rejects"):
            self._rejects.close()

    def __enter__(self) -> CaptionsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not self._begun:
            self.discard()
        self.close()

    def _check_identity(self, identity: Json, force_mix: bool) -> None:
        earlier = read_provenance(provenance_path(self.path))
        if earlier is None:
            if self._captions.size and not force_mix:
                raise CaptionsFileError(
                    f"{self.path} holds captions, but no {provenance_path(self.path).name} says "
                    "how they were made: choose another folder, or append to it with --force-mix"
                )
            if self._captions.size:
                self._provenance["mixed_with"] = [{"model": None}]
            return
        changed = list(_differences({key: earlier.get(key) for key in identity}, identity))
        runs = earlier.get("runs", [])
        self._provenance["runs"] = [run for run in runs if run not in self._provenance["runs"]] + (
            self._provenance["runs"]
        )
        if changed and not self._captions.size:  # images without a caption may have one now
            self._rejects.clear()
        mixed = earlier.get("mixed_with", [])
        if changed and self._captions.size:
            if not force_mix:
                raise CaptionsFileError(
                    f"{self.path} was made with other settings: {'; '.join(changed)}. Choose "
                    "another folder or the same settings, or append to it with --force-mix"
                )
            mixed = [*mixed, {key: earlier.get(key) for key in identity}]
        if mixed:
            self._provenance["mixed_with"] = mixed

    def _read_own(self) -> dict[str, str]:
        if not self._captions.size:
            return {}
        captions = read_captions(self.path)
        if captions.problems:
            first = captions.problems[0]
            raise CaptionsFileError(
                f"{self.path}, {first.member}: expected {first.expected}, found {first.found}; "
                "repair or remove that line before going on"
            )
        return {name: captions.get(name) or "" for name in captions}

    def _read_rejects(self) -> dict[str, str]:
        path = self._rejects.path
        try:
            rejects = read_rejects(path.read_bytes(), str(path))
        except ContractError as error:
            raise CaptionsFileError(f"{error}, or remove that line before going on") from error
        return {reject.member: reject.reason for reject in rejects}

    def _write_provenance(self, *, complete: bool) -> None:
        self._begun = True
        counts = {"captions": len(self.prompts), "rejects": len(self.rejected)}
        value = {**self._provenance, "counts": counts, "complete": complete}
        try:
            write_json(provenance_path(self.path), value, indent=2)
        except OSError as error:
            not_written(provenance_path(self.path), error)


def _differences(earlier: object, now: object, name: str = "") -> Iterator[str]:
    """Describe each difference between two JSON values, such as "settings.prompt 'a', now 'b'"."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in {**earlier, **now}:
            yield from _differences(earlier.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif earlier != now:
        yield f"{name} {earlier!r}, now {now!r}"
