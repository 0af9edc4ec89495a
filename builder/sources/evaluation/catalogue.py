"""The listing of the table, as text and as JSON: `python -m builder.build --list-eval`."""

from __future__ import annotations

import textwrap
from typing import Any

from builder.sources.evaluation.table import Row, rows

CHECKED = {
    "real release": "run on a real release",
    "real samples": "run on real samples",
    "fixture": "run only on a fixture in the documented layout",
}
_WIDTH = 100
_HEAD = """\
The evaluation suite: a config per dataset and protocol.
  NAME        native: every split with public ground truth that the folder holds
  NAME_sam    the rule of SAM's Table 7 on whole splits. SAM sampled some splits to about 10,000
              masks and blurred faces. It published neither the lists nor the images.
  NAME_asam   what ASAM's evaluation code does
Unpack the archives into one folder, and give that folder as the source."""


def list_eval() -> list[dict[str, Any]]:
    """The table as JSON values, a dict per dataset."""
    return [_document(row) for row in rows()]


def format_list() -> str:
    """The table as text: each dataset, what to download from where, and its terms."""
    return "\n\n".join([_HEAD, *(_block(row) for row in rows())])


def _document(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "about": row.about,
        "homepage": row.homepage,
        "download": list(row.download),
        "unpacked": row.unpacked,
        "licence": row.licence,
        "licence_url": row.licence_url,
        "redistribution": row.redistribution,
        "terms": row.terms,
        "checked": CHECKED[row.checked],
        "checked_note": row.checked_note,
        "protocols": {
            name: {
                "config": row.config(name),
                "rule": protocol.rule,
                "same_as": protocol.same_as,
                "splits": list(dict.fromkeys(part[0].split for part in protocol.parts)),
                "readers": sorted({layout.reader for part in protocol.parts for layout in part}),
                "images": dict(protocol.counts),
            }
            for name, protocol in row.protocols.items()
        },
        "bibtex": row.bibtex,
    }


def _block(row: Row) -> str:
    note = f" ({row.checked_note})" if row.checked_note else ""
    fields = {
        "from": row.homepage,
        "download": "; ".join(row.download),
        "unpacked": row.unpacked,
        "licence": f"{row.licence}, {row.licence_url}",
        "terms": f"{row.terms}; redistribution {row.redistribution}",
        "reader": CHECKED[row.checked] + note,
    } | {row.config(name): protocol.rule for name, protocol in row.protocols.items()}
    margin = max(len(name) for name in fields) + 4
    lines = [f"{row.name}: {row.title}; {row.about}"]
    for name, text in fields.items():
        head = f"  {name}".ljust(margin)
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=head,
            subsequent_indent=" " * margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
