"""Compares the making of masks with the recipe.

    python -m benchmarks.masks                   real photographs if they are there, and the sample
    python -m benchmarks.masks --json sa_1.json  your own records, folders or tars
    python -m benchmarks.masks --device cuda     decode_masks on the GPU

The recipe decodes each mask by pycocotools.mask.decode, multiplies it by 255, and saves it as a PNG
by PIL in mode L. This project goes from the compressed strings to the PNGs, which includes parsing
and checking. Both run in this process on one core and one thread. A figure is the median of five
runs, per mask, in processor time. On an idle machine this equals the clock's time, and on a busy
one it is still comparable. Because the recipe is slow, it takes only every n-th mask (`--every`).
So do the sizes of PNGs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from asam_datasets import AsamDatasetsError, decode_masks
from builder.core.console import emit_json, run_command, say
from builder.core.records import Json
from builder.masks.control import mask_order, paint
from builder.masks.png import encode_masks
from builder.masks.rle import RleBatch
from builder.sources.sample import write_sample

REAL = Path(__file__).parents[2] / "shared" / "data" / "sa1b_images"
RUNS = 5
SIZES = (None, (1024, 1024), (256, 256))


@dataclass(frozen=True)
class Picture:
    """One image's annotations."""

    annotations: list[Json]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.annotations[0]["segmentation"]["size"]
        return height, width

    @property
    def counts(self) -> list[str]:
        """The compressed RLE of each mask."""
        return [a["segmentation"]["counts"] for a in self.annotations]


def documents(path: Path) -> Iterator[bytes]:
    """The json members of a tar, a folder, or one json."""
    if path.is_dir():
        yield from (p.read_bytes() for p in sorted(path.glob("*.json")))
    elif path.suffix == ".tar":
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json") and (file := tar.extractfile(member)):
                    yield file.read()
    else:
        yield path.read_bytes()


def load(path: Path) -> list[Picture]:
    """The pictures of a tar, folder or json that have masks."""
    try:
        records = [json.loads(document) for document in documents(path)]
        pictures = [Picture(r["annotations"]) for r in records if r["annotations"]]
    except (OSError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise AsamDatasetsError(f"{path}: not SA-1B records: {error!r}") from error
    if not pictures:
        raise AsamDatasetsError(f"{path}: no record with masks in it")
    return pictures


def median_seconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """The median of the seconds of processor time that `work` takes."""
    times = []
    for _ in range(runs):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def recipe(picture: Picture, every: int) -> list[bytes]:
    """PNGs by the recipe."""
    pngs = []
    for annotation in picture.annotations[::every]:
        mask = coco.decode(annotation["segmentation"])
        file = io.BytesIO()
        Image.fromarray(mask * 255).save(file, "PNG")
        pngs.append(file.getvalue())
    return pngs


def ours(picture: Picture) -> list[bytes]:
    """The same masks by this project."""
    return encode_masks(RleBatch.parse(picture.counts, *picture.size))


def control_image(picture: Picture) -> bytes:
    """The control image by this project."""
    return paint(RleBatch.parse(picture.counts, *picture.size), mask_order(picture.annotations))


def pil_1bit(picture: Picture, every: int) -> list[bytes]:
    """PIL's 1-bit PNGs at their default."""
    pngs = []
    for annotation in picture.annotations[::every]:
        file = io.BytesIO()
        Image.fromarray(coco.decode(annotation["segmentation"]).astype(np.bool_)).save(file, "PNG")
        pngs.append(file.getvalue())
    return pngs


def coco_decode(picture: Picture, size: tuple[int, int] | None) -> Any:
    """Masks by pycocotools, resized by PIL's nearest neighbour if a size is given."""
    stack = coco.decode([a["segmentation"] for a in picture.annotations]).transpose(2, 0, 1)
    if size is None:
        return stack
    images = (Image.fromarray(mask) for mask in stack)
    return np.stack([np.asarray(i.resize(size[::-1], Image.Resampling.NEAREST)) for i in images])


def measure_decode(pictures: Sequence[Picture], size: tuple[int, int] | None) -> Json:
    """Compare decode_masks with pycocotools, which decodes only the first two pictures."""
    few = pictures[:2]
    own = median_seconds(lambda: [decode_masks(p.annotations, size) for p in pictures])
    own /= sum(len(p.annotations) for p in pictures)
    baseline = median_seconds(lambda: [coco_decode(p, size) for p in few], runs=3)
    baseline /= sum(len(p.annotations) for p in few)
    return {
        "us_per_mask": own * 1e6,
        "pycocotools_us_per_mask": baseline * 1e6,
        "ratio": baseline / own,
    }


def measure(pictures: Sequence[Picture], every: int) -> Json:
    """Every figure of one set of pictures."""
    number = sum(len(picture.annotations) for picture in pictures)
    taken = sum(len(picture.annotations[::every]) for picture in pictures)
    slow = median_seconds(lambda: [recipe(p, every) for p in pictures]) / taken
    fast = median_seconds(lambda: [ours(p) for p in pictures]) / number
    control = median_seconds(lambda: [control_image(p) for p in pictures]) / len(pictures)
    controls = [control_image(p) for p in pictures]
    mine = [png for p in pictures for png in ours(p)[::every]]
    pils = [png for p in pictures for png in pil_1bit(p, every)]
    recipes = [png for p in pictures for png in recipe(p, every)]
    return {
        "images": len(pictures),
        "masks": number,
        "masks_by_recipe": taken,
        "recipe_us_per_mask": slow * 1e6,
        "us_per_mask": fast * 1e6,
        "ratio_to_recipe": slow / fast,
        "control_ms_per_image": control * 1e3,
        "png_bytes_per_mask": statistics.mean(map(len, mine)),
        "png_bytes_per_mask_pil_1bit": statistics.mean(map(len, pils)),
        "png_bytes_per_mask_recipe": statistics.mean(map(len, recipes)),
        "share_no_larger_than_pil_1bit": statistics.mean(
            len(a) <= len(b) for a, b in zip(mine, pils, strict=True)
        ),
        "share_within_5_percent_or_24_bytes_of_pil_1bit": statistics.mean(
            len(a) <= max(1.05 * len(b), len(b) + 24) for a, b in zip(mine, pils, strict=True)
        ),
        "control_bytes_per_image": statistics.mean(map(len, controls)),
        "decode_masks": {
            "full" if size is None else f"{size[0]}x{size[1]}": measure_decode(pictures, size)
            for size in SIZES
        },
    }


def table(results: Json) -> Iterator[str]:
    """The figures for people."""
    for name, r in results["inputs"].items():
        yield f"{name}: {r['images']} images, {r['masks']} masks"
        yield (
            f"  RLE to PNG      {r['us_per_mask']:9.1f} us a mask   "
            f"recipe {r['recipe_us_per_mask']:9.1f} us   {r['ratio_to_recipe']:6.0f}x"
        )
        yield (
            f"  PNG size        {r['png_bytes_per_mask']:9.0f} B a mask    "
            f"PIL 1-bit {r['png_bytes_per_mask_pil_1bit']:6.0f} B, recipe "
            f"{r['png_bytes_per_mask_recipe']:.0f} B; "
            f"{r['share_no_larger_than_pil_1bit']:.0%} of masks no larger than PIL's 1-bit, "
            f"{r['share_within_5_percent_or_24_bytes_of_pil_1bit']:.1%} within 5 % or 24 B"
        )
        yield (
            f"  control image   {r['control_ms_per_image']:9.1f} ms an image   "
            f"{r['control_bytes_per_image'] / 1e3:.1f} kB"
        )
        for size, d in r["decode_masks"].items():
            yield (
                f"  decode {size:9}{d['us_per_mask']:9.1f} us a mask   "
                f"pycocotools {d['pycocotools_us_per_mask']:9.1f} us   {d['ratio']:6.0f}x"
            )
    yield f"ratio_to_recipe, the lowest: {results['ratio_to_recipe']:.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.masks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", type=Path, help="tars, folders or jsons of SA-1B")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--every", type=int, default=5, help="the recipe takes every n-th mask")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--masks", type=int, default=1000, help="masks a call on the device")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        inputs = {str(path): load(path) for path in args.paths}
        if not inputs:
            if REAL.is_dir():
                inputs["real photographs"] = load(REAL)
            inputs["sample"] = load(write_sample(Path(folder)).tar)
    results = on_device(inputs, args) if args.device != "cpu" else on_cpu(inputs, args)
    lines = results.pop("lines")
    if args.json:
        emit_json(results)
    else:
        print("\n".join(lines))
    return 0


def on_cpu(inputs: dict[str, list[Picture]], args: argparse.Namespace) -> Json:
    """Everything against the recipe, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results: Json = {"machine": platform.processor() or platform.machine(), "inputs": {}}
    for name, pictures in inputs.items():
        say(f"measuring {name} ...")
        results["inputs"][name] = measure(pictures, args.every)
    results["ratio_to_recipe"] = min(r["ratio_to_recipe"] for r in results["inputs"].values())
    return {**results, "lines": list(table(results))}


def on_device(inputs: dict[str, list[Picture]], args: argparse.Namespace) -> Json:
    """decode_masks on the device."""
    import torch

    from benchmarks.masks_device import device_table, measure_device

    results: Json = {"inputs": {}, "lines": []}
    for name, pictures in inputs.items():
        say(f"measuring {name} on {args.device} ...")
        annotations = [a for picture in pictures for a in picture.annotations]
        figures = measure_device(annotations, torch.device(args.device), args.masks)
        results["inputs"][name] = figures
        results["lines"] += [f"{name}:", *device_table(figures)]
    return results


if __name__ == "__main__":
    raise SystemExit(run_command(main))
