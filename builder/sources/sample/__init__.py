"""A sample of SA-1B made by code: a tar of twelve pictures with masks, and its captions file.

It has SA-1B's sizes, file formats and statistics, so that everything can be tried without a
download or a licence. In the tar all jpgs come before all jsons, because a record's two files need
not be adjacent. The same platform makes the same bytes every time.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

from builder.core.files import write_bytes
from builder.core.records import Json
from builder.sources.sample import scenes
from builder.sources.sample.canvas import Canvas, Layer

TAR = "sa_000000.tar"
CAPTIONS = "sa_000000-blip2-caption.json"


class SamplePaths(NamedTuple):
    """What `write_sample` wrote."""

    tar: Path
    captions: Path


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture of the sample; its number in the list is its image id and its seed."""

    paint: Callable[[Canvas, bool], None]
    dusk: bool
    width: int
    height: int
    caption: str


# SA-1B's photographs have a short side of 1500 pixels and a long one of 1914 to 2650.
SCENES = (
    Scene(scenes.harbour, False, 2250, 1500, "sailboats in a harbour with a lighthouse and hills"),
    Scene(scenes.balloons, False, 1500, 2250, "hot air balloons flying over green fields"),
    Scene(scenes.still_life, False, 2000, 1500, "a bowl of fruit and a vase of flowers on a table"),
    Scene(
        scenes.village, False, 2250, 1500, "a row of colorful houses with trees and a white fence"
    ),
    Scene(scenes.city, False, 2250, 1500, "a city skyline at night with lights in the windows"),
    Scene(
        scenes.mountains, False, 2650, 1500, "tents in front of a lake and snow covered mountains"
    ),
    Scene(scenes.fog, False, 2000, 1500, "a foggy sky over the water"),
    Scene(scenes.meadow, False, 1500, 1914, "a field of flowers with a windmill in the background"),
    Scene(scenes.harbour, True, 1500, 2060, "boats on the sea at sunset"),
    Scene(
        scenes.still_life, True, 1500, 2000, "a vase of flowers and a cup of tea on a striped cloth"
    ),
    Scene(scenes.balloons, True, 2250, 1500, "colorful hot air balloons at sunrise"),
    Scene(scenes.mountains, True, 2250, 1500, "a mountain lake with pine trees at sunset"),
)


def write_sample(folder: Path, on_picture: Callable[[], object] = lambda: None) -> SamplePaths:
    """Write the sample's tar and captions file into `folder`; existing ones are replaced.

    `on_picture` is called after each picture, which takes about half a second.

    The tar's time of change is always the same, as its bytes are, so a build of the sample resumes.
    """
    pictures, records, captions = [], [], []
    for image_id, scene in enumerate(SCENES, start=1):
        jpeg, record = make_record(image_id, scene)
        name = record["image"]["file_name"]
        pictures.append((name, jpeg))
        records.append((name.replace(".jpg", ".json"), json.dumps(record).encode()))
        captions.append(json.dumps({"img": name, "prompt": scene.caption}) + "\n")
        on_picture()
    paths = SamplePaths(folder / TAR, folder / CAPTIONS)
    write_bytes(paths.tar, _tar(pictures + records))
    os.utime(paths.tar, (0, 0))
    write_bytes(paths.captions, "".join(captions).encode())
    return paths


def make_record(image_id: int, scene: Scene) -> tuple[bytes, Json]:
    """Paint one scene: its JPEG and its record in SA-1B's form."""
    rng = np.random.Generator(np.random.PCG64(image_id))
    canvas = Canvas(scene.width, scene.height, rng)
    scene.paint(canvas, scene.dusk)
    buffer = io.BytesIO()
    Image.fromarray(canvas.picture()).save(buffer, "JPEG", quality=85, subsampling="4:2:0")
    masks = canvas.masks()
    first_id = 523_000_000 + 1000 * image_id
    annotations = [
        _annotation(first_id + int(number), masks[number], scene, rng)
        for number in rng.permutation(len(masks))
    ]
    if annotations:  # SA-1B's estimates of IoU exceed 1 now and then
        annotations[0]["predicted_iou"] = 1.0175781250
    image = {
        "image_id": image_id,
        "width": scene.width,
        "height": scene.height,
        "file_name": f"sa_{image_id}.jpg",
    }
    return buffer.getvalue(), {"image": image, "annotations": annotations}


def _annotation(number: int, layer: Layer, scene: Scene, rng: np.random.Generator) -> Json:
    """A mask in SA-1B's form, its keys in SA-1B's order."""
    x0, y0, x1, y1 = layer.box
    rows, columns = np.nonzero(layer.mask)
    prompt = int(rng.integers(len(rows)))
    inside = rng.integers(0, 16, 2) / 16
    return {
        "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
        "area": len(rows),
        "segmentation": {
            "size": [scene.height, scene.width],
            "counts": _counts(layer, scene.width, scene.height),
        },
        "predicted_iou": float(np.float32(rng.uniform(0.88, 0.999))),
        "point_coords": [
            [float(x0 + columns[prompt] + inside[0]), float(y0 + rows[prompt] + inside[1])]
        ],
        "crop_box": _crop_box(layer, scene, rng),
        "id": number,
        "stability_score": float(np.float32(rng.uniform(0.95, 0.999))),
    }


def _crop_box(layer: Layer, scene: Scene, rng: np.random.Generator) -> list[float]:
    """The crop that found the mask, XYWH: the whole image or a quarter that holds it."""
    width, height = scene.width // 2 + 96, scene.height // 2 + 96
    x0, y0, x1, y1 = layer.box
    x = 0 if x1 <= width else scene.width - width
    y = 0 if y1 <= height else scene.height - height
    if x0 < x or y0 < y or rng.random() < 0.5:
        return [0.0, 0.0, float(scene.width), float(scene.height)]
    return [float(x), float(y), float(width), float(height)]


def _counts(layer: Layer, width: int, height: int) -> str:
    """COCO's compressed RLE of a layer within the whole image.

    The runs are found within the layer's box. A row of zeros below the box separates its columns.
    Two runs are merged if one reaches the image's lower edge and the next begins at the top of the
    next column.
    """
    padded = np.zeros((layer.mask.shape[1], layer.mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = layer.mask.T
    steps = np.diff(padded, axis=1)

    def places(step: int) -> npt.NDArray[np.int64]:
        columns, rows = np.nonzero(steps == step)
        return (columns + layer.x) * height + rows + layer.y

    starts, ends = places(1), places(-1)
    apart = starts[1:] > ends[:-1]
    edges = np.empty(2 * (np.count_nonzero(apart) + 1), np.int64)
    edges[0::2] = starts[np.append(True, apart)]
    edges[1::2] = ends[np.append(apart, True)]
    if edges[-1] < width * height:
        edges = np.append(edges, width * height)
    rle = {"size": [height, width], "counts": np.diff(edges, prepend=0).tolist()}
    return str(coco.frPyObjects(rle, height, width)["counts"], "ascii")


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    """A tar whose bytes depend on the members alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)  # mtime, uid and gid 0, mode 644
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
