"""rejects.jsonl: what could not be used, one JSON object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from asam_datasets.contract import Node
from builder.core.files import dump_json
from builder.core.records import Reject

ANNOTATION, RECORD, CAPTION_LINE = ("annotation", "record", "caption_line")
NO_INSTANCE = "no_instance"  # an image that a protocol leaves out because nothing is in it
UNKNOWN_IMAGE = "caption_of_unknown_image"
# The reasons of rejects that are about a line of the captions file, not about a record.
_OF_CAPTION_LINES = (
    *("captions_broken_line", "captions_duplicate", "captions_empty"),
    UNKNOWN_IMAGE,
)

MAX_KEYS = 1_000  # undocumented keys that a config counts by name
OTHER_KEYS = "(others)"  # the name of those beyond

_TEXTS = ("source", "member", "reason", "expected", "found")


def reject_from_json(node: Node) -> Reject:
    """Check and take a reject as `asdict` gives it; raises ContractError."""
    identifier = node["annotation_id"].value if "annotation_id" in node.mapping() else None
    if isinstance(identifier, bool) or not isinstance(identifier, int | str | None):
        node["annotation_id"].fail("an integer, a string or null")
    return Reject(**{name: node[name].text() for name in _TEXTS}, annotation_id=identifier)


def write_rejects(rejects: Iterable[Reject]) -> bytes:
    """The bytes of rejects.jsonl for these rejects."""
    return b"".join(dump_json(asdict(reject)) for reject in rejects)


def read_rejects(content: bytes, file: str) -> list[Reject]:
    """The rejects of a table.

    Parameters
    ----------
    content
        The file's bytes; lines without text are skipped.
    file
        The file's name, for messages.

    Raises
    ------
    ContractError
        A line does not hold a valid reject. The message names the line.
    """
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            node = Node(f"{file}, line {number}", "", line)
            try:
                node = Node(node.file, "", json.loads(line))
            except (ValueError, RecursionError):
                node.fail("JSON")
            found.append(reject_from_json(node))
    return found


def count_reasons(rejects: Iterable[Reject]) -> dict[str, int]:
    """Rejects by reason, most first."""
    counts = Counter(reject.reason for reject in rejects)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def add_keys(total: Counter[str], more: Mapping[str, int]) -> None:
    """Add numbers of undocumented keys. `total` grows to MAX_KEYS names, and OTHER_KEYS."""
    for key, count in sorted(more.items()):
        total[key if key in total or len(total) < MAX_KEYS else OTHER_KEYS] += count


def subject(reject: Reject) -> str:
    """What a reject is about: ANNOTATION, RECORD or CAPTION_LINE.

    A record is an image with its annotations, or a member of the source that is not one.
    """
    if reject.annotation_id is not None:
        return ANNOTATION
    return CAPTION_LINE if reject.reason in _OF_CAPTION_LINES else RECORD
