"""An export equals what ASAM's recipe makes, on the sample and on real photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builder.exporting.origin import Origin
from builder.exporting.tree import export_config
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import Selection, open_sources
from builder.sources.sample import SamplePaths
from tests import recipe

REAL = Path(__file__).parents[3] / "shared" / "data" / "sa1b_images"


def compare(source_path: Path, folder: Path, images: int) -> None:
    """Build and export one image of a source, and compare its masks and control image.

    The recipe takes seconds for an image.
    """
    (source,) = open_sources([str(source_path)], config="sa_000000")
    items = source.listing().items
    assert len(items) == images
    chosen = frozenset({items[1].locator.image_id})
    source = replace(source, selection=Selection(chosen))
    build_config(source, folder / "dist", Settings("arrow", 8 << 20), quiet=True)
    origin = Origin(str(folder / "dist"), "sa_000000")
    exported = export_config(origin, folder / "out", missing_captions="empty")
    records = sorted(exported.folder.glob("*.json"))
    assert len(records) == len(chosen) == 1
    for path in records:
        record = json.loads(path.read_bytes())
        annotations = record["annotations"]
        size = record["image"]["height"], record["image"]["width"]
        expected = recipe.masks(annotations)
        assert len(list(path.with_suffix("").iterdir())) == len(expected)
        for j, mask in enumerate(expected):
            with Image.open(path.with_suffix("") / f"segmentation_{j}.png") as image:
                assert np.array_equal(np.asarray(image.convert("L")), mask), (path.name, j)
        with Image.open(path.with_suffix(".png")) as image:
            found = np.asarray(image)
        assert np.array_equal(found, recipe.control_image(annotations, *size)), path.name


@pytest.mark.skipif(not REAL.is_dir(), reason="no real photographs beside the checkout")
def test_real_photographs_come_out_as_by_the_recipe(tmp_path: Path) -> None:
    compare(REAL, tmp_path, images=10)


def test_the_sample_comes_out_as_by_the_recipe(sample_source: SamplePaths, tmp_path: Path) -> None:
    compare(sample_source.tar, tmp_path, images=12)
