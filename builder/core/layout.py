"""The paths and file names of a dist.

A dist mirrors the dataset repo::

    README.md                                  the card
    asam_datasets.py                           the loading code
    assets/<config>.jpg                        a row as a picture, which the card shows
    manifest.json                              checksums of these three
    data/<config>/<split>-00000-of-00064.arrow the shards
    data/<config>/index.json                   what each shard holds
    data/<config>/rejects.jsonl                what could not be used
    .receipts/<config>/<shard>.json            local only, like all that starts with a dot
    .receipts/<config>/plan.json               what the config's build was started with
    .recaption/<config>/                       a config that is being made with other captions

In a config's folder only shards may have names that start with a split's name, because
`load_dataset` takes every such file for data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from asam_datasets.names import FORMATS as FORMATS
from asam_datasets.names import SPLIT_NAME as SPLIT_NAME
from asam_datasets.names import shard_name as shard_name

CARD = "README.md"
SCRIPT = "asam_datasets.py"
ASSETS = "assets"  # beside data/, so that no glob of a config sees it
MANIFEST = "manifest.json"
DATA = "data"
INDEX = "index.json"
REJECTS = "rejects.jsonl"
RECEIPTS = ".receipts"
PLAN = "plan.json"
CAPTIONS = ".captions"  # the captions that a build makes itself
TEMPORARY = ".tmp"
RECAPTION = ".recaption"

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # owner/name
SHARD_NAME = re.compile(
    r"(?P<split>\w+(\.\w+)*)-(?P<index>\d{5})-of-(?P<total>\d{5})\.(?P<format>arrow|parquet)"
)


def picture_name(config: str) -> str:
    """The path of a config's picture in the dist and in the repo."""
    return f"{ASSETS}/{config}.jpg"


def config_folder(dist: Path, config: str) -> Path:
    """Where a config's shards, index and rejects stand."""
    return dist / DATA / config


def index_path(dist: Path, config: str) -> Path:
    """A config's index."""
    return config_folder(dist, config) / INDEX


def rejects_path(dist: Path, config: str) -> Path:
    """A config's rejects table, JSON Lines."""
    return config_folder(dist, config) / REJECTS


def receipts_folder(dist: Path, config: str) -> Path:
    """A config's receipts; local only."""
    return dist / RECEIPTS / config


def temporary_folder(dist: Path, config: str) -> Path:
    """Where shards are written. It is on the dist's file system, so that renames are atomic."""
    return dist / TEMPORARY / config


def recaption_folder(dist: Path, config: str) -> Path:
    """Where a config is made with other captions. It is a dist that holds this config alone."""
    return dist / RECAPTION / config


def configs(dist: Path) -> list[str]:
    """The configs that have an index, by name."""
    return sorted(path.parent.name for path in (dist / DATA).glob(f"*/{INDEX}"))


def absent_configs(wanted: Iterable[str], known: Iterable[str], folders: Iterable[str]) -> str:
    """What a message says of configs that were asked for and have no index; empty if all have.

    Parameters
    ----------
    wanted
        The configs asked for.
    known
        Those that have an index.
    folders
        The names of the folders in data/.
    """
    absent = sorted(set(wanted) - set(known))
    if unfinished := sorted(set(absent) & set(folders)):
        return (
            f"{', '.join(unfinished)}: its build did not finish, or refused its rejects "
            f"({DATA}/{unfinished[0]}/{REJECTS}); run the same builder.build command again"
        )
    return f"no config {', '.join(absent)}; it holds {', '.join(sorted(known))}" if absent else ""
