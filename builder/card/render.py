"""Renders the card, which is the README.md of a dist and of its repo.

The template (dataset_card.md) consists of regions between the marks
`<!-- asam-datasets:begin NAME -->` and `<!-- asam-datasets:end NAME -->`. Rendering replaces the
text of the regions and keeps all other text. A region that a person deleted with its marks is not
added again. If a repo has a card without regions, they are added after its text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from asam_datasets import REPO_ID, TRAIN_CONFIG
from asam_datasets.index import Index
from asam_datasets.redaction import redacted
from builder.card import terms
from builder.card.metadata import (
    data_files,
    entries,
    has_own_license,
    is_own,
    license_keys,
    merge_metadata,
    size_category,
)
from builder.card.parts import REGION, metadata, read_card, regions
from builder.core.layout import picture_name
from builder.core.text import markdown

_ROW = re.compile(r"^\| `([^`]+)` \|.*$", re.MULTILINE)
_BIBTEX = re.compile(r"^@\w+\{([^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)
_TARS = 1000  # the number of SA-1B's tars
_SAMPLE_SOURCE = "sample made by code"


def render_card(
    indexes: Sequence[Index],
    *,
    existing: str | None = None,
    drop: Collection[str] = (),
    pictures: Collection[str] = (),
    repo: str = REPO_ID,
) -> str:
    """Render the card of a repo.

    Parameters
    ----------
    indexes
        The configs to describe. Other configs that `existing` describes stay in it.
    existing
        The card to merge into; None for a new one.
    drop
        The names of configs to remove from it.
    pictures
        The names of configs that have a picture.
    repo
        The repo's name, for links and examples.

    Returns
    -------
    str
        The text of the card.

    Raises
    ------
    HubError
        The existing card's YAML or marks can't be read.
    """
    template = read_card(template_path().read_text("utf-8"))
    card = read_card(existing if existing is not None else "---\n{}\n---\n")
    old = metadata(card)
    written = regions(card.text)
    data = merge_metadata(old, metadata(template), indexes, drop)
    mine = {index.config for index in indexes} | set(drop)
    table = _table(indexes, written.get("configs", ""), mine)
    values = {
        "repo": repo,
        "configs": _HEADER + "\n".join(table.values()),
        "pictures": _picture_rows(pictures, written.get("pictures", ""), mine),
        "captions": _caption_rows(indexes, written.get("captions", ""), mine),
        "gaps": _gaps(table),
        "citations": _citations(indexes, written.get("terms", ""), complete=mine >= set(table)),
        **_first(data),
    }
    fresh = {name: _fill(text, values) for name, text in regions(template.text).items()}
    if not _ROW.search(values["pictures"]):
        fresh["pictures"] = ""

    data["size_categories"] = [size_category(sum(map(_rows_of, table.values())))]
    if not has_own_license(old):
        for key in ("license", "license_name", "license_link"):
            data.pop(key, None)
        data |= license_keys(_terms_in(table), repo)
    card.data = DatasetCardData(**data)
    if not written:
        start = _marked(fresh) if card.text.strip() else template.text
        card.text = f"{card.text.rstrip()}\n\n{start}" if card.text.strip() else start
    card.text = REGION.sub(lambda m: _region(m[1], fresh.get(m[1], m[2])), card.text)
    return str(card)


def template_path() -> Path:
    """The template's path: beside this module if installed, else at the top of the checkout."""
    installed = Path(__file__).with_name("dataset_card.md")
    return installed if installed.exists() else Path(__file__).parents[2] / "dataset_card.md"


def _region(name: str, text: str) -> str:
    return f"<!-- asam-datasets:begin {name} -->\n{text}<!-- asam-datasets:end {name} -->"


def _marked(texts: Mapping[str, str]) -> str:
    return "\n\n".join(_region(name, text) for name, text in texts.items()) + "\n"


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], text)


def _first(data: Mapping[str, Any]) -> dict[str, str]:
    """The config and split of the first example."""
    entry = next(iter(entries(data, "configs")), None)
    split = data_files(entry)[0][0] if entry and is_own(entry) else "train"
    return {"first": entry["config_name"] if entry else "sa_000000", "split": split}


# The table of configs. Rows of other configs are kept as they are. Those configs have no index
# here, so what the other regions need of them is read from their rows.

_COLUMNS = "config rows splits masks rejected uncaptioned bytes source pixels licence"
_HEADER = f"| {_COLUMNS.replace(' ', ' | ')} |\n{'|---' * len(_COLUMNS.split())}|\n"


def _table(indexes: Iterable[Index], old: str, mine: Collection[str]) -> dict[str, str]:
    rows = {m[1]: m[0] for m in _ROW.finditer(old) if m[1] not in mine}
    rows |= {index.config: _table_row(index) for index in indexes}
    return dict(sorted(rows.items(), key=lambda item: (not item[0].startswith("sa_"), item[0])))


def _table_row(index: Index) -> str:
    of = terms.terms_of(index)
    counts = index.counts
    source = _SAMPLE_SOURCE if index.sample else f"{of.title}, {redacted(index.source_name)}"
    cells = [
        f"`{index.config}`",
        f"{index.num_rows:,}",
        ", ".join(f"{name} {split.num_rows:,}" for name, split in index.splits.items()),
        f"{counts.masks:,}",
        f"{sum(counts.rejects.values()):,}",
        f"{counts.captions_missing:,}" if index.kind == "train" else "-",
        f"{index.num_bytes:,}",
        markdown(source),
        "no" if index.annotations_only else "yes",
        of.cell,
    ]
    return f"| {' | '.join(cells)} |"


def _rows_of(row: str) -> int:
    digits = row.split("|")[2].replace(",", "").strip()
    return int(digits) if digits.isdecimal() and len(digits) < 20 else 0


def _terms_in(table: Mapping[str, str]) -> list[terms.Terms]:
    """The terms of all configs in the table, by their licence cell."""
    cells = {row.rsplit("|", 2)[1].strip() for row in table.values()}
    return [of for of in terms.all_terms() if of.cell in cells]


def _picture_rows(pictures: Iterable[str], old: str, mine: Collection[str]) -> str:
    rows = {m[1]: m[0] for m in _ROW.finditer(old) if m[1] not in mine}
    for config in pictures:
        alt = f"a row of {config}: image and masks"
        rows[config] = f"| `{config}` | ![{alt}]({picture_name(config)}) |"
    return "\n".join(
        ["| config | image and masks |", "|---|---|", *(rows[c] for c in sorted(rows))]
    )


def _caption_rows(indexes: Iterable[Index], old: str, mine: Collection[str]) -> str:
    """Which model and preset made the captions of each config, where that is recorded."""
    rows = {m[1]: m[0] for m in _ROW.finditer(old) if m[1] not in mine}
    for index in indexes:
        if index.captions_model:
            shown = markdown(redacted(index.captions_model))
            rows[index.config] = f"| `{index.config}` | {shown} |"
    if not rows:
        return "No config here records which model made its captions."
    return "\n".join(["| config | captions by |", "|---|---|", *(rows[c] for c in sorted(rows))])


def _gaps(table: Mapping[str, str]) -> str:
    train = [name for name in table if TRAIN_CONFIG.fullmatch(name)]
    samples = [name for name in train if _SAMPLE_SOURCE in table[name]]
    lines = []
    if samples:
        names = ", ".join(f"`{name}`" for name in samples)
        lines.append(
            f"- {names}: a sample made by code, with pictures and captions, for trying everything; "
            "it holds nothing of SA-1B."
        )
    count = len(train) - len(samples)
    if count:
        lines.append(
            f"- SA-1B has {_TARS} tars; {count} of them ({count / _TARS:.1%}) "
            f"{'is' if count == 1 else 'are'} here, so its statistics are not those of SA-1B."
        )
    lines.append("- SA-1B's masks have no categories, and were themselves made by a model.")
    lines.append("- Captions are machine-made, in English, and describe the whole image only.")
    lines.append(
        "- Rejected records and annotations are absent from the rows; the table counts them."
    )
    return "\n".join(lines)


def _citations(indexes: Iterable[Index], old: str, *, complete: bool) -> str:
    found = {} if complete else {match[1]: match[0] for match in _BIBTEX.finditer(old)}
    for text in (terms.ASAM_CITATION, *(terms.terms_of(index).citation for index in indexes)):
        found |= {match[1]: match[0] for match in _BIBTEX.finditer(text)}
    return "\n\n".join(found[key] for key in sorted(found))
