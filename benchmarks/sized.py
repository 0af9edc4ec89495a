"""Measures rows of `load(size=512)` against the bare floor, and what DCT scaling does to pixels.

The floor is decoding the JPEG by DCT scaling, one resize, and the control image by nearest
neighbour, of files in memory, in one thread. Each round is a new client process with an empty
cache. It times the floor and the stream of a Hub on loopback, from the call of `load` to the last
row. The order of the two changes from round to round. A ratio is of the two in one round.
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
from builder.core.console import EXIT_OK, Progress, emit_json, parser, run_command
from builder.core.records import Json
from tests.loopback import LoopbackHub

COLUMNS = ["image", "text", "conditioning_image"]
DIFFERENT = 12  # images whose pixels are compared
DECODERS = {"simplejpeg": resizing._simplejpeg, "Pillow's draft": lambda: None}
KINDS: dict[str, Json] = {
    "default": {},
    "fit=cover": {"fit": "cover"},
    "exact=True": {"exact": True},
}
CLIENT = """
import io, json, sys, time
folder, repo, size, options, floor_first = json.loads(sys.argv[1])
import datasets, numpy, simplejpeg
from PIL import Image
import asam_datasets
columns = ["image", "text", "conditioning_image"]
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

def stream():
    for row in asam_datasets.load(
            "sa_000000", repo_or_path=repo, streaming=True, columns=columns, size=size, **options):
        first.append(time.perf_counter())

found = {"rows": len(kept)}
for name, work in [("floor", floor), ("stream", stream)][:: 1 if floor_first else -1]:
    first, start, cpu = [], time.perf_counter(), time.process_time()
    work()
    found[name] = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    if first:
        found[name]["first_row"] = first[0] - start
print(json.dumps(found))
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


def measure(hub: LoopbackHub, folder: Path, size: int, kind: str, round_: int) -> Json:
    """One round: the floor and a stream, in a new process."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        arguments = [str(folder / "dist"), "xhk/sized", size, KINDS[kind], round_ % 2 == 0]
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, json.dumps(arguments)],
            env=hub.env(Path(home)),
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
    found: Json = json.loads(done.stdout.splitlines()[-1])
    for name in ("seconds", "cpu"):
        found[f"{name}_ratio"] = found["stream"][name] / found["floor"][name]
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
    options.add_argument("--rounds", type=int, default=5, help="the median counts")
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
        rounds: dict[str, list[Json]] = {kind: [] for kind in KINDS}
        with Progress(args.rounds * len(KINDS), "run", "sized rows") as bar:
            for number in range(args.rounds):
                for kind in KINDS:
                    rounds[kind].append(measure(hub, folder, args.size, kind, number))
                    bar.update()
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
    lines = [
        f"{result['rows']} rows at {result['size']} px, {result['latency'] * 1e3:.0f} ms a "
        f"response, {result['machine']['cpus']} cores, medians (and the least and most) of "
        f"{len(next(iter(result['rounds'].values())))} rounds",
        "",
        "| `load(size=)` | of the floor's time | of its CPU | ms a row | floor's | first row, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, rounds in result["rounds"].items():
        ratios = sorted(found["seconds_ratio"] for found in rounds)
        each = {
            name: statistics.median(found[name]["seconds"] for found in rounds) / result["rows"]
            for name in ("stream", "floor")
        }
        cpu = statistics.median(found["cpu_ratio"] for found in rounds)
        first = statistics.median(found["stream"]["first_row"] for found in rounds)
        lines.append(
            f"| {kind} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
            f"{cpu:.2f} | {each['stream'] * 1e3:.1f} | {each['floor'] * 1e3:.1f} | "
            f"{first * 1e3:.0f} |"
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
