"""The readers by the name that the table calls them."""

from __future__ import annotations

from builder.sources.evaluation.readers.base import Reader
from builder.sources.evaluation.readers.binary import BinaryMasks
from builder.sources.evaluation.readers.coco_json import CocoJson
from builder.sources.evaluation.readers.index_map import IndexMaps
from builder.sources.evaluation.readers.polygon_json import PolygonJson
from builder.sources.evaluation.readers.youtube_vis import YoutubeVis

READERS: dict[str, type[Reader]] = {
    "binary": BinaryMasks,
    "coco_json": CocoJson,
    "index": IndexMaps,
    "polygon_json": PolygonJson,
    "youtube_vis": YoutubeVis,
}
