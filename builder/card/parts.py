"""The parts of a card that this project writes: regions between marks, and entries of the YAML.

A region is between `<!-- asam-datasets:begin NAME -->` and `<!-- asam-datasets:end NAME -->`. The
YAML's lists `configs` and `dataset_info` have an entry for each config. All other text of a card
belongs to the people who wrote it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from asam_datasets.names import CONFIG_NAME
from builder.card.metadata import LICENCE_KEYS, entries, has_own_license, is_own
from builder.core.errors import HubError
from builder.core.files import sha256_json
from builder.core.layout import CARD

REGION = re.compile(
    r"<!-- asam-datasets:begin (\w+) -->\r?\n(.*?)<!-- asam-datasets:end \1 -->", re.DOTALL
)
LICENCE = "licence"
_MARK = re.compile(r"<!-- asam-datasets:(begin|end) (\w+) -->")


@dataclass(frozen=True, slots=True)
class Parts:
    """The checksums of the parts that this project writes.

    Parameters
    ----------
    regions
        The sha256 of each region's text with its marks, by name. `LICENCE` is the name of the
        YAML's keys of the licence, unless a person wrote them.
    configs
        For each config whose files are in its own folder of the repo, the sha256 of its entries in
        the YAML. It doesn't depend on the order of keys or on how the YAML is written.
    listed
        All entries of the YAML's `configs`, also those that others wrote.
    """

    regions: Mapping[str, str]
    configs: Mapping[str, str]
    listed: tuple[Mapping[str, Any], ...]


def read_parts(text: str) -> Parts:
    """Read the parts of a card.

    Parameters
    ----------
    text
        The card with its line ends as they are in the file.

    Raises
    ------
    HubError
        Its YAML or its marks can't be read.
    """
    data = metadata(read_card(text))
    regions(text)
    listed = entries(data, "configs")
    names = {str(entry["config_name"]) for entry in listed if is_own(entry)}
    own = sorted(name for name in names if CONFIG_NAME.fullmatch(name))
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in own}
    for key in ("configs", "dataset_info"):
        for entry in entries(data, key):
            if (name := str(entry.get("config_name"))) in found:
                found[name].setdefault(key, []).append(entry)
    try:
        configs = {name: sha256_json(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:  # YAML has dates and numbers that JSON doesn't have
        raise HubError(
            f"{CARD}: an entry of its YAML can't be read: {error}; correct it"
        ) from error
    texts = {match[1]: match[0].encode() for match in REGION.finditer(text)}
    sums = {name: hashlib.sha256(region).hexdigest() for name, region in texts.items()}
    if data.get("license") is not None and not has_own_license(data):
        sums[LICENCE] = sha256_json({key: data.get(key) for key in LICENCE_KEYS})
    return Parts(sums, configs, tuple(listed))


def decode_card(content: bytes, where: str) -> str:
    """The text of a card, with "\\n" at the ends of its lines.

    Parameters
    ----------
    content
        The file's bytes.
    where
        The file, for the message.

    Raises
    ------
    HubError
        It is not UTF-8.
    """
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise HubError(
            f"{where}: expected UTF-8, found the byte 0x{content[error.start]:02x} at "
            f"{error.start}; save it as UTF-8, or remove it"
        ) from error


def read_entries(text: str) -> list[dict[str, Any]]:
    """The `configs` entries of a card; raises HubError when its YAML can't be read."""
    return entries(metadata(read_card(text)), "configs")


def read_card(text: str) -> DatasetCard:
    """Parse a card, whose YAML may be absent; raises HubError when it can't be read.

    Aliases of YAML are refused. A few lines of them stand for more entries than any memory holds.
    """
    found = REGEX_YAML_BLOCK.search(text)
    try:
        if found and _has_alias(found[2]):
            raise ValueError("an alias (*name), which must be written out")
        # Without a block, huggingface_hub would print a warning.
        return DatasetCard(text if found else f"---\n{{}}\n---\n{text}")
    except Exception as error:  # huggingface_hub passes on the errors of the YAML library
        raise HubError(
            f"{CARD}: its YAML can't be read: {error}; correct it, or remove it"
        ) from error


def _has_alias(block: str) -> bool:
    if "&" not in block or "*" not in block:  # parsing the card of a thousand configs takes seconds
        return False
    events = yaml.parse(block, yaml.SafeLoader)
    return any(isinstance(event, yaml.AliasEvent) for event in events)


def metadata(card: DatasetCard) -> dict[str, Any]:
    """The card's YAML as plain values."""
    data: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    return data


def regions(text: str) -> dict[str, str]:
    """The text of each region without its marks, by name.

    Raises
    ------
    HubError
        A mark has no partner, or a region is there twice.
    """
    found = {match[1]: match[2] for match in REGION.finditer(text)}
    marks = Counter(_MARK.findall(text))
    for kind, name in marks:
        if name not in found or marks["begin", name] != 1 or marks["end", name] != 1:
            raise HubError(
                f"{CARD}: the mark asam-datasets:{kind} {name} has no partner, or there are two of "
                "it; correct the marks, or delete the region and both its marks"
            )
    return found
