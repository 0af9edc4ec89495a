"""What stands at the top: the card, the loading code, the pictures, and the manifest of them.

A maintainer's own text in the card is not checked: the manifest has no checksum of it. Whoever
publishes a repo also writes its manifest. So the checks show that the loading code is the one that
the manifest states, not that this project wrote it, or that it is safe to run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from builder.card.metadata import data_paths
from builder.card.parts import LICENCE, Parts, decode_card, read_parts
from builder.checking.problem import Problem, reason
from builder.checking.tree import Tree
from builder.core.errors import ContractError, HubError
from builder.core.layout import (
    ASSETS,
    CARD,
    DATA,
    INDEX,
    MANIFEST,
    SCRIPT,
    SHARD_NAME,
    picture_name,
)
from builder.core.manifest import Manifest, parse_manifest

# Other files from which load_dataset takes what there is.
_TAKEN = (".huggingface.yaml", "dataset_infos.json", "state.json")
# Names that datasets takes for the files of a split where the card names no files, and its shards.
_SPLIT_FILE = re.compile(
    r"(train(ing)?|valid(ation)?|val|dev|test(ing)?|eval(uation)?)([-._ \d].*)?"
    r"|.*\.(arrow|parquet)"
)


def check_top(
    tree: Tree, only: Collection[str] | None = None, named: Sequence[str] = ()
) -> Iterator[Problem]:
    """What is wrong at the top of a dist or a repo, one problem for each fault.

    Parameters
    ----------
    tree
        Its files.
    only
        Configs to keep to: pictures and card entries of others are not checked then.
    named
        The paths of the shards that the indexes name. If one is missing, the check of the shard
        says so, and the card's pattern for it is not said to match nothing.
    """
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(tree)
    except ContractError as error:
        yield Problem(
            None, f"it can't be used: {reason(error, MANIFEST)}; {_again(tree)}", MANIFEST
        )
    else:
        if manifest is None:
            what = "there is none, so nothing says what card, script and pictures should be"
            yield Problem(None, f"{what}; {_again(tree)}", MANIFEST)
    yield from _check_card(tree, manifest, only, named)
    if manifest:
        yield from _check_files(tree, manifest, only)
    yield from _check_strays(tree, only)


def read_manifest(tree: Tree) -> Manifest | None:
    """The manifest, or None where there is none; raises ContractError where it can't be used."""
    if tree.size(MANIFEST) is None:
        return None
    return parse_manifest(tree.read(MANIFEST), f"{tree.name}/{MANIFEST}")


def _check_files(tree: Tree, manifest: Manifest, only: Collection[str] | None) -> Iterator[Problem]:
    """The script and the pictures. A script of any version will do if it is the stated one."""
    wanted = None if only is None else {SCRIPT, *map(picture_name, only)}
    for path, sha256 in manifest.files.items():
        if wanted is not None and path not in wanted:
            continue
        if tree.size(path) is None:
            yield Problem(None, f"{MANIFEST} names it, and there is no such file", path)
        elif (found := tree.sha256(path)) != sha256:
            what = f"expected sha256 {sha256}, found {found}; {_again(tree)}"
            yield Problem(None, what, path)
    unnamed = SCRIPT not in manifest.files and tree.size(SCRIPT) is not None
    if unnamed and f"{tree.own}.py" != SCRIPT:
        yield Problem(None, f"{MANIFEST} doesn't name it, but users run it", SCRIPT)
    for path in (f"{ASSETS}/{name}" for name in tree.names(ASSETS)):
        if path not in manifest.files and (wanted is None or path in wanted):
            yield Problem(None, f"{MANIFEST} doesn't name it; move it to another folder", path)


def _check_card(
    tree: Tree, manifest: Manifest | None, only: Collection[str] | None, named: Sequence[str]
) -> Iterator[Problem]:
    if tree.size(CARD) is None:
        what = f"there is none, so load_dataset knows no config; {_again(tree)}"
        yield Problem(None, what, CARD)
        return
    try:
        content = tree.read(CARD)
        decode_card(content, CARD)
        parts = read_parts(content.decode())  # with its line ends, which the checksums include
    except (ContractError, HubError) as error:
        yield Problem(None, f"it can't be read: {reason(error, CARD)}", CARD)
        return
    stated = manifest or Manifest({}, parts.regions, parts.configs)
    found = dict(parts.regions)
    if LICENCE not in stated.regions:  # a person's, or from before manifests stated it
        found.pop(LICENCE, None)
    if differing := _differing(stated.regions, found):
        names = ", ".join(differing)
        what = f"what the builder wrote in it has changed: {names}; {_again(tree)}"
        yield Problem(None, what, CARD)
    wrong = _differing(stated.configs, parts.configs)
    for config in wrong:
        if only is None or config in only:
            what = f"the card's entries for it are absent or have changed; {_again(tree)}"
            yield Problem(config, what, CARD)
    yield from _check_entries(tree, parts, only, wrong, named)


def _check_entries(
    tree: Tree,
    parts: Parts,
    only: Collection[str] | None,
    wrong: Collection[str],
    named: Sequence[str],
) -> Iterator[Problem]:
    """Configs without an entry, and file patterns that match nothing, which break loading."""
    for config in tree.configs if only is None else only:
        if config not in parts.configs and config not in wrong and _has_rows(tree, config):
            yield Problem(config, "the card's configs lack it", CARD)
    for entry in parts.listed:
        name = str(entry.get("config_name"))
        if name in wrong or (only is not None and name not in only and name in parts.configs):
            continue
        for pattern in data_paths(entry):
            if not tree.matches(pattern) and not any(fnmatchcase(n, pattern) for n in named):
                yield Problem(name, f"{pattern} matches no file of {tree.what}", CARD)


def _check_strays(tree: Tree, only: Collection[str] | None) -> Iterator[Problem]:
    """Files that nobody names and that a reader takes."""
    top = tree.names("")
    if (script := f"{tree.own}.py") in top:
        what = f"load_dataset takes it for the script of {tree.what}, and datasets 4 refuses it"
        yield Problem(None, what, script)
    for name in _TAKEN:
        if name in top:
            yield Problem(
                None, "no part of it, but load_dataset believes it; move it elsewhere", name
            )
    for folder, prefix in (("", ""), (DATA, f"{DATA}/")):
        for name in filter(_SPLIT_FILE.fullmatch, tree.names(folder)):
            what = "no part of it, but load_dataset may read it as rows; move it elsewhere"
            yield Problem(None, what, prefix + name)
    formats = set()
    for config in tree.folders:
        names = tree.names(f"{DATA}/{config}")
        formats |= {match["format"] for name in names if (match := SHARD_NAME.fullmatch(name))}
        if only is None and config not in tree.configs and any(map(SHARD_NAME.fullmatch, names)):
            what = f"it holds shards and no {INDEX}: its build did not end, or refused its rejects"
            yield Problem(config, f"{what}; {_again(tree)}")
    if len(formats) > 1:
        yield Problem(None, f"Arrow and Parquet shards: {tree.what} must have one format")


def _has_rows(tree: Tree, config: str) -> bool:
    return any(map(SHARD_NAME.fullmatch, tree.names(f"{DATA}/{config}")))


def _differing(stated: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return sorted(k for k in stated.keys() | found.keys() if stated.get(k) != found.get(k))


def _again(tree: Tree) -> str:
    return f"{tree.remedy} it again"
