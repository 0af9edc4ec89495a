"""What a large annotation file and large images take in memory, measured in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builder.sources.evaluation.fixtures.scenes import Scene, save_ids, save_photo

# Lists a source, reads its first image; prints the growth of the peak resident size, in bytes.
MEASURE = """
import re, sys
from pathlib import Path
from builder.sources.evaluation import open_source
import numpy, PIL.Image, PIL.JpegImagePlugin, PIL.PngImagePlugin

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024

source = open_source(sys.argv[1], "native", Path(sys.argv[2]), splits=["val"])
before = peak()
listing = source.listing()
with source.open() as reader:
    assert reader.read(listing.items[0]).row
print(peak() - before)
"""


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
)


def growth(name: str, folder: Path) -> int:
    """Bytes that listing a source and reading one image add to the peak of a process."""
    command = [sys.executable, "-c", MEASURE, name, str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_large_json_is_never_held(tmp_path: Path) -> None:
    scene = Scene(0)
    polygon = [[round(3 + 0.01 * k + 2 * (k % 7), 2) for k in range(1200)]]
    annotation = {"category_id": 1, "iscrowd": 0, "segmentation": polygon}
    text = json.dumps(annotation)[1:]
    path = tmp_path / "annotations/instances_val2017.json"
    path.parent.mkdir()
    with path.open("w") as file:
        file.write('{"annotations": [')
        file.write(", ".join(f'{{"id": {i}, "image_id": {i % 20}, {text}' for i in range(4000)))
        images = []
        for i in range(20):
            save_photo(tmp_path / f"val2017/{i}.png", scene)
            images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
        file.write(f'], "images": {json.dumps(images)}, "categories": [{{"id": 1, "name": "x"}}]}}')
    size = path.stat().st_size
    assert size > 25e6
    assert growth("coco2017", tmp_path) < size


def test_masks_of_a_large_image_are_never_held_together(tmp_path: Path) -> None:
    ys, xs = np.mgrid[:3600, :5000]
    ids = (ys // 180 * 20 + xs // 250 + 1) * ((ys % 180 > 30) & (xs % 250 > 40))
    folder = tmp_path / "ishape_dataset/log/val"
    save_ids(folder / "instance_map/0.png", ids.astype(np.int32), "I;16")
    (folder / "image").mkdir()
    Image.new("L", (5000, 3600)).save(folder / "image/0.png")
    assert len(np.unique(ids)) - 1 == 400
    bitmaps = 400 * ids.size // 8  # even at a bit a pixel
    assert growth("ishape", tmp_path) < bitmaps / 2
