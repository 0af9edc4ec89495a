"""plan.json is beside a config's receipts. It holds the settings and the source of the build.

A build resumes a config only if both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asam_datasets.contract import Node, read_document, signed
from asam_datasets.errors import ContractError
from asam_datasets.index import FORMAT_VERSION, source_from_json
from builder.core.files import read_file, write_json
from builder.core.layout import PLAN, receipts_folder


@dataclass(frozen=True, slots=True)
class State:
    """The settings and the source of a build.

    Parameters
    ----------
    settings
        The build's settings as JSON values.
    source
        The fingerprint of the source.
    """

    settings: Mapping[str, Any]
    source: Mapping[str, Any]

    @classmethod
    def from_json(cls, node: Node) -> State:
        """Check a document whose checksum is right, and read it; raises ContractError."""
        return cls(node["settings"].mapping(), source_from_json(node["source"]))

    def to_json(self) -> dict[str, Any]:
        """As the file holds it, with its checksum."""
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "settings": dict(self.settings),
                "source": dict(self.source),
            }
        )


def state_path(dist: Path, config: str) -> Path:
    """The path of a config's state."""
    return receipts_folder(dist, config) / PLAN


def write_state(dist: Path, config: str, state: State) -> None:
    """Write a config's state atomically."""
    write_json(state_path(dist, config), state.to_json(), indent=2)


def read_state(dist: Path, config: str) -> State | None:
    """Read a config's state; None if there is none.

    Raises
    ------
    ContractError
        It is damaged, or has format 1.
    """
    path = state_path(dist, config)
    content = read_file(path)
    if content is None:
        return None
    node, version = read_document(content, str(path), FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ContractError(f"{path} is of format {version}, expected {FORMAT_VERSION}")
    return State.from_json(node)
