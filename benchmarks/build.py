"""Compares a whole build with the recipe, on the same tar, in one run.

    python -m benchmarks.build [--json] [TAR]

The recipe is the code that people usually write. It decodes each mask by `pycocotools.mask.decode`,
multiplies it by 255, and saves it as a PNG by PIL in mode L. It paints the control image with
numpy, in ASAM's order, and saves it by PIL. Rows go through `Dataset.from_generator`.

The build is `builder.shards.config.build_config` with everything that it does: reading, checks,
masks, control image, hashes, shards that are synced to disk and read back, receipts and index. Both
run in this process, on one core. The export to ASAM's folder tree is compared with the same recipe,
which then writes files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from pycocotools import mask as coco

from asam_datasets import TRAIN_FEATURES
from builder.core.console import Progress, emit_json, say
from builder.core.layout import configs
from builder.core.records import Json
from builder.exporting.origin import Origin
from builder.exporting.tree import export_config
from builder.masks.control import mask_order, paint
from builder.masks.png import encode_masks
from builder.masks.rle import RleBatch
from builder.shards.config import build_config
from builder.shards.plan import DEFAULT_SHARD_SIZE, Settings
from builder.shards.write import ShardWriter
from builder.sources import checks
from builder.sources.sa1b import Sa1bSource, open_sources
from builder.sources.sample import write_sample

RUNS = 5
LARGE = 128  # copies of the sample for the run on two cores, which make about 1,500 images


def main() -> None:
    """Run everything and print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.build", description=__doc__.splitlines()[0]
    )
    parser.add_argument("tar", nargs="?", type=Path, help="an SA-1B tar (default: the sample)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--large", type=int, default=LARGE, help="copies of the tar for 2 workers")
    args = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        tar = args.tar or write_sample(Path(folder)).tar
        result = measure(tar, Path(folder), args.large)
    if args.json:
        emit_json(result)
        return
    for key, value in result.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, part in value.items():
                print(f"  {name:28} {part:10.2f}")
        else:
            print(f"{key:30} {value}")


def measure(tar: Path, folder: Path, copies: int) -> Json:
    """All figures on one tar."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    (source,) = open_sources([str(tar)])
    images = len(source.listing().items)
    say(f"the recipe on {images} images, one core")
    started = time.perf_counter()
    recipe_rows = recipe(tar, folder / "recipe")
    recipe_seconds = time.perf_counter() - started
    say(f"our build of the same, {RUNS} runs, one core")
    ours = [ours_once(source, folder / f"dist{i}") for i in range(RUNS)]
    seconds = statistics.median(ours)
    stages = stage_times(source, folder)
    say("ASAM's folder tree: the recipe, and our export")
    export_recipe_seconds = recipe_files(tar, folder / "recipe_files")
    exports = [export_once(folder / "dist0", folder / f"tree{i}") for i in range(RUNS)]
    os.sched_setaffinity(0, cores)
    large = multiply(tar, folder / "sa_000001.tar", copies)
    one = command_once(large, folder / "one", workers=1)
    two = command_once(large, folder / "two", workers=2) if len(cores) > 1 else None
    # Two virtual cores may be one physical core. Two builds that share nothing show the largest
    # gain that a second worker can give on this machine.
    with ThreadPoolExecutor() as pool:
        apart = [folder / f"apart{core}" for core in cores[:2]]
        both = list(pool.map(partial(command_once, large, workers=1), apart))
    return {
        "machine": f"{platform.machine()}, {len(cores)} cores, Python {platform.python_version()}",
        "images": images,
        "masks": recipe_rows,
        "recipe_seconds_per_image": round(recipe_seconds / images, 4),
        "ours_seconds_per_image": round(seconds / images, 4),
        "ratio_to_recipe": round(recipe_seconds / seconds, 1),
        "export_ratio_to_recipe": round(export_recipe_seconds / statistics.median(exports), 1),
        "export_seconds_per_image": round(statistics.median(exports) / images, 4),
        "images_per_second_per_core": round(images / seconds, 2),
        "large_tar_images": images * copies,
        "large_tar_images_per_second": round(images * copies / one["seconds"], 2),
        "speedup_two_workers": round(one["seconds"] / two["seconds"], 2) if two else None,
        "speedup_two_separate_builds": round(
            len(both) * one["seconds"] / max(build["seconds"] for build in both), 2
        ),
        "peak_rss_bytes": (two or one)["peak_rss_bytes"],
        "stage_ms_per_image": stages,
    }


def recipe(tar: Path, cache: Path) -> int:
    """Build the rows by the recipe; returns the number of masks."""
    masks = 0

    def rows() -> Iterator[Json]:
        nonlocal masks
        for jpg, text in records(tar):
            record = json.loads(text)
            yield recipe_row(record, jpg)
            masks += len(record["annotations"])

    generator: Any = rows
    features = datasets.Features(
        {key: TRAIN_FEATURES[key] for key in TRAIN_FEATURES if key in recipe_columns()}
    )
    # datasets can't hash a generator that refers to a local variable, so a fingerprint is given.
    datasets.Dataset.from_generator(
        generator, features=features, cache_dir=str(cache), fingerprint="recipe", num_proc=None
    )
    return masks


def records(tar: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each image's jpg and json, with a progress bar."""
    with tarfile.open(tar) as archive, Progress(None, "image", "recipe") as progress:
        for name in sorted(n for n in archive.getnames() if n.endswith(".jpg")):
            jpg = archive.extractfile(name)
            info = archive.extractfile(name[:-4] + ".json")
            if jpg is None or info is None:
                raise SystemExit(f"{name} is no file")
            yield jpg.read(), info.read()
            progress.update(1)


def recipe_files(tar: Path, folder: Path) -> float:
    """Seconds that the recipe takes to write ASAM's folder tree."""
    started = time.perf_counter()
    for jpg, text in records(tar):
        row = recipe_row(json.loads(text), jpg)
        stem = folder / f"sa_{row['image_id']}"
        stem.mkdir(parents=True)
        stem.with_suffix(".jpg").write_bytes(jpg)
        stem.with_suffix(".json").write_bytes(text)
        stem.with_suffix(".png").write_bytes(row["conditioning_image"]["bytes"])
        for i, mask in enumerate(row["masks"]):
            (stem / f"segmentation_{i}.png").write_bytes(mask["bytes"])
    return time.perf_counter() - started


def export_once(dist: Path, out: Path) -> float:
    """Seconds of a whole export in this process."""
    (config,) = configs(dist)
    started = time.perf_counter()
    export_config(Origin(str(dist), config), out, missing_captions="empty")
    return time.perf_counter() - started


def recipe_columns() -> tuple[str, ...]:
    """The columns that the recipe makes."""
    return "image", "conditioning_image", "image_id", "masks", "annotations"


def recipe_row(record: Json, jpg: bytes) -> Json:
    """A row by the recipe."""
    annotations = sorted(
        record["annotations"], key=lambda a: a["bbox"][2] * a["bbox"][3], reverse=True
    )
    pngs, bitmaps = [], []
    for annotation in annotations:
        bitmap = coco.decode(annotation["segmentation"])
        bitmaps.append(bitmap)
        pngs.append({"bytes": png(Image.fromarray(bitmap * 255, "L")), "path": None})
    height, width = record["image"]["height"], record["image"]["width"]
    control = np.zeros((height, width, 3), np.uint8)
    for j, bitmap in enumerate(bitmaps):
        pos = int((2**24 - 1) * (j + 1) / len(annotations))
        control[bitmap == 1] = pos % 256, pos // 256 % 256, pos // 65536
    return {
        "image": {"bytes": jpg, "path": None},
        "conditioning_image": {"bytes": png(Image.fromarray(control)), "path": None},
        "image_id": record["image"]["image_id"],
        "masks": pngs,
        "annotations": annotations,
    }


def png(image: Image.Image) -> bytes:
    """PNG at PIL's defaults."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def ours_once(source: Sa1bSource, dist: Path) -> float:
    """Seconds of a whole build in this process."""
    settings = Settings("arrow", DEFAULT_SHARD_SIZE)
    started = time.perf_counter()
    build_config(source, dist, settings, workers=1, quiet=True)
    return time.perf_counter() - started


def stage_times(source: Sa1bSource, folder: Path) -> dict[str, float]:
    """Milliseconds per image of each stage, called one by one."""
    spent: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = function()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
        return value

    listing = timed("list the tar", source.listing)
    path = folder / "stage.arrow"
    with source.open() as reader, ShardWriter(path, TRAIN_FEATURES, "arrow") as writer:
        for item in listing.items:
            pair = item.locator
            jpg, text = timed(
                "read",
                lambda: [source.archive.read(m) for m in (pair.jpg, pair.json)],  # noqa: B023
            )
            record = timed("parse json", lambda: checks.parse_json(text))  # noqa: B023
            size = record["image"]["width"], record["image"]["height"]
            timed("check jpeg", lambda: checks.check_jpeg(jpg, *size))  # noqa: B023
            timed(
                "check annotations",
                lambda: [checks.clean_annotation(a, *size) for a in record["annotations"]],  # noqa: B023
            )
            texts = [a["segmentation"]["counts"] for a in record["annotations"]]
            batch = timed("parse RLE", lambda: RleBatch.parse(texts, size[1], size[0]))  # noqa: B023
            timed("mask PNGs", lambda: encode_masks(batch))  # noqa: B023
            timed("control image", lambda: paint(batch, mask_order(record["annotations"])))  # noqa: B023
            timed("sha256 of the jpeg", lambda: hashlib.sha256(jpg))  # noqa: B023
            row = reader.read(item).row
            timed("arrow and write", lambda: writer.add(row or {}))  # noqa: B023
        timed("close, sync, hash, read back", writer.close)
    return {name: round(1000 * value / len(listing.items), 3) for name, value in spent.items()}


def multiply(tar: Path, path: Path, copies: int) -> Path:
    """Write a tar with `copies` of the tar's images, each with a new id."""
    with tarfile.open(tar) as source, tarfile.open(path, "w") as target:
        files = {m.name: source.extractfile(m) for m in source if m.isfile()}
        data = {name: file.read() for name, file in files.items() if file}
        number = 0
        for _ in range(copies):
            for name in [n for n in data if n.endswith(".jpg")]:
                number += 1
                record = json.loads(data[name[:-4] + ".json"])
                record["image"] |= {"image_id": number, "file_name": f"sa_{number}.jpg"}
                for suffix, content in (
                    (".jpg", data[name]),
                    (".json", json.dumps(record).encode()),
                ):
                    info = tarfile.TarInfo(f"sa_{number}{suffix}")
                    info.size = len(content)
                    target.addfile(info, io.BytesIO(content))
    return path


# Runs the command, then prints the peak memory of this process or of one of its workers. VmHWM is
# reset at exec. ru_maxrss is not: a child inherits that of the benchmark's process.
_WITH_PEAK = """
import re, resource, sys
from pathlib import Path
from builder.build import main
if __name__ == "__main__":
    status = main(sys.argv[1:])
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    print(1024 * max(peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
    sys.exit(status)
"""


def command_once(tar: Path, dist: Path, workers: int) -> Json:
    """Seconds and peak memory of `python -m builder.build` in its own processes."""
    arguments = [str(tar), "--out", str(dist), "--quiet", "--shard-size", "64M"]
    arguments += ["--workers", str(workers)]
    say(" ".join(["$ python -m builder.build", *arguments]))
    script = dist.with_name(f"with_peak_{dist.name}.py")
    script.write_text(_WITH_PEAK)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_rss_bytes": int(done.stdout)}


if __name__ == "__main__":
    main()
