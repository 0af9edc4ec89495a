"""The readers under fuzz: what each is given, how it is damaged, and what must hold afterwards.

A target takes the bytes of one input. It returns if the input was accepted, and what came out of it
is right. It raises AsamDatasetsError if the input was refused. Anything else is a finding.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from asam_datasets import AsamDatasetsError, load
from asam_datasets.index import parse_index
from asam_datasets.rle import parse_rle
from builder.captioning.join import join_captions
from builder.card.top import write_top
from builder.checking.shards import ShardCheck, check_shard, plan_checks
from builder.checking.tree import Folder
from builder.core.layout import CARD, MANIFEST
from builder.core.manifest import parse_manifest
from builder.core.records import Source
from builder.core.rejects import read_rejects
from builder.masks.png import decode_png
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.shards.receipt import read_receipt
from builder.shards.state import read_state
from builder.sources import evaluation
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.sa1b import Sa1bSource, open_sources, read_image_ids
from campaigns.mutate import (
    PIXELS,
    mutate_bytes,
    mutate_card,
    mutate_json,
    mutate_lines,
    mutate_rle,
    mutate_signed,
    mutate_tar,
)
from tests.factory import members, write_folder, write_tar

Mutate = Callable[[bytes, random.Random], bytes]
CONFIG = "sa_000000"
SHARD = f"data/{CONFIG}/train-00000-of-00001.arrow"


class Wrong(Exception):
    """An accepted input that gave something wrong."""


@dataclass(frozen=True, slots=True)
class Target:
    """A reader and its inputs.

    Parameters
    ----------
    seeds
        Valid inputs, which are damaged.
    mutate
        Makes an input of a seed.
    read
        Takes an input, as the module's docstring says.
    """

    seeds: tuple[bytes, ...]
    mutate: Mutate
    read: Callable[[bytes], object]


def rle(scratch: Path) -> Target:
    """Compressed RLE strings, against a decoder that is written from COCO's format alone."""

    def read(data: bytes) -> None:
        runs = parse_rle([data], PIXELS)
        if (expected := plain_runs(data, PIXELS)) is None:
            if not runs.problems:
                raise Wrong("accepted, and the plain decoder refuses it")
            raise AsamDatasetsError(str(runs.problems))
        if runs.problems:
            raise Wrong(f"refused with {runs.problems}, and the plain decoder accepts it")
        if [*zip(runs.starts.tolist(), runs.ends.tolist(), strict=True)] != expected:
            raise Wrong("other runs than the plain decoder's")

    return Target((b"%d" % PIXELS,), mutate_rle, read)


def plain_runs(data: bytes, pixels: int) -> list[tuple[int, int]] | None:
    """The runs of ones of a compressed RLE, a character at a time; None if it is not valid."""
    counts: list[int] = []
    value = shift = 0
    for at, byte in enumerate(data):
        code = byte - 48
        if not 0 <= code < 64 or shift >= 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            if at == len(data) - 1:
                return None
            continue
        value -= (code & 16 and 1) << shift
        value += counts[-2] if len(counts) > 2 else 0
        if not 0 <= value <= pixels:
            return None
        counts.append(value)
        value = shift = 0
    if sum(counts) != pixels:
        return None
    ends = np.cumsum(counts).tolist()
    return [(ends[i] - counts[i], ends[i]) for i in range(1, len(counts), 2) if counts[i]]


def tar(scratch: Path) -> Target:
    """Tars: headers whose checksum fits, moved blocks, damaged bytes."""
    path = scratch / f"{CONFIG}.tar"
    whole = write_tar(path, members([1, 2, 3])).read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        (source,) = open_sources([str(path)], allow_truncated=True)
        read_all(source)

    return Target((whole,), mutate_tar, read)


def record(scratch: Path) -> Target:
    """SA-1B's json beside a whole jpg."""
    files = members([1])
    folder = write_folder(scratch / CONFIG, files)
    (source,) = open_sources([str(folder)])

    def read(data: bytes) -> None:
        (folder / "sa_1.json").write_bytes(data)
        read_all(source)

    return Target((files["sa_1.json"],), mutate_json, read)


def read_all(source: Source) -> None:
    """Read every item; an accepted row's masks are those of its RLE, and something was kept."""
    listing = source.listing()
    kept = 0
    with source.open() as reader:
        for item in listing.items:
            outcome = reader.read(item)
            json.dumps([str(reject) for reject in outcome.rejects])
            if outcome.row is None:
                if not outcome.rejects:
                    raise Wrong(f"{item.key}: no row and no reject")
                continue
            kept += 1
            for mask, annotation in zip(
                outcome.row["masks"], outcome.row["annotations"], strict=True
            ):
                expected = coco.decode(annotation["segmentation"]).astype(bool)
                if not np.array_equal(decode_png(mask["bytes"]), expected):
                    raise Wrong(f"{item.key}: a PNG that is not its RLE's mask")
    if not kept:
        raise AsamDatasetsError("no row")


def captions(scratch: Path) -> Target:
    """Captions files, joined to a source."""
    files = members([1, 2, 3])
    (source,) = open_sources([str(write_folder(scratch / CONFIG, files))])
    lines = "".join(f'{{"img": "sa_{i}.jpg", "prompt": "a street {i}"}}\n' for i in (1, 2, 3))
    path = scratch / "captions.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        joined: Sa1bSource = join_captions(source, path)
        json.dumps([str(reject) for reject in joined.caption_rejects])

    return Target((lines.encode(),), mutate_lines, read)


def image_ids(scratch: Path) -> Target:
    """Lists of image ids."""
    path = scratch / "ids.txt"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        if not all(number >= 0 for number in read_image_ids(str(path))):
            raise Wrong("a negative id")

    seed = "".join(f"sa_{number}.jpg\n{number + 1}\n" for number in range(1, 99, 7)).encode()
    return Target((seed,), mutate_bytes, read)


def releases(scratch: Path) -> Target:
    """Each evaluation release's fixture, with one of its files damaged.

    An input's first bytes choose release, protocol and file; the rest is the file's content.
    """
    places: list[tuple[str, str, Path]] = []
    for row in evaluation.table.rows():
        root = write_fixture(row.name, scratch)
        files = sorted(p for p in root.rglob("*") if p.is_file() and p.stat().st_size)
        places += [(row.name, protocol, path) for protocol in row.protocols for path in files]
    whole = {path: path.read_bytes() for _, _, path in places}
    roots = {row.name: scratch / row.name for row in evaluation.table.rows()}

    def mutate(_: bytes, chance: random.Random) -> bytes:
        number = chance.randrange(len(places))
        data = whole[places[number][2]]
        change = mutate_json if data[:1] in b"{[" else mutate_bytes
        return number.to_bytes(4, "big") + change(data, chance)

    def read(data: bytes) -> None:
        name, protocol, path = places[int.from_bytes(data[:4], "big")]
        path.write_bytes(data[4:])
        try:
            read_all(evaluation.open_source(name, protocol, roots[name]))
        finally:
            path.write_bytes(whole[path])

    return Target((b"",), mutate, read)


def index(scratch: Path) -> Target:
    """Indexes with a checksum that fits; rows of an accepted one are the config's or refused."""
    dist = small_dist(scratch)
    path = dist / f"data/{CONFIG}/index.json"

    def read(data: bytes) -> None:
        parse_index(data, "index.json", CONFIG)
        path.write_bytes(data)
        for row in load(CONFIG, repo_or_path=dist, streaming=True):
            len(row)

    return Target((path.read_bytes(),), mutate_signed, read)


def shard(scratch: Path) -> Target:
    """Damaged shards: a stream and a checked mapping refuse or give the right rows."""
    dist = small_dist(scratch)
    path = dist / SHARD
    expected = list(load(CONFIG, repo_or_path=dist, streaming=True))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        if data != target.seeds[0] and not any(verify(dist, fast=True)):
            raise Wrong("verify finds nothing")
        if list(load(CONFIG, repo_or_path=dist, streaming=True)) != expected:
            raise Wrong("other rows")

    target = Target((path.read_bytes(),), mutate_bytes, read)
    return target


def receipt(scratch: Path) -> Target:
    """Receipts and the state beside them."""
    dist = small_dist(scratch)
    index = parse_index((dist / f"data/{CONFIG}/index.json").read_bytes(), "", CONFIG)
    file = Path(SHARD).name
    folder = dist / ".receipts" / CONFIG
    paths = [folder / f"{file}.json", folder / "plan.json"]

    def read(data: bytes) -> None:
        at = data[0] % 2
        paths[at].write_bytes(data[1:])
        if at:
            read_state(dist, CONFIG)
        else:
            read_receipt(dist, CONFIG, file, index.layout)

    def mutate(data: bytes, chance: random.Random) -> bytes:
        return data[:1] + mutate_signed(data[1:], chance)

    seeds = tuple(bytes([i]) + path.read_bytes() for i, path in enumerate(paths))
    return Target(seeds, mutate, read)


def manifest(scratch: Path) -> Target:
    """Manifests."""
    seed = (small_dist(scratch) / MANIFEST).read_bytes()
    return Target((seed,), mutate_signed, lambda data: parse_manifest(data, MANIFEST))


def rejects(scratch: Path) -> Target:
    """Tables of rejects."""
    seed = (small_dist(scratch) / f"data/{CONFIG}/rejects.jsonl").read_bytes()
    return Target((seed,), mutate_lines, lambda data: read_rejects(data, "rejects.jsonl"))


def card(scratch: Path) -> Target:
    """Cards: verify names what is wrong, and a build refuses or writes a card that passes."""
    dist = small_dist(scratch)
    path = dist / CARD

    def read(data: bytes) -> None:
        path.write_bytes(data)
        verify(dist, fast=True)
        write_top(dist)
        if problems := verify(dist, fast=True):
            raise Wrong(f"after a build: {problems[0]}")

    return Target((path.read_bytes(),), mutate_card, read)


def small_dist(scratch: Path) -> Path:
    """A dist of three images, one of them rejected."""
    archive = write_tar(scratch / f"{CONFIG}.tar", members([1, 2, 3], {3: {"image": {}}}))
    (source,) = open_sources([str(archive)])
    build_config(
        replace(source, sample=True), scratch / "dist", Settings("arrow", 1 << 30), quiet=True
    )
    write_top(scratch / "dist")
    return scratch / "dist"


def verify(dist: Path, *, fast: bool) -> list[str]:
    """What verify finds in a dist."""
    problems, shards = plan_checks(Folder(dist))
    for index, shard in shards:
        problems += check_shard(ShardCheck.of(dist, index, shard, fast=fast))
    return [str(problem) for problem in problems]


TARGETS: dict[str, tuple[int, Callable[[Path], Target]]] = {
    "tar": (20_000, tar),
    "SA-1B json": (30_000, record),
    "RLE": (100_000, rle),
    "captions": (100_000, captions),
    "image ids": (100_000, image_ids),
    "evaluation releases": (10_000, releases),
    "shard": (10_000, shard),
    "index": (30_000, index),
    "receipt and plan": (100_000, receipt),
    "manifest": (100_000, manifest),
    "rejects": (100_000, rejects),
    "card": (5_000, card),
}
"""Each reader: how many inputs a whole campaign gives it, and what makes its target."""
