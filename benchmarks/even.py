"""Measures how evenly rows are dealt out to ranks and DataLoader workers.

The record batches are those of a config's index, or of a tar of SA-1B made up: 11,186 images of 0.4
to 2.3 MB in record batches of 8 MiB. "Before" is dealing units of one or two batches in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asam_datasets.batches import Batch
from asam_datasets.shards import Place
from asam_datasets.stream import RowStream, units
from builder.core.console import EXIT_OK, emit_json, run_command
from builder.core.options import parser
from builder.core.records import Json
from builder.shards.index import read_index

PARTS = {2: (1, 2), 8: (2, 4), 64: (8, 8), 256: (32, 8)}  # ranks, and workers of each


def made_up(images: int = 11_186, batch_bytes: float = 8 * 2**20) -> list[Place]:
    """Record batches of images whose bytes are spread as those of SA-1B."""
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(np.log(0.85), 0.45, images), 0.38, 2.3) * 1e6 + 150e3
    rows, left = [0], batch_bytes
    for size in sizes.tolist():
        if size > left:
            rows.append(0)
            left = batch_bytes
        rows[-1] += 1
        left -= size
    return [Place("", i, Batch(n, 0, 0, (), (), (), ())) for i, n in enumerate(rows)]


def slowest(places: list[Place], ranks: int, workers: int, seed: int | None) -> float:
    """The rows of the rank's worker that has the most, as a multiple of the mean."""
    stream = RowStream(None, units(places), seed, 0)  # type: ignore[arg-type]
    found = []
    for rank in range(ranks):
        part = stream.shard_data_sources(ranks, rank, contiguous=False)
        for i in range(workers):
            order = part.shard_data_sources(workers, i, contiguous=False)._order()
            found.append(sum(place.rows for place in order))
    return max(found) * len(found) / sum(found)


def in_turn(places: list[Place], count: int) -> float:
    """The same when units of as many batches, or one more, are dealt in turn."""
    number = len(units(places))
    bounds = [i * len(places) // number for i in range(number + 1)]
    rows = [sum(p.rows for p in places[bounds[i] : bounds[i + 1]]) for i in range(number)]
    found = [sum(rows[i::count]) for i in range(count)]
    return max(found) * count / sum(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = parser("even", __doc__ or "", ["python -m benchmarks.even dist sa_000000"])
    options.prog = "python -m benchmarks.even"
    options.add_argument("dist", nargs="?", type=Path, help="default: a tar made up")
    options.add_argument("config", nargs="?", default="sa_000000", help="default: %(default)s")
    options.add_argument("--json", action="store_true", help="print JSON")
    args = options.parse_args(argv)
    places = made_up()
    if args.dist:
        index = read_index(args.dist, args.config)
        places = index.places(index.shards)
    result: Json = {
        str(count): {
            "in_turn": in_turn(places, count),
            "dealt": slowest(places, *PARTS[count], None),
            "dealt_shuffled": slowest(places, *PARTS[count], 0),
        }
        for count in PARTS
        if count <= len(units(places))
    }
    if args.json:
        emit_json(result)
        return EXIT_OK
    print(f"{len(places):,} record batches, {sum(p.rows for p in places):,} rows")
    print("\n| ranks x workers | slowest by the mean, in turn | dealt by rows | shuffled |")
    print("|--:|--:|--:|--:|")
    for count, found in result.items():
        print(f"| {count} | " + " | ".join(f"{value:.3f}" for value in found.values()) + " |")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
