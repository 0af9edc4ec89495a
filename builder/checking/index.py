"""Are a config's index, receipts, rejects and files what they should be?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from asam_datasets.index import FORMAT_VERSION, Index, parse_index
from asam_datasets.schema import features_of
from asam_datasets.shards import Shard
from builder.checking.problem import Problem, reason
from builder.checking.tree import Tree
from builder.core.errors import ContractError
from builder.core.layout import DATA, INDEX, PLAN, REJECTS, receipts_folder
from builder.core.rejects import count_reasons, read_rejects
from builder.shards.receipt import COUNTED, read_receipt
from builder.shards.state import State, read_state


def check_config(tree: Tree, config: str) -> tuple[list[Problem], Index | None]:
    """Check what a config holds beside its shards.

    Parameters
    ----------
    tree
        The files.
    config
        The config's name.

    Returns
    -------
    list of Problem, Index or None
        What is wrong with the index, the rejects table, the receipts and the config's folder, one
        problem for each fault; and the index, None where it can't be used.
    """
    path = f"{DATA}/{config}/{INDEX}"
    try:
        index = parse_index(tree.read(path), f"{tree.name}/{path}", config)
    except ContractError as error:
        what = f"its index can't be used: {reason(error, path)}; {tree.remedy} it again"
        return [Problem(config, what, INDEX)], None
    return list(_check_index(tree, index)), index


def check_stated(tree: Tree, config: str, shard: Shard, *, hashed: bool = True) -> Problem | None:
    """Compare a shard's size, and its sha256 if `hashed`, with what the index says of them."""
    path = f"{DATA}/{config}/{shard.file}"
    size = tree.size(path)
    if size is None:
        what = f"expected {shard.bytes} bytes, found no file"
    elif size != shard.bytes:
        what = f"expected {shard.bytes} bytes, found {size}"
    elif hashed and (found := tree.sha256(path)) != shard.sha256:
        what = f"expected sha256 {shard.sha256}, found {found}"
    else:
        return None
    return Problem(config, what, shard.file)


def _check_index(tree: Tree, index: Index) -> Iterator[Problem]:
    config = index.config
    if index.format_version < FORMAT_VERSION:
        what = f"its index is of format {index.format_version}; {tree.remedy} it again"
        yield Problem(config, what)
    if index.features != features_of(index.kind):
        yield Problem(config, f"its index states other columns than those of kind {index.kind}")
    yield from _check_rejects(tree, index)
    named = {shard.file for shard in index.shards}
    for name in tree.names(f"{DATA}/{config}"):
        if name not in named and _is_data(name, index):
            yield Problem(config, "no part of the index, but load_dataset may read it", name)
    if tree.dist and receipts_folder(tree.dist, config).is_dir():  # not in a published copy
        yield from _check_receipts(tree.dist, index)
        yield from _check_state(tree.dist, index)


def _check_receipts(dist: Path, index: Index) -> Iterator[Problem]:
    """Receipts that are absent, damaged, or say something else than the index."""
    layout = index.layout if index.format == "arrow" else None
    made = index.source, index.settings_sha256
    counts: Counter[str] = Counter()
    whole = True
    for split in index.splits.values():
        for shard in split.shards:
            try:
                receipt = read_receipt(dist, index.config, shard.file, layout)
            except ContractError as error:
                whole = False
                what = f"its receipt can't be used: {reason(error, f'{shard.file}.json')}"
                yield Problem(index.config, f"{what}; build it again", shard.file)
                continue
            if receipt is None:
                whole = False
                yield Problem(index.config, "it has no receipt", shard.file)
                continue
            counts.update(receipt.counts)
            if receipt.shard != shard or (receipt.source, receipt.settings_sha256) != made:
                yield Problem(index.config, "its receipt and the index differ", shard.file)
    stated = {name: getattr(index.counts, name) for name in COUNTED}
    found = {name: counts[name] for name in COUNTED}
    if whole and found != stated:
        yield Problem(index.config, f"its index counts {stated}, its receipts {found}")


def _check_state(dist: Path, index: Index) -> Iterator[Problem]:
    try:
        state = read_state(dist, index.config)
    except ContractError as error:
        yield Problem(
            index.config, f"it can't be used: {reason(error, PLAN)}; build it again", PLAN
        )
        return
    if state is None:
        yield Problem(index.config, "there is none beside the receipts; build it again", PLAN)
    elif state != State(index.settings, index.source):
        yield Problem(index.config, "it and the index differ; build it again", PLAN)


def _check_rejects(tree: Tree, index: Index) -> Iterator[Problem]:
    path = f"{DATA}/{index.config}/{REJECTS}"
    if tree.size(path) is None:
        yield Problem(index.config, "the index names it, and there is no such file", REJECTS)
        return
    if tree.sha256(path) != index.rejects.sha256:
        yield Problem(index.config, "it is not the one that the index names", REJECTS)
        return
    try:
        found = read_rejects(tree.read(path), f"{tree.name}/{path}")
    except ContractError as error:
        yield Problem(index.config, reason(error, path), REJECTS)
        return
    if len(found) != index.rejects.rows or count_reasons(found) != index.counts.rejects:
        yield Problem(index.config, "the index counts other rejects than it holds", REJECTS)


def _is_data(name: str, index: Index) -> bool:
    """Whether `load_dataset` takes a file of the config's folder for rows, or may do so."""
    return name.endswith((".arrow", ".parquet")) or name.startswith(tuple(index.splits))
