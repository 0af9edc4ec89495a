"""manifest.json, at the top of a dist and of its repo: what else is there beside the configs.

It states the checksums of the loading code, of the pictures and of the card's generated parts.
What a config holds is in its index.json.

The checksums find damage. They say nothing of who wrote a file: the manifest of someone else's dist
vouches for that person's loading code, which need not be this project's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import builder
from asam_datasets.contract import Node, read_document, signed
from asam_datasets.errors import ContractError
from asam_datasets.index import FORMAT_VERSION
from asam_datasets.names import CONFIG_NAME
from builder.core.files import dump_json
from builder.core.layout import ASSETS, SCRIPT

_FILE = re.compile(rf"{re.escape(SCRIPT)}|{ASSETS}/{CONFIG_NAME.pattern}\.jpg")
_REGION_NAME = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands at the top of a dist, by sha256.

    Parameters
    ----------
    files
        The loading code and the pictures, by their path in the dist.
    regions, configs
        The card's generated regions, and its entries for each config; builder.card.parts says
        what the sums are made of. A maintainer's own text in the card is in none of them.
    code_version
        The version of the project that wrote the manifest. The loading code has a version of its
        own, and may be of another one.
    """

    files: Mapping[str, str]
    regions: Mapping[str, str]
    configs: Mapping[str, str]
    code_version: str = builder.__version__

    def to_json(self) -> dict[str, Any]:
        """As the file holds it, with its checksum."""
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "code_version": self.code_version,
                "files": dict(sorted(self.files.items())),
                "card": {
                    "regions": dict(sorted(self.regions.items())),
                    "configs": dict(sorted(self.configs.items())),
                },
            }
        )

    def content(self) -> bytes:
        """The bytes of the file."""
        return dump_json(self.to_json(), indent=2)


def parse_manifest(content: bytes, name: str) -> Manifest:
    """The manifest that a file holds.

    Parameters
    ----------
    content
        The file's bytes.
    name
        Where the file is, for messages.

    Raises
    ------
    ContractError
        It is damaged, of another format, or no manifest.
    """
    node, version = read_document(content, name, FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ContractError(f"{name} is of format {version}, expected {FORMAT_VERSION}")
    card = node["card"]
    return Manifest(
        files=_sums(node["files"], _FILE, f"{SCRIPT} or a picture in {ASSETS}/"),
        regions=_sums(card["regions"], _REGION_NAME, "the name of a region"),
        configs=_sums(card["configs"], CONFIG_NAME, "the name of a config"),
        code_version=node["code_version"].text(),
    )


def _sums(node: Node, pattern: re.Pattern[str], expected: str) -> dict[str, str]:
    for key in node.mapping():
        Node(node.file, node.path, key).text(pattern, expected)
    return {key: member.sha256() for key, member in node.members().items()}
