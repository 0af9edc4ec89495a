"""The option class of each reader, by the name that table.toml gives the reader."""

from __future__ import annotations

from builder.sources.evaluation.readers.binary import BinaryOptions
from builder.sources.evaluation.readers.coco_json import CocoOptions
from builder.sources.evaluation.readers.index_map import IndexOptions
from builder.sources.evaluation.readers.options import Options
from builder.sources.evaluation.readers.polygon_json import PolygonOptions
from builder.sources.evaluation.readers.youtube_vis import YoutubeVisOptions

OPTIONS: dict[str, type[Options]] = {
    options.reader: options
    for options in (BinaryOptions, CocoOptions, IndexOptions, PolygonOptions, YoutubeVisOptions)
}
