"""Measures rows of `load(size=512)` against the bare floor, and what DCT scaling does to pixels.

The floor is decoding the JPEG by DCT scaling, one resize, and the control image by nearest
neighbour, of files in memory, in one thread. A client process with an empty cache times it, and
streams of a Hub on loopback, from the call of `load` to the last row. They take turns, in an order
that changes from round to round. A ratio is of a stream and the floor of the same round.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import numpy as np

from asam_datasets import AsamDatasetsError, load, resizing
from asam_datasets.frames import FITS, Frame, frame_of
from benchmarks.stream import CONFIG, write_tar
from builder import build
from builder.core.console import EXIT_OK, Progress, emit_json, run_command
from builder.core.options import parser
from builder.core.records import Json
from tests.loopback import LoopbackHub

COLUMNS = ["image", "text", "conditioning_image"]
DIFFERENT = 12  # images whose pixels are compared
DRAFT = "Pillow's draft"  # as where simplejpeg is not installed
DECODERS = {"simplejpeg": resizing._simplejpeg, DRAFT: lambda: None}
KINDS: dict[str, Json] = {
    "default": {},
    "fit=cover": {"fit": "cover"},
    DRAFT: {},
    "exact=True": {"exact": True},
}
CLIENT = """
import io, json, sys, time
folder, repo, size, kinds, rounds = json.loads(sys.argv[1])
import datasets, numpy, simplejpeg
from PIL import Image
import asam_datasets
from asam_datasets import resizing
columns = ["image", "text", "conditioning_image"]
found_simplejpeg = resizing._simplejpeg
kept = list(asam_datasets.load(
    "sa_000000", repo_or_path=folder, streaming=True, columns=columns).decode(False))
square = (size, size)

def floor():
    for row in kept:
        pixels = simplejpeg.decode_jpeg(
            row["image"]["bytes"], "RGB", min_height=size, min_width=size)
        numpy.asarray(Image.fromarray(pixels).resize(square, Image.Resampling.BILINEAR))
        control = Image.open(io.BytesIO(row["conditioning_image"]["bytes"]))
        numpy.asarray(control.resize(square, Image.Resampling.NEAREST).convert("RGB"))
        yield

def stream(options):
    yield from asam_datasets.load(
        "sa_000000", repo_or_path=repo, streaming=True, columns=columns, size=size, **options)

for number in range(rounds):
    found = {}
    turns = ["floor", *kinds]
    turns = turns[number % len(turns):] + turns[:number % len(turns)]
    for name in turns:
        resizing._simplejpeg = (lambda: None) if "draft" in name else found_simplejpeg
        start, cpu, first = time.perf_counter(), time.process_time(), None
        for _ in floor() if name == "floor" else stream(kinds[name]):
            first = first or time.perf_counter() - start
        found[name] = {
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu,
            "first_row": first,
        }
    print(json.dumps(found), flush=True)
"""


def photographs(folder: Path) -> Iterator[tuple[bytes, Json]]:
    """The jpgs of a folder that have a json of their name, with it."""
    for path in sorted(folder.glob("*.jpg")):
        if (record := path.with_suffix(".json")).exists():
            yield path.read_bytes(), json.loads(record.read_text())


def write_tar_of(images: Path, folder: Path, rows: int) -> list[str]:
    """Write a tar of photographs, over and over under new ids; returns a build's arguments."""
    path = folder / f"{CONFIG}.tar"
    with tarfile.open(path, "w") as tar:
        for number, (jpeg, record) in enumerate(islice(cycle([*photographs(images)]), rows), 1):
            name = f"sa_{number}.jpg"
            image = {**record["image"], "image_id": number, "file_name": name}
            data = json.dumps({**record, "image": image}).encode()
            for member, content in ((name, jpeg), (f"sa_{number}.json", data)):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return [str(path)]


def measure(hub: LoopbackHub, folder: Path, size: int, kinds: list[str], rounds: int) -> list[Json]:
    """The rounds of a new process; each has the floor and every kind."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        chosen = {kind: KINDS[kind] for kind in kinds}
        arguments = [str(folder / "dist"), "xhk/sized", size, chosen, rounds]
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, json.dumps(arguments)],
            env=hub.env(Path(home)),
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = []
        with client, Progress(rounds, "round", "sized rows") as bar:
            for line in client.stdout or ():
                found.append(json.loads(line))
                bar.update()
        if client.returncode:
            raise subprocess.CalledProcessError(client.returncode, "the client")
    return found


def differences(images: Sequence[bytes], size: int, fit: str) -> Json:
    """How pixels differ from those of Pillow's full decode, in levels from 0 to 255."""

    def framing(full: tuple[int, int]) -> Frame:
        return frame_of(full, (size, size), fit)

    found: Json = {}
    for name in DECODERS:
        means, largest = [], 0
        for data in images:
            with patch.object(resizing, "_simplejpeg", DECODERS[name]):
                scaled = resizing.photograph(data, framing, exact=False)
            full = resizing.photograph(data, framing, exact=True)
            difference = np.abs(scaled.astype(np.int16) - full)
            means.append(float(difference.mean()))
            largest = max(largest, int(difference.max()))
        found[name] = {"mean": statistics.fmean(means), "largest": largest}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    options = parser("sized", __doc__ or "", ["python -m benchmarks.sized --rows 64 --json"])
    options.prog = "python -m benchmarks.sized"
    options.add_argument(
        "--images", type=Path, help="a folder of jpgs and jsons (default: made up)"
    )
    options.add_argument("--rows", type=int, default=128, help="default: %(default)s")
    options.add_argument("--rounds", type=int, default=7, help="the median counts")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS], help="default: all")
    options.add_argument("--size", type=int, default=512, help="default: %(default)s")
    options.add_argument("--latency", type=float, default=0.02, help="seconds a response")
    options.add_argument("--json", action="store_true", help="print JSON")
    args = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        folder = Path(name)
        source = (
            write_tar_of(args.images, folder, args.rows)
            if args.images
            else write_tar(folder, args.rows)
        )
        out = ["--shard-size", "32MB", "--out", str(folder / "dist"), "--quiet"]
        if build.main([*source, *out]) != EXIT_OK:
            raise AsamDatasetsError("the build failed")
        hub.seed("xhk/sized", folder / "dist")
        hub.latency = args.latency
        rounds = measure(hub, folder, args.size, args.kinds, args.rounds)
        rows = load(CONFIG, repo_or_path=folder / "dist", streaming=True, columns=["image"])
        images = [row["image"]["bytes"] for row in islice(rows.decode(False), DIFFERENT)]
    result: Json = {
        "machine": {"cpus": os.cpu_count()},
        "rows": args.rows,
        "size": args.size,
        "latency": args.latency,
        "rounds": rounds,
        "differences": {fit: differences(images, args.size, fit) for fit in FITS},
    }
    if args.json:
        emit_json(result)
    else:
        print(table(result))
    return 0


def table(result: Json) -> str:
    """Markdown: the ratios, and the differences."""
    rounds = result["rounds"]
    lines = [
        f"{result['rows']} rows at {result['size']} px, {result['latency'] * 1e3:.0f} ms a "
        f"response, {result['machine']['cpus']} cores, medians (and the least and most) of "
        f"{len(rounds)} rounds",
        "",
        "| `load(size=)` | of the floor's time | of its CPU | ms a row | first row, ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind in rounds[0]:
        ratios = sorted(found[kind]["seconds"] / found["floor"]["seconds"] for found in rounds)
        cpu = statistics.median(found[kind]["cpu"] / found["floor"]["cpu"] for found in rounds)
        each = statistics.median(found[kind]["seconds"] for found in rounds) / result["rows"]
        first = statistics.median(found[kind]["first_row"] for found in rounds)
        lines.append(
            f"| {kind} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
            f"{cpu:.2f} | {each * 1e3:.1f} | {first * 1e3:.0f} |"
        )
    lines += [
        "",
        "| fit | DCT scaling by | mean difference to the full decode | largest |",
        "|---|---|---:|---:|",
    ]
    for fit, found in result["differences"].items():
        for name, numbers in found.items():
            lines.append(f"| {fit} | {name} | {numbers['mean']:.2f} | {numbers['largest']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
