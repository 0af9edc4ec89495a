"""A config as it was built before: its index, its rejects, its plan and its receipts.

The rejects table holds those of the listing first, then those of the captions, then those of the
records that were read. Only plan and receipts say which is which, and a published copy has neither.
There `divided` finds it out from the reasons and the rows.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from asam_datasets.contract import check_size
from asam_datasets.index import FORMAT_VERSION, Index, open_index
from asam_datasets.reading import Reader
from asam_datasets.schema import features_of
from asam_datasets.stores import Files, Hub
from builder.core.errors import ContractError, SettingsError, ShardError
from builder.core.layout import RECEIPTS, REJECTS, receipts_folder
from builder.core.records import Reject
from builder.core.rejects import RECORD, read_rejects, subject
from builder.shards.receipt import Receipt, read_receipt
from builder.shards.state import State, StoredPlan, read_plan

# The reasons of rejects that the listing of a tar or folder gives.
LISTED = frozenset(
    (
        *("name_too_long", "unsafe_member_name", "not_a_regular_file", "truncated_member"),
        *("link_in_a_circle", "link_outside", "link_to_nothing"),
        *("duplicate_image", "jpg_without_json", "json_without_jpg"),
    )
)
# Reasons of captioning that no record has, beside those that begin with "caption".
_OF_CAPTIONING = ("image_too_large", "image_undecodable", "unusable_file_name")
_SETTINGS = ("captions_sha256", "captions_model", "image_ids", "limit", "row_version", "encoders")


class Divided(NamedTuple):
    """A config's rejects by what gave them."""

    listed: tuple[Reject, ...]
    captions: tuple[Reject, ...]
    read: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A config as it was built before.

    Parameters
    ----------
    store
        Where it is.
    index
        Its index.
    rejects
        Its rejects table.
    plan, receipts
        Its plan, and its receipts by the shard's file name; None if they are not there or don't fit
        the index.
    why
        Why there are none.
    """

    store: Files | Hub
    index: Index
    rejects: Sequence[Reject]
    plan: StoredPlan | None
    receipts: Mapping[str, Receipt] | None
    why: str

    def names(self) -> Iterator[str]:
        """The file names of its rows. They are read as they are asked for."""
        index = self.index
        reader = Reader(self.store, index, ["file_name"], None)
        for shard in index.shards:
            if index.format == "parquet":
                batches = reader.read_parquet(index.path(shard), shard.rows)
            else:
                batches = (reader.read(place) for place in index.places([shard]))
            for batch in batches:
                yield from batch.column(0).to_pylist()

    def divided(self, names: Collection[str]) -> Divided:
        """Its rejects by what gave them; `names` are the file names of its rows."""
        if self.plan and self.receipts:
            listed = tuple(takewhile(_is_listed, self.plan.listed.rejects))
            read = (reject for receipt in self.receipts.values() for reject in receipt.rejects)
            return Divided(listed, self.plan.listed.rejects[len(listed) :], tuple(read))
        listed = tuple(takewhile(_is_listed, self.rejects))
        rest = tuple(self.rejects[len(listed) :])
        end = 0
        if self.index.settings["captions_sha256"] is not None:
            end = _end_of_captions(rest, names)
        return Divided(listed, rest[:end], rest[end:])


def read_earlier(store: Files | Hub, config: str) -> Earlier:
    """Read what is there of a config beside its shards, and check that it can get other captions.

    Raises
    ------
    SettingsError
        It has no captions because it is no train config, or it was built by an earlier version.
    AsamDatasetsError
        It is not there, can't be reached, or is damaged.
    """
    index = open_index(store, config, keep=False)
    _check(index)
    path = f"data/{config}/{REJECTS}"
    name = f"{store.name}/{path}"
    try:
        table = store.fetch(path, lambda size: check_size(size, name))
    except FileNotFoundError as error:
        raise ShardError(f"{name}: the index names it, and there is no such file") from error
    if (found := hashlib.sha256(table).hexdigest()) != index.rejects.sha256:
        raise ShardError(f"{name}: expected sha256 {index.rejects.sha256}, found {found}")
    plan, receipts, why = None, None, "a published copy has none"
    if isinstance(store, Files) and store.is_local:
        dist = Path(store.local(""))
        try:
            plan = _plan(dist, index)
            receipts = dict(_receipts(dist, index, plan))
        except (ContractError, ShardError) as error:
            plan, receipts, why = None, None, str(error)
    return Earlier(store, index, read_rejects(table, name), plan, receipts, why)


def of_captions_alone(reject: Reject) -> bool:
    """Whether no listing and no record gives a reject of this reason."""
    return reject.reason.startswith("caption") or reject.reason in _OF_CAPTIONING


def file_names(divided: Divided) -> set[str]:
    """The file names of the source's images that are no rows, as far as rejects name them.

    A json names its image by its own name. Members of other names that are paired by their number
    alone, such as sa_01.jpg and sa_1.json, are not found.
    """
    lonely = (reject for reject in divided.listed if reject.reason == "jpg_without_json")
    refused = (reject for reject in divided.read if subject(reject) == RECORD)
    return {f"{_stem(reject)}.jpg" for reject in (*lonely, *refused)}


def _check(index: Index) -> None:
    config = index.config
    if index.kind != "train" or index.settings.get("kind") != "sa1b":
        raise SettingsError(
            f"{index.name}: {config} is an evaluation config, which has no captions"
        )
    if index.format_version < FORMAT_VERSION or any(key not in index.settings for key in _SETTINGS):
        raise SettingsError(
            f"{index.name}: {config} was built by an earlier version: build it from its tar again"
        )
    if index.features != features_of(index.kind):
        raise SettingsError(
            f"{index.name}: {config} has other columns than a build makes, so it can't be made "
            "again with other captions"
        )


def _plan(dist: Path, index: Index) -> StoredPlan:
    plan = read_plan(dist, index.config)
    if plan is None:
        raise ShardError(f"there is no {RECEIPTS}/{index.config}/plan.json")
    if plan.state != State(index.settings, index.source):
        raise ShardError("its plan and its index differ")
    return plan


def _receipts(dist: Path, index: Index, plan: StoredPlan) -> Iterator[tuple[str, Receipt]]:
    """The receipts in the order of the index; raises ShardError for one that does not fit."""
    layout = index.layout if index.format == "arrow" else None
    for shard in index.shards:
        receipt = read_receipt(dist, index.config, shard.file, layout)
        if receipt is None:
            raise ShardError(f"{receipts_folder(dist, index.config)}: {shard.file} has no receipt")
        expected = (shard, index.settings_sha256, index.source, plan.shards.get(shard.file))
        found = (receipt.shard, receipt.settings_sha256, receipt.source, receipt.plan_sha256)
        if found != expected:
            raise ShardError(f"the receipt of {shard.file} and the index differ")
        yield shard.file, receipt


def _is_listed(reject: Reject) -> bool:
    return reject.reason in LISTED


def _end_of_captions(rejects: Sequence[Reject], names: Collection[str]) -> int:
    """How many rejects are those of the captions. Those of the records follow.

    Both may reject an image as no good JPEG. Each image that is no row has one reject as a record,
    and an image that is a row has none. So what is more than that is of the captions.
    """
    last = max((i for i, reject in enumerate(rejects, 1) if of_captions_alone(reject)), default=0)
    images = [_stem(reject) if subject(reject) == RECORD else None for reject in rejects]
    while last < len(rejects) and images[last] is not None:
        image = images[last]
        if f"{image}.jpg" not in names and image not in images[last + 1 :]:
            break
        last += 1
    return last


def _stem(reject: Reject) -> str:
    return posixpath.splitext(posixpath.basename(reject.member))[0]
