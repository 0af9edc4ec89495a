"""SA-1B's links file: the names of its tars and a signed link to each.

Who accepts the licence gets it from Meta (ai.meta.com/datasets/segment-anything-downloads): text
with tabs, `file_name<TAB>cdn_link`, with these names in the first line. The links expire after some
days, so the same names come with new links in a fresh file.
"""

from __future__ import annotations

import re
from pathlib import Path

from asam_datasets.errors import what_went_wrong
from builder.core.errors import SourceError, UsageError
from builder.core.text import brief, encoding_of

SUFFIXES = (".txt", ".tsv")
_HEADER = ["file_name", "cdn_link"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # of a file in any folder, never a path
_MOST_BYTES = 64 << 20  # SA-1B's thousand links have about 400 kB


def is_links_file(source: str) -> bool:
    """Whether a user's source is a links file, by its name: an existing .txt or .tsv."""
    return source.lower().endswith(SUFFIXES) and Path(source).is_file()


def read_links(path: str | Path) -> dict[str, str]:
    """The link of each tar by its name, in the file's order.

    Lines of other files than tars, such as a list of ids, are left out.

    Raises
    ------
    UsageError
        There is no such file.
    SourceError
        The file is no links file, or a line of it can't be used. A link is not shown.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_text(Path(path)).splitlines(), 1):
        where = f"{path}: line {number}"
        fields = [field.strip() for field in line.strip().split("\t")]
        if fields in ([""], _HEADER):
            continue
        if len(fields) != len(_HEADER):
            raise SourceError(
                f"{where}: expected file_name<TAB>cdn_link, found {len(fields)} "
                f"field{'s' * (len(fields) > 1)}; give the links file as Meta sends it"
            )
        name, url = fields
        if not _NAME.fullmatch(name):
            raise SourceError(
                f"{where}: expected the name of a file such as sa_000000.tar, found {brief(name)}"
            )
        if not name.endswith(".tar"):
            continue
        if not re.fullmatch(r"https?://[^\s/?#]+/\S*", url):
            raise SourceError(f"{where}: expected a link of {name} that begins with https://")
        if found.setdefault(name, url) != url:
            raise SourceError(f"{where}: {name} has another link in an earlier line; remove one")
    if not found:
        raise SourceError(
            f"{path}: expected lines of file_name<TAB>cdn_link, found no link to a .tar"
        )
    return found


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such file; give the links file that Meta sends")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SourceError(f"{path}: expected a links file of at most {_MOST_BYTES} bytes")
        return data.decode(encoding_of(data[:4]))
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{path}: can't be read: {what_went_wrong(error)}; give the links file as Meta sends it"
        ) from error
