"""Checks that the same masks have the same bytes, wherever they lie in memory, on any processor.

    python -m benchmarks.determinism                       three million PNGs
    python -m benchmarks.determinism --encodings 100000    fewer
    python -m benchmarks.determinism --digest              the bytes' sha256, to compare machines

The real photographs' masks are encoded, if they are there, else the sample's: again and again, in
other company, in another order, and with other blocks of memory in use, so that all arrays stand at
other addresses. Each PNG is compared with the first one of its mask, and so are the control images.
The first ones are read back and compared with the masks.
Then a second process does the same without the vector instructions that numpy chooses by the
processor.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from asam_datasets import decode_masks, mask_order
from benchmarks.masks import REAL, Picture, load
from builder.core.console import emit_json, run_command, say
from builder.core.records import Json
from builder.masks.control import paint
from builder.masks.png import encode_masks, read_bits
from builder.masks.rle import RleBatch
from builder.masks.tables import PNG_VERSION
from builder.sources.sample import write_sample

ENCODINGS = 3_000_000
_BLOCKS, _LARGEST = 200, 1 << 16  # of memory in use, and their bytes
_SAY_EVERY = 30  # seconds


def encode_again(
    pictures: Iterable[Picture],
    encodings: int,
    encode: Callable[[RleBatch], list[bytes]] = encode_masks,
    seed: int = 0,
) -> Json:
    """Encode masks and control images at shifting addresses; count what differs.

    Parameters
    ----------
    pictures
        Where the masks come from.
    encodings
        How many PNGs of masks to make, at least.
    encode
        The encoder.
    seed
        Of the order, the company and the blocks of memory.
    """
    rng = np.random.default_rng(seed)
    pictures = list(pictures)
    batches = [RleBatch.parse(picture.counts, *picture.size) for picture in pictures]
    orders = [mask_order(picture.annotations) for picture in pictures]
    masks = [encode(batch) for batch in batches]
    wrong = 0
    for picture, pngs in zip(pictures, masks, strict=True):
        packed = decode_masks(picture.annotations, packed=True)
        found_bits = (read_bits(png, *picture.size) for png in pngs)
        wrong += sum(not np.array_equal(*both) for both in zip(found_bits, packed, strict=True))
    controls = [paint(*each) for each in zip(batches, orders, strict=True)]
    blocks: deque[bytearray] = deque(maxlen=_BLOCKS)
    done = odd = painted = odd_painted = 0
    spoken = time.monotonic()
    while done < encodings:
        for batch, order, expected, control in zip(batches, orders, masks, controls, strict=True):
            chosen = rng.permutation(len(batch))[: rng.integers(1, len(batch) + 1)]
            blocks.extend(bytearray(int(n)) for n in rng.integers(1, _LARGEST, 3))
            found = encode(batch.select(chosen))
            odd += sum(png != expected[i] for png, i in zip(found, chosen.tolist(), strict=True))
            done += len(found)
            if rng.random() < 0.1:
                painted += 1
                odd_painted += paint(batch, order) != control
        if time.monotonic() - spoken > _SAY_EVERY:
            spoken = time.monotonic()
            say(f"{done:,} of {encodings:,}, {odd + odd_painted} odd")
    return {
        "wrong": wrong,
        "encodings": done,
        "odd": odd,
        "control_images": painted,
        "odd_control": odd_painted,
    }


def digest(pictures: Iterable[Picture]) -> str:
    """The sha256 of all PNGs of masks and control images."""
    sha = hashlib.sha256()
    for picture in pictures:
        batch = RleBatch.parse(picture.counts, *picture.size)
        for png in (*encode_masks(batch), paint(batch, mask_order(picture.annotations))):
            sha.update(png)
    return sha.hexdigest()


def without_vectors(command: Sequence[str]) -> str:
    """What a command prints if numpy uses no instructions beyond those that it was built for."""
    built = importlib.import_module("numpy._core._multiarray_umath")
    features = [name for name in built.__cpu_dispatch__ if built.__cpu_features__.get(name)]
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features)}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Encode, compare, and print the counts; the status is 1 if any PNG was odd."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.determinism",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", type=Path, help="tars, folders or jsons of SA-1B")
    parser.add_argument(
        "--encodings", type=int, default=ENCODINGS, help="PNGs of masks (default: %(default)s)"
    )
    parser.add_argument("--digest", action="store_true", help="print the sha256 of all PNGs, once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    args = parser.parse_args(argv)
    pictures = [picture for path in args.paths for picture in load(path)]
    if not pictures and REAL.is_dir():
        pictures = load(REAL)
    if not pictures:
        with tempfile.TemporaryDirectory() as folder:
            pictures = load(write_sample(Path(folder)).tar)
    if args.digest:
        print(digest(pictures))
        return 0
    again = [sys.executable, "-m", "benchmarks.determinism", *map(str, args.paths), "--digest"]
    same = without_vectors(again) == digest(pictures)
    results = {
        "encoder": PNG_VERSION,
        "masks": sum(len(picture.annotations) for picture in pictures),
        **encode_again(pictures, args.encodings),
        "same_without_vector_instructions": same,
    }
    if args.json:
        emit_json(results)
    else:
        print("\n".join(f"{name}: {value}" for name, value in results.items()))
    return int(any(results[kind] for kind in ("wrong", "odd", "odd_control")) or not same)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
