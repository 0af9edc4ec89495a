"""The card's YAML. It is made from the indexes and merged with the entries of other people.

The keys are those of the Hub's specification (huggingface/hub-docs, datasetcard.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from asam_datasets.index import Index
from builder.card.terms import Terms, all_terms
from builder.core.errors import HubError
from builder.core.layout import DATA

# A thousand dataset_info entries take seconds to parse, and every load_dataset parses them.
MAX_INFO = 100
MIXED_LICENSE = "several-see-configs"
# https://huggingface.co/docs/hub/datasets-cards; upper bounds are exclusive.
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


def merge_metadata(
    existing: Mapping[str, Any],
    template: Mapping[str, Any],
    indexes: Sequence[Index],
    drop: Collection[str],
) -> dict[str, Any]:
    """Merge the entries of configs into a card's metadata.

    Keys and entries of other people stay. Entries of `indexes` are replaced. Entries of the
    project's configs come first, because datasets takes the format of a repo from its first config.

    Parameters
    ----------
    existing
        The card's metadata.
    template
        The metadata of the template. Its keys are added where the card does not have them.
    indexes
        The configs to describe.
    drop
        The names of configs to remove.

    Returns
    -------
    dict
        The new metadata.

    Raises
    ------
    HubError
        `configs` or `dataset_info` of the card is not a list of entries.
    """
    mine = {index.config for index in indexes}
    replaced = mine | set(drop)
    configs = [e for e in entries(existing, "configs") if e.get("config_name") not in replaced]
    infos = [e for e in entries(existing, "dataset_info") if e.get("config_name") not in replaced]
    shown = [index for index in indexes if index.splits]
    configs = sorted([*map(_config_entry, shown), *configs], key=_place)
    own = {entry["config_name"] for entry in configs if is_own(entry)}
    if len(own) <= MAX_INFO:
        infos = sorted([*map(_info_entry, shown), *infos], key=lambda e: _by_name(e, own))
    else:
        infos = [entry for entry in infos if entry.get("config_name") not in own]

    merged = {**template, **existing}
    for key in ("tags", "task_categories", "task_ids"):
        merged[key] = list(dict.fromkeys([*template[key], *_listed(existing.get(key))]))
    for key, value in (("configs", configs), ("dataset_info", infos)):
        merged.pop(key, None)
        if value:
            merged[key] = value
    return merged


def entries(metadata: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The entries of `configs` or `dataset_info` as a list, also if there is only one entry."""
    found = metadata.get(key) or []
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise HubError(
            f"README.md: expected {key} to be a list of entries, found {found!r}; correct it"
        )
    return found


def is_own(entry: Mapping[str, Any]) -> bool:
    """Whether a `configs` entry has its files in the folder where a dist has them."""
    folder = f"{DATA}/{entry.get('config_name')}/"
    paths = data_paths(entry)
    return bool(paths) and all(path.startswith(folder) for path in paths)


def data_paths(entry: Mapping[str, Any]) -> list[str]:
    """The patterns of a `configs` entry's data files."""
    found: list[str] = []
    for item in _listed(entry.get("data_files")):
        found += _listed(item.get("path")) if isinstance(item, dict) else [str(item)]
    return found


def size_category(rows: int) -> str:
    """The Hub's size category of a number of rows."""
    return next((name for limit, name in _SIZES if rows < limit), "1B<n<10B")


def license_keys(terms: Iterable[Terms], repo: str) -> dict[str, str]:
    """The card's licence keys for all terms of a repo.

    Without an identifier in the Hub's list, `license` is "other", and `license_name` and
    `license_link` are added.
    """
    found = list(dict.fromkeys((t.license, t.name, t.link) for t in terms))
    if len(found) != 1:
        link = f"https://huggingface.co/datasets/{repo}#configs"
        found = [("other", MIXED_LICENSE, link)]
    identifier, name, link = found[0]
    if identifier != "other":
        return {"license": identifier}
    return {"license": "other", "license_name": name or "unknown", "license_link": link}


def has_own_license(existing: Mapping[str, Any]) -> bool:
    """Whether a person wrote the card's licence. True if this project never writes that one."""
    if existing.get("license") is None:
        return False
    ours = {(of.license, of.name) for of in all_terms()} | {("other", MIXED_LICENSE)}
    found = existing.get("license"), existing.get("license_name")
    return found not in ours


def _config_entry(index: Index) -> dict[str, Any]:
    files = [
        {"split": split, "path": f"{DATA}/{index.config}/{split}-*.{index.format}"}
        for split in index.splits
    ]
    return {"config_name": index.config, "data_files": files}


def _info_entry(index: Index) -> dict[str, Any]:
    """Rows and bytes of each split. The features are not here but in the shards' schema."""
    splits = [
        {"name": name, "num_bytes": split.num_bytes, "num_examples": split.num_rows}
        for name, split in index.splits.items()
    ]
    sizes = {"download_size": index.num_bytes, "dataset_size": index.num_bytes}
    return {"config_name": index.config, "splits": splits, **sizes}


def _place(entry: Mapping[str, Any]) -> tuple[int, bool, str]:
    name = str(entry.get("config_name"))
    return (0, not name.startswith("sa_"), name) if is_own(entry) else (1, False, "")


def _by_name(entry: Mapping[str, Any], own: Collection[str]) -> tuple[int, bool, str]:
    name = str(entry.get("config_name"))
    return (0, not name.startswith("sa_"), name) if name in own else (1, False, "")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):  # data_files: {split: path}
        return [path for paths in value.values() for path in _listed(paths)]
    return list(value) if isinstance(value, list) else [] if value is None else [value]
