"""Measures the bytes, requests and seconds that listing a tar behind a URL takes.

It compares fsspec's file, whose reads fetch 5 MiB ahead, with the builder's listing, and with the
builder's second listing, for which the table of members was kept. The tar is served on loopback.
"""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec

from asam_datasets.tars import list_tar
from benchmarks.stream import CONFIG
from builder.core.console import EXIT_OK, emit, emit_json, run_command, sized
from builder.core.options import number, parser, positive
from builder.sources.archive import MAX_MEMBERS, Archive
from tests.loopback import LoopbackHub

REPO = "xhk/tars"
# Mean bytes of a photograph and of its record. SA-1B's tars have 939 kB a pair; real photographs
# with 100 masks each have records of 76 kB.
MEANS = {"jpg": 863_000, "json": 76_000}
_SPREAD = 0.45  # of the logarithm of the sizes


def made_tar(path: Path, pairs: int) -> Path:
    """A tar of pairs of random bytes of SA-1B's sizes, the same each time."""
    chosen = random.Random(0)
    with tarfile.open(path, "w") as tar:
        for image_id in range(pairs):
            for extension, mean in MEANS.items():
                info = tarfile.TarInfo(f"sa_{image_id}.{extension}")
                info.size = round(mean * chosen.lognormvariate(-(_SPREAD**2) / 2, _SPREAD))
                tar.addfile(info, io.BytesIO(bytes([image_id % 255 + 1]) * info.size))
    return path


def by_fsspec(url: str) -> None:
    """List a tar through the file that fsspec opens by default."""
    files, path = fsspec.core.url_to_fs(url)
    with files.open(path, "rb") as file:
        list_tar(file, files.info(path)["size"], MAX_MEMBERS)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print a table."""
    result = parser("listing", __doc__ or "", ["python -m benchmarks.listing --pairs 200"])
    result.add_argument("tar", nargs="?", type=Path, metavar="TAR", help="a tar (default: made)")
    result.add_argument(
        "--pairs", type=positive, default=100, help="pairs of the tar that is made (default: 100)"
    )
    result.add_argument(
        "--latency",
        type=number(open_low=False),
        default=0.0,
        help="seconds before each answer (default: 0)",
    )
    result.add_argument("--json", action="store_true", help="print the result as JSON")
    args = result.parse_args(argv)
    rows = {}
    with tempfile.TemporaryDirectory() as made, LoopbackHub(latency=args.latency) as hub:
        tar = args.tar or made_tar(Path(made) / f"{CONFIG}.tar", args.pairs)
        size = tar.stat().st_size
        hub.commit(REPO, {f"{CONFIG}.tar": tar.read_bytes()})
        url = f"{hub.endpoint}/datasets/{REPO}/resolve/main/{CONFIG}.tar?oh={time.time_ns()}"
        kinds: dict[str, Callable[[], object]] = {
            "fsspec's file": lambda: by_fsspec(url),
            "the builder": Archive(url).contents,
            "the builder, again": Archive(url).contents,
        }
        for kind, listing in kinds.items():
            hub.requests.clear()
            start = time.perf_counter()
            listing()
            seconds = time.perf_counter() - start
            answers = [r for r in hub.matching("/cdn/*") if r.status in (200, 206)]
            moved = sum(request.sent for request in answers)
            rows[kind] = {"moved": moved / size, "requests": len(answers), "seconds": seconds}
    if args.json:
        emit_json({"size": size, **rows})
        return EXIT_OK
    emit(f"a tar of {sized(size)}", "| listed by | bytes moved / size | requests | s |")
    emit("|---|--:|--:|--:|")
    for kind, row in rows.items():
        emit(f"| {kind} | {row['moved']:.3f} | {row['requests']:,} | {row['seconds']:.2f} |")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run_command(main))
