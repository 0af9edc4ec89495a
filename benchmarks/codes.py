"""Makes the code tables of the masks' PNGs (`builder/masks/tables.py`) from statistics.

    python -m benchmarks.codes                    real photographs if they are there, and the sample

The steps of all masks are counted. Each table is the Huffman code of the masks that take the fewest
bits in it, its own header included, and the masks are dealt out anew until nothing moves. So that
the header is short, bytes of one kind count alike: those with one edge, those with one pixel, and
all others. Lengths count alike in groups, whose size is the best of some. The last table has no
words for the others, for masks that have none.

The tables are made once. With other tables, the same masks have other bytes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.masks import REAL, Picture, load
from builder.core.console import run_command
from builder.masks.changes import mask_steps
from builder.masks.codes import END, FAR, LENGTH_SYMBOLS, NOTHING, block_header, huffman
from builder.masks.rle import RleBatch
from builder.sources.sample import write_sample

EDGES = [1, 3, 7, 15, 31, 63, 127, 128, 192, 224, 240, 248, 252, 254]
PIXELS = [2, 4, 8, 16, 32, 64]
OTHERS = [b for b in range(1, 255) if b not in EDGES]
WITHOUT = [b for b in OTHERS if b not in PIXELS]
KINDS = ([EDGES, OTHERS], [EDGES, OTHERS], [EDGES, PIXELS])
GROUPS = (1, 2, 4, 7, 14, 28)
ROUNDS = 15
MOST_BITS = 13
_IMPOSSIBLE = 1e9

Counts = npt.NDArray[np.float64]


def count(pictures: Sequence[Picture]) -> Counts:
    """How often each mask has each of the 286 symbols, (N, 286)."""
    counts = []
    for picture in pictures:
        batch = RleBatch.parse(picture.counts, *picture.size)
        steps = mask_steps(batch.runs, *picture.size)
        number, owner = len(steps.ends), np.repeat(np.arange(len(steps.ends)), steps.counts())
        table = np.zeros((number, 286))
        some = steps.values != NOTHING
        np.add.at(table, (owner[some], steps.values[some]), 1)
        some = steps.copies % FAR > 0
        symbols = END + 1 + LENGTH_SYMBOLS[steps.copies % FAR]
        np.add.at(table, (owner[some], symbols[some]), 1)
        np.add.at(table[:, 285], owner[steps.long], steps.times)
        table[:, steps.first] += 1
        counts.append(table)
    return np.concatenate(counts)


def design(counts: Counts, alike: list[list[int]], group: int) -> list[int]:
    """The sizes of the words of a table for masks with these counts."""
    sums = counts.sum(axis=0) * (1000 / len(counts))
    made = np.zeros(286)
    made[[0, 255, END, 285]] = sums[[0, 255, END, 285]]
    for kind in alike:
        made[kind] = sums[kind].mean() + 1
    lengths = sums[END + 1 : 285].reshape(-1, group).mean(axis=1)
    made[END + 1 : 285] = np.repeat(lengths, group) + 20
    return huffman(np.ceil(made).astype(int).tolist(), MOST_BITS)


def bits(counts: Counts, sizes: list[int]) -> npt.NDArray[np.float64]:
    """The bits that each mask takes with a table, without those that are the same in all."""
    words = np.where(np.array(sizes) > 0, sizes, _IMPOSSIBLE)
    cost: npt.NDArray[np.float64] = counts @ words
    return cost + block_header(sizes, [1] + [0] * 15 + [1])[1]


def make_tables(counts: Counts) -> list[list[int]]:
    """The tables that take the fewest bits for these masks, or nearly so."""
    without = counts[:, WITHOUT].sum(axis=1) == 0
    many = counts[:, :END].sum(axis=1)
    chosen = np.where(without, 2, (many < np.median(many[~without])).astype(int))
    tables: list[list[int]] = []
    for _ in range(ROUNDS):
        tables = []
        for number, alike in enumerate(KINDS):
            own = counts[chosen == number]
            options = [design(own, alike, group) for group in GROUPS]
            tables.append(min(options, key=lambda sizes: float(bits(own, sizes).sum())))
        before, chosen = chosen, np.stack([bits(counts, t) for t in tables]).argmin(axis=0)
        if np.array_equal(before, chosen):
            break
    return tables


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    pictures = load(REAL) if REAL.is_dir() else []
    with tempfile.TemporaryDirectory() as folder:
        pictures += load(write_sample(Path(folder)).tar)
    for sizes in make_tables(count(pictures)):
        print("".join(f"{size:x}" for size in sizes))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
