"""The card's YAML. It is made from the indexes and merged with the entries of other people.

The keys are those of the Hub's specification (huggingface/hub-docs, datasetcard.md).
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from asam_datasets.index import Index
from builder.card.terms import Terms, all_terms
from builder.core.errors import HubError
from builder.core.layout import CARD, DATA

# A thousand dataset_info entries take seconds to parse, and every load_dataset parses them.
MAX_INFO = 100
LICENCE_KEYS = ("license", "license_name", "license_link")
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
        A field of the card that this project merges into is not what the Hub expects there.
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
        merged[key] = list(dict.fromkeys([*template[key], *_words(existing, key)]))
    for key, value in (("configs", configs), ("dataset_info", infos)):
        merged.pop(key, None)
        if value:
            merged[key] = value
    return merged


def entries(metadata: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The entries of `configs` or `dataset_info` as a list, also if there is only one entry.

    Maintainers edit them. All that this project reads of an entry is checked here.

    Raises
    ------
    HubError
        A field is of another kind than datasets expects. The message names it.
    """
    found = metadata.get(key) or []
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list):
        _fail(key, "a list of entries", found)
    for number, entry in enumerate(listed):
        where = f"{key}[{number}]"
        if not isinstance(entry, dict):
            _fail(where, "an entry of fields", entry)
        name = entry.get("config_name")
        if not isinstance(name, str) and (key == "configs" or name is not None):
            _fail(f"{where}.config_name", "a string", name)
        if key == "configs":
            data_files(entry, f"{where}.data_files")
    return listed


def is_own(entry: Mapping[str, Any]) -> bool:
    """Whether a `configs` entry has its files in the folder where a dist has them."""
    folder = f"{DATA}/{entry.get('config_name')}/"
    paths = data_paths(entry)
    return bool(paths) and all(path.startswith(folder) for path in paths)


def data_paths(entry: Mapping[str, Any]) -> list[str]:
    """The patterns of a `configs` entry's data files."""
    return [path for _, paths in data_files(entry) for path in paths]


def data_files(
    entry: Mapping[str, Any], where: str = "configs.data_files"
) -> list[tuple[str, list[str]]]:
    """The splits of a `configs` entry, each with the patterns of its files.

    Parameters
    ----------
    entry
        The entry. It may name one pattern, a list of them, or a split and a path in each item.
    where
        The field's place, for messages.

    Raises
    ------
    HubError
        The field is none of these.
    """
    items = entry.get("data_files")
    if isinstance(items, dict) and "path" not in items:
        items = [{"split": split, "path": path} for split, path in items.items()]
    found: list[tuple[str, list[str]]] = []
    for item in _listed(items):
        fields = item if isinstance(item, dict) else {"split": "train", "path": item}
        split, path = fields.get("split"), fields.get("path")
        paths: list[Any] = path if isinstance(path, list) else [path]
        if not isinstance(split, str) or not all(isinstance(one, str) for one in paths):
            _fail(where, "patterns of files, or items of a split and a path", item)
        found.append((split, paths))
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
    ours = [("other", MIXED_LICENSE), *((of.license, of.name) for of in all_terms())]
    found = existing.get("license"), existing.get("license_name")
    return found not in ours  # a list, because the Hub takes several licences, too


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
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _words(metadata: Mapping[str, Any], key: str) -> list[str]:
    found = _listed(metadata.get(key))
    if not all(isinstance(word, str) for word in found):
        _fail(key, "a list of words", metadata[key])
    return found


def _fail(where: str, expected: str, found: Any) -> NoReturn:
    raise HubError(f"{CARD}: {where}: expected {expected}, found {reprlib.repr(found)}; correct it")
