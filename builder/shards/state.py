"""plan.json is beside a config's receipts. It holds what the config's build was started with.

A build resumes a config only if settings and source are the same. Processes that build parts of a
config compare the whole plan. The index is made of it and the receipts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asam_datasets.contract import Node, read_document, signed
from asam_datasets.errors import ContractError
from asam_datasets.index import FORMAT_VERSION, source_from_json
from builder.core.files import create_json, read_file, write_json
from builder.core.layout import PLAN, SHARD_NAME, receipts_folder
from builder.core.records import Json, Listed
from builder.core.rejects import reject_from_json


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


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A config's plan without its items.

    Parameters
    ----------
    settings
        The build's settings as JSON values.
    kind
        "train" or "eval".
    listed
        What the listing of the source says.
    shards
        The sha256 of each shard's plan, by the shard's file name, in order.
    """

    settings: Mapping[str, Any]
    kind: str
    listed: Listed
    shards: Mapping[str, str]

    @property
    def state(self) -> State:
        """The settings and the source."""
        return State(self.settings, self.listed.fingerprint)

    @classmethod
    def from_json(cls, node: Node) -> StoredPlan:
        """Check a document whose checksum is right, and read it; raises ContractError."""
        state = State.from_json(node)
        if "plan" not in node.mapping():
            raise ContractError(
                f"{node.file} was written by an earlier version, without the plan: run the "
                "command that built the config again"
            )
        plan = node["plan"]
        listed = plan["listed"]
        for name, sha256 in plan["shards"].members().items():
            Node(node.file, "plan.shards", name).text(SHARD_NAME, "names of shards")
            sha256.sha256()
        masks = listed["masks"]
        return cls(
            settings=state.settings,
            kind=plan["kind"].choice("train", "eval"),
            listed=Listed(
                items=listed["items"].integer(0),
                fingerprint=state.source,
                rejects=tuple(reject_from_json(item) for item in listed["rejects"].items()),
                notes=tuple(item.text() for item in listed["notes"].items()),
                warnings=tuple(item.text() for item in listed["warnings"].items()),
                records=listed["records"].integer(0),
                captions=listed["captions"].integer(0),
                masks=None if masks.value is None else masks.integer(0),
            ),
            shards=plan["shards"].mapping(),
        )

    def to_json(self) -> Json:
        """As the file holds it, with its checksum."""
        listed = asdict(self.listed)
        return signed(
            {
                "format_version": FORMAT_VERSION,
                "settings": dict(self.settings),
                "source": dict(listed.pop("fingerprint")),
                "plan": {"kind": self.kind, "listed": listed, "shards": dict(self.shards)},
            }
        )


def state_path(dist: Path, config: str) -> Path:
    """The path of a config's plan."""
    return receipts_folder(dist, config) / PLAN


def write_plan(dist: Path, config: str, plan: StoredPlan) -> None:
    """Write a config's plan atomically."""
    write_json(state_path(dist, config), plan.to_json(), indent=2)


def create_plan(dist: Path, config: str, plan: StoredPlan) -> bool:
    """Write a config's plan unless there is one; returns whether it was written."""
    return create_json(state_path(dist, config), plan.to_json(), indent=2)


def read_state(dist: Path, config: str) -> State | None:
    """Read the settings and the source from a config's plan; None if there is none.

    Raises
    ------
    ContractError
        It is damaged, or has format 1.
    """
    node = _read(dist, config)
    return None if node is None else State.from_json(node)


def read_plan(dist: Path, config: str) -> StoredPlan | None:
    """Read a config's whole plan; None if there is none.

    Raises
    ------
    ContractError
        It is damaged, or was written by an earlier version.
    """
    node = _read(dist, config)
    return None if node is None else StoredPlan.from_json(node)


def _read(dist: Path, config: str) -> Node | None:
    path = state_path(dist, config)
    content = read_file(path)
    if content is None:
        return None
    node, version = read_document(content, str(path), FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ContractError(f"{path} is of format {version}, expected {FORMAT_VERSION}")
    return node
