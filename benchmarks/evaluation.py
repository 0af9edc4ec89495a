"""Measures the memory that evaluation releases take: a large annotation file, and a large image.

    python -m benchmarks.evaluation [--megabytes 500] [--json]

Each figure is the growth of a new process's peak resident size (VmHWM) after its imports. The JSON
is in COCO's format, with 50 polygons of 5 to 80 points for each image of 480 x 480 pixels. It is
compared with `json.load` of the same file. The large images have 5000 x 3600 pixels, as the largest
of BIG. One has a 16-bit map of 400 instances, and one has 20 files of one mask each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from builder.core.console import emit_json, say
from builder.core.records import Json
from builder.sources.evaluation.fixtures.scenes import save, save_ids, save_mask

PER_IMAGE = 50
SIDE = 480
HEIGHT, WIDTH = 3600, 5000

_PEAK = """
import json, re, sys, time
from pathlib import Path
import PIL.JpegImagePlugin, PIL.PngImagePlugin
from builder.sources.evaluation import open_source

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

name, folder = sys.argv[1], Path(sys.argv[2])
before, started = peak(), time.perf_counter()
if name == "json.load":
    with (folder / "annotations/instances_val2017.json").open("rb") as file:
        document = json.load(file)
    masks = len(document["annotations"])
else:
    source = open_source(name, "native", folder)
    items = source.listing().items
    listed = time.perf_counter() - started
    with source.open() as reader:
        masks = len(reader.read(items[0]).row["masks"])
print(json.dumps({
    "seconds": time.perf_counter() - started, "masks": masks, "peak_growth_bytes": peak() - before
}))
"""


def main() -> None:
    """Make the releases, measure, and print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--megabytes", type=int, default=500, help="of the annotation file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result: dict[str, Json] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size, images = _write_coco(folder / "coco2017", args.megabytes * 10**6)
        say(f"an annotation file of {size / 1e6:.0f} MB, {images} images")
        result["list coco_json, read one image"] = _measure("coco2017", folder / "coco2017")
        result["json.load of the same file"] = _measure("json.load", folder / "coco2017")
        _write_large(folder)
        result["16-bit map, 5000 x 3600"] = _measure("ishape", folder / "ishape")
        result["folder of masks, 5000 x 3600"] = _measure("bbbc038v1", folder / "bbbc038v1")
    if args.json:
        emit_json({"annotation_file_bytes": size, "images": images, "figures": result})
        return
    for name, figures in result.items():
        growth, seconds = figures["peak_growth_bytes"] / 1e6, figures["seconds"]
        print(f"{name:34} {growth:9.0f} MB {seconds:8.1f} s {figures['masks']:9,} masks")


def _measure(name: str, folder: Path) -> Json:
    """Measure listing a release and reading its first image, in a new process."""
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, name, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    figures: Json = json.loads(done.stdout)
    return figures


def _write_coco(folder: Path, size: int) -> tuple[int, int]:
    """A COCO release of about `size` bytes of JSON; returns its size and number of images."""
    path = folder / "annotations/instances_val2017.json"
    path.parent.mkdir(parents=True)
    random = np.random.default_rng(0)
    count = 0
    with path.open("w") as file:
        file.write('{"annotations": [')
        while file.tell() < size:
            for _ in range(PER_IMAGE):
                points = random.uniform(0, SIDE, 2 * random.integers(5, 81)).round(2).tolist()
                annotation: Json = {"id": count, "image_id": count // PER_IMAGE, "category_id": 1}
                annotation |= {"iscrowd": 0, "area": 123.4, "bbox": [1.0, 2.0, 3.0, 4.0]}
                annotation |= {"segmentation": [points]}
                file.write(f"{', ' if count else ''}{json.dumps(annotation)}")
                count += 1
        images = [
            {"id": i, "width": SIDE, "height": SIDE, "file_name": f"{i:012d}.png"}
            for i in range(count // PER_IMAGE)
        ]
        categories = [{"id": 1, "name": "thing"}]
        file.write(f'], "categories": {json.dumps(categories)}, "images": {json.dumps(images)}}}')
    first = folder / f"val2017/{0:012d}.png"
    save(first, Image.new("L", (SIDE, SIDE)))
    for image in images[1:]:
        os.link(first, folder / "val2017" / str(image["file_name"]))
    return path.stat().st_size, len(images)


def _write_large(folder: Path) -> None:
    """The same scene as a release of iShape and of BBBC038."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = (y % 180 - 90) ** 2 + (x % 250 - 120) ** 2 < 80**2
    ids = ((y // 180 * 20 + x // 250 + 1) * inside).astype(np.int32)
    photo = Image.fromarray(np.stack((x % 256, y % 256, (x + y) % 256), 2).astype(np.uint8))
    sub = folder / "ishape/ishape_dataset/log/val"
    save(sub / "image/0.jpg", photo)
    save_ids(sub / "instance_map/0.png", ids, "I;16")
    image = folder / "bbbc038v1/stage1_train/a"
    save(image / "images/a.png", photo)
    for value in range(1, 401, 20):
        save_mask(image / f"masks/{value}.png", ids == value)


if __name__ == "__main__":
    main()
