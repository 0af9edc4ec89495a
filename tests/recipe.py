"""ASAM's recipe by pycocotools and numpy alone: what the project's output has to equal.

Written from what utils/sam_uncover_mask.py, sam_control_signal.py and modify_json.py do in
github.com/hkxiao/ASAM; nothing of this project is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

Annotations = Sequence[dict[str, Any]]
Pixels = npt.NDArray[np.uint8]


def order(annotations: Annotations) -> list[int]:
    """The positions by the area of the box, the largest first, equal ones as they come."""
    boxes = [annotation["bbox"] for annotation in annotations]
    return sorted(range(len(boxes)), key=lambda i: boxes[i][2] * boxes[i][3], reverse=True)


def masks(annotations: Annotations) -> list[Pixels]:
    """What segmentation_0.png, segmentation_1.png and so on show: (H, W), 0 and 255."""
    return [coco.decode(annotations[i]["segmentation"]) * 255 for i in order(annotations)]


def control_image(annotations: Annotations, height: int, width: int) -> Pixels:
    """The control image, (height, width, 3), RGB."""
    picture = np.zeros((height, width, 3), np.uint8)
    for j, i in enumerate(order(annotations)):
        pos = int((2**24 - 1) * (j + 1) / len(annotations))
        color = pos % 256, pos // 256 % 256, pos // 65536
        picture[coco.decode(annotations[i]["segmentation"]) == 1] = color
    return picture


def pairs(captions: str) -> str:
    """The text of sa_000000-controlnet-train.json, from that of sa_000000-blip2-caption.json."""
    lines = []
    for text in captions.splitlines():
        line = json.loads(text)
        name = line["img"]
        pair = {"prompt": line["prompt"], "target": name, "source": name.replace(".jpg", ".png")}
        lines.append(json.dumps(pair))
    return "\n".join(lines)
