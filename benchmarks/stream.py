"""Measures bytes, requests and rows/s of streaming some columns from a Hub on loopback.

Three readers stream the same rows: plain `load_dataset` on Arrow shards, `load_dataset` on Parquet
shards with `columns=`, and `asam_datasets.load`. `builder.build` builds the rows from a tar. This
is one of SA-1B's, or one with different pictures made by the sample's code, at SA-1B's sizes. Each
measurement runs in a new client process with an empty cache, and is timed from the call to the last
row. The Hub has a given latency, and a given bandwidth for each connection.
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
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from asam_datasets import GAP_BYTES, TRAIN_FEATURES, AsamDatasetsError
from asam_datasets.index import Index
from builder import build
from builder.core.console import EXIT_OK, Progress, emit_json, run_command
from builder.core.layout import FORMATS
from builder.core.options import parser
from builder.core.records import Json
from builder.shards.index import read_index
from builder.sources.sample import SCENES, make_record
from tests.loopback import LoopbackHub

CONFIG = "sa_000000"
SIZE = 512  # pixels, the resolution at which ControlNet is trained
CASES: dict[str, tuple[str, list[str]]] = {
    "a": (f"image, text, conditioning_image at {SIZE} px", ["image", "text", "conditioning_image"]),
    "b": ("image, annotations", ["image", "annotations"]),
    "c": ("annotations", ["annotations"]),
    "d": ("text", ["text"]),
}
READERS = {"arrow": "load_dataset, Arrow", "parquet": "load_dataset, Parquet", "ours": "load()"}
CLIENT = """
import json, resource, sys, time
case, reader, repo, columns, size = json.loads(sys.argv[1])
import datasets
import asam_datasets
datasets.disable_progress_bars()
for _ in datasets.Dataset.from_dict({"a": [1]}).to_iterable_dataset().map(lambda row: row):
    pass  # this imports what datasets imports on first use
asam_datasets.load  # this imports the modules that the package loads on first use
start = time.perf_counter()
if reader == "ours":
    stream = asam_datasets.load("sa_000000", repo_or_path=repo, streaming=True, columns=columns)
elif reader == "arrow":
    stream = datasets.load_dataset(repo, "sa_000000", split="train", streaming=True)
    stream = stream.select_columns(columns)
else:
    stream = datasets.load_dataset(
        repo, "sa_000000", split="train", streaming=True, columns=columns
    )
if case != "a":
    stream = stream.decode(False)
rows = 0
for row in stream:
    rows += 1
    if case == "a":
        for name in ("image", "conditioning_image"):
            row[name].convert("RGB").resize((size, size))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": rows, "seconds": seconds, "peak_rss_bytes": peak}))
"""


def write_tar(folder: Path, rows: int) -> list[str]:
    """Write a tar of pictures like the sample's, and captions; returns a build's arguments."""
    path, captions = folder / f"{CONFIG}.tar", folder / "captions.json"
    with tarfile.open(path, "w") as tar, captions.open("w") as lines:
        for image_id, scene in enumerate(islice(cycle(SCENES), rows), 1):
            jpeg, record = make_record(image_id, scene)
            for suffix, data in (("jpg", jpeg), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"sa_{image_id}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            lines.write(json.dumps({"img": f"sa_{image_id}.jpg", "prompt": scene.caption}) + "\n")
    return [str(path), "--captions", str(captions)]


def publish(hub: LoopbackHub, folder: Path, source: list[str], shard_size: str) -> Index:
    """Publish the source as an Arrow repo and as a Parquet repo; returns the Arrow repo's index."""
    for fmt in FORMATS:
        options = ["--format", fmt, "--shard-size", shard_size, "--out", str(folder / fmt)]
        if build.main([*source, *options, "--quiet"]) != EXIT_OK:
            raise AsamDatasetsError("the build failed")
        hub.seed(f"xhk/{fmt}", folder / fmt)
    return read_index(folder / "arrow", CONFIG)


def measure(hub: LoopbackHub, folder: Path, case: str, reader: str) -> Json:
    """One client's rows, seconds and memory; the requests and bytes that the Hub saw."""
    repo = "xhk/parquet" if reader == "parquet" else "xhk/arrow"
    hub.requests.clear()
    with tempfile.TemporaryDirectory(dir=folder) as home:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, json.dumps([case, reader, repo, CASES[case][1], SIZE])],
            env=hub.env(Path(home)),
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
    shards = [r for r in hub.requests if r.path.endswith((".arrow", ".parquet"))]
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        "bytes": sum(request.sent for request in hub.requests),
        "requests": len(hub.requests),
        "shard_requests": len([r for r in shards if r.origin == "cdn"]),
        "shard_bytes": sum(request.sent for request in shards),
    }


def bounds(index: Index, columns: Sequence[str], packaged: Json) -> Json:
    """The most that `load` may transfer.

    In bytes, it is the columns and 16 kB for each record batch. In requests, it is those of plain
    `load_dataset` and two for each record batch.
    """
    batches = [place.batch.columns(index.layout) for place in index.places(index.shards)]
    fields = [list(TRAIN_FEATURES).index(name) for name in columns]
    wanted = sum(batch[field][1] for batch in batches for field in fields)
    return {
        "record_batches": len(batches),
        "columns_bytes": wanted,
        "most_bytes": wanted + GAP_BYTES * len(batches),
        "most_requests": packaged["shard_requests"] + 2 * len(batches),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = parser("stream", __doc__ or "", ["python -m benchmarks.stream --rows 64 --json"])
    options.prog = "python -m benchmarks.stream"
    options.add_argument("--source", help="an SA-1B tar named sa_000000.tar (default: made up)")
    options.add_argument("--rows", type=int, default=128, help="default: %(default)s")
    options.add_argument("--shard-size", default="32MB", help="default: %(default)s")
    options.add_argument("--repeats", type=int, default=3, help="the median counts")
    options.add_argument("--latency", type=float, default=0.03, help="seconds a response")
    options.add_argument("--bandwidth", type=float, default=100e6, help="bytes/s a connection")
    options.add_argument("--json", action="store_true", help="print JSON")
    args = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        folder = Path(name)
        limit = ["--limit", str(args.rows)]
        source = [args.source, *limit] if args.source else write_tar(folder, args.rows)
        index = publish(hub, folder, source, args.shard_size)
        rows = index.num_rows
        hub.latency, hub.bandwidth = args.latency, args.bandwidth
        result: Json = {"machine": {"cpus": os.cpu_count()}, "cases": {}}
        result |= {"rows": rows, "latency": args.latency, "bandwidth": args.bandwidth}
        result["row_bytes"] = index.num_bytes // rows
        with Progress(len(CASES) * len(READERS) * args.repeats, "run", "streaming") as bar:
            for case, (title, columns) in CASES.items():
                readers: Json = {}
                for reader in READERS:
                    runs = []
                    for _ in range(args.repeats):
                        runs.append(measure(hub, folder, case, reader))
                        bar.update()
                    seconds = statistics.median(run["seconds"] for run in runs)
                    readers[reader] = {
                        **runs[0],
                        "seconds": seconds,
                        "rows_per_second": rows / seconds,
                    }
                limits = bounds(index, columns, readers["arrow"])
                ours = readers["ours"]
                limits["kept"] = (
                    ours["shard_bytes"] <= limits["most_bytes"]
                    and ours["shard_requests"] <= limits["most_requests"]
                )
                result["cases"][case] = {
                    "title": title,
                    "columns": columns,
                    "readers": readers,
                    "bounds": limits,
                }
    if args.json:
        emit_json(result)
    else:
        print(table(result))
    return 0 if all(case["bounds"]["kept"] for case in result["cases"].values()) else 1


def table(result: Json) -> str:
    """Markdown: a line for each case and reader."""
    lines = [
        f"{result['rows']} rows of {result['row_bytes'] / 1e6:.2f} MB, "
        f"{result['latency'] * 1e3:.0f} ms a response, {result['bandwidth'] / 1e6:.0f} MB/s a "
        f"connection, {result['machine']['cpus']} cores",
        "",
        "| columns | reader | MB | requests | rows/s | peak MB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for case, found in result["cases"].items():
        for reader, run in found["readers"].items():
            lines.append(
                f"| ({case}) {found['title']} | {READERS[reader]} | {run['bytes'] / 1e6:.2f} | "
                f"{run['requests']} | {run['rows_per_second']:.1f} | "
                f"{run['peak_rss_bytes'] / 1e6:.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
