"""Path patterns with names: `gtFine/val/{city}/{id}_gtFine_instanceIds.png`.

`{x}` matches one or more characters within a path component. `{x:path}` matches across components.
As a whole component, `{x:path}/`, it also matches no folder at all. A name that is used twice
matches the same text both times. Files that start with a dot (`.DS_Store`, `._photo.jpg`) never
match. Links are followed. A link to nothing matches, so that it is missed by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from asam_datasets.folders import walk_folder

_NAME = re.compile(r"\{(\w+)(:path)?\}(/?)")


@dataclass(frozen=True)
class Pattern:
    """A pattern of paths relative to a folder."""

    text: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in it, each once, in order."""
        return tuple(dict.fromkeys(match[1] for match in _NAME.finditer(self.text)))

    def fill(self, values: Mapping[str, str]) -> str:
        """The path for these values. A name without a value stays as it is."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                return match[0]
            text = values[match[1]]
            return f"{text}{match[3]}" if text else ""

        return _NAME.sub(value, self.text)

    def scan(self, root: Path) -> Iterator[tuple[str, dict[str, str]]]:
        """The files under `root` that match, with the values of the names, in a fixed order."""
        yield from _scan(root, "", self.text.split("/"), {})

    def found(self, root: Path) -> bool:
        """Whether any file under `root` matches."""
        return next(self.scan(root), None) is not None

    def __str__(self) -> str:
        return self.text.replace(":path}", "}")


def _scan(
    folder: Path, prefix: str, components: list[str], values: dict[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    component, rest = components[0], components[1:]
    if not _NAME.search(component):
        path = folder / component
        if rest and path.is_dir():
            yield from _scan(path, f"{prefix}{component}/", rest, values)
        elif not rest and path.is_file():
            yield prefix + component, values
        return
    deep = ":path}" in component
    matcher = _regex("/".join(components) if deep else component, values)
    if deep:
        for name in _files_below(folder):
            if match := matcher.fullmatch(name):
                yield prefix + name, values | _texts(match)
        return
    for entry in _entries(folder):
        if match := matcher.fullmatch(entry.name):
            found = values | _texts(match)
            path = Path(entry.path)
            if rest and path.is_dir():
                yield from _scan(path, f"{prefix}{entry.name}/", rest, found)
            elif not rest and (path.is_file() or _leads_nowhere(path)):
                yield prefix + entry.name, found


def _regex(text: str, values: Mapping[str, str]) -> re.Pattern[str]:
    """The regular expression of a pattern in which `values` are filled in."""
    parts: list[str] = []
    seen: set[str] = set()
    end = 0
    for match in _NAME.finditer(text):
        name, deep, slash = match.groups()
        parts.append(re.escape(text[end : match.start()]))
        end = match.end()
        if name in values:
            parts.append(re.escape(values[name]) + slash)
        elif name in seen:
            parts.append(f"(?P={name}){slash}")
        elif deep and slash:
            parts.append(f"(?P<{name}>(?:.+/)?)")
        else:
            parts.append(f"(?P<{name}>{'.+' if deep else '[^/]+'}){slash}")
        seen.add(name)
    parts.append(re.escape(text[end:]))
    return re.compile("".join(parts), re.DOTALL)


def _texts(match: re.Match[str]) -> dict[str, str]:
    return {name: text.rstrip("/") for name, text in match.groupdict().items()}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _files_below(folder: Path) -> Iterator[str]:
    for parent, folders, names in walk_folder(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in names:
            if not name.startswith("."):
                yield prefix + name
