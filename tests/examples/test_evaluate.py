"""The evaluation example: the two means, where boxes and masks stand, void pixels, the table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers")

from builder.core.console import run_command
from builder.evaluating.preprocess import Pad, Square
from builder.sources.evaluation.fixtures.scenes import save_mask
from examples import evaluate as example
from tests import photos
from tests.examples.conftest import built
from tests.factory import annotation, members, record, write_folder, write_tar


@pytest.fixture(scope="module")
def fixtures_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(example.fixtures(tmp_path_factory.mktemp("fixtures")))


def test_a_table_of_evaluation_sets_beside_the_paper(
    fixtures_dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(fixtures_dist), "--quiet"]
    configs = ["--configs", "coco2017_asam", "voc2012_asam", "kvasir_seg_asam:sessile"]
    assert example.main([*command, *configs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "RANDOM WEIGHTS" in lines[0]
    rows = {cells[1]: cells for cells in ([c.strip() for c in x.split("|")] for x in lines[4:])}
    assert rows["coco2017_asam"][-3:-1] == ["77.5", "79.4"]
    assert rows["kvasir_seg_asam:sessile"][-3:-1] == ["", ""]
    assert all(0 <= float(cells[4]) <= 100 for cells in rows.values())


def test_train_configs_can_be_evaluated_too(
    small_dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(small_dist), "--configs", "sa_000000", "--steps", "1", "--resize"]
    assert example.main([*command, "pad", "--masks-at-once", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["random_weights"] is True
    result = report["results"][0]
    assert result["images"] == 1
    assert result["masks"] == 3
    assert result["published_sam_asam"] is None


def test_a_mask_that_the_square_loses_is_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = {"width": 1200, "height": 800}
    pixel, block = np.zeros((2, 800, 1200), bool)
    pixel[401, 601] = True
    block[100:500, 100:900] = True
    changed = record(1, **size)[1]
    changed["annotations"] = [annotation(pixel, 1), annotation(block, 2)]
    tar = write_tar(tmp_path / "sa_000000.tar", members([1], {1: changed}, **size))
    dist = built(tmp_path / "dist", str(tar))
    command = ["--data", str(dist), "--configs", "sa_000000", "--quiet", "--json", "--resize"]
    for resize, told in (("square", True), ("pad", False)):
        capsys.readouterr()
        assert example.main([*command, resize]) == 0
        output = capsys.readouterr()
        assert json.loads(output.out)["results"][0]["masks"] == 2
        assert ("as in ASAM's code: 1\n" in output.err) == told


def test_an_unknown_config_is_an_error_of_one_line(
    fixtures_dist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(example.main, ["--data", str(fixtures_dist), "--configs", "nonsense"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error:")
    assert "\n" not in error


def test_the_two_means_differ_when_images_have_different_numbers_of_masks() -> None:
    scores = example.Scores("camo_asam:test", [[1.0], [0.0, 0.5, 0.1]])
    assert scores.over_masks == pytest.approx(100 * 1.6 / 4)
    assert scores.over_images == pytest.approx(100 * (1 + 0.2) / 2)
    assert scores.published == (70.7, 73.0)


def test_iou_leaves_void_pixels_out() -> None:
    wanted = np.zeros((2, 4, 4), bool)
    wanted[0, :2] = True
    wanted[1, 3] = True
    found = np.zeros_like(wanted)
    found[:, :3] = True
    everything = np.ones((4, 4), bool)
    assert example.ious(found, wanted, everything) == pytest.approx([8 / 12, 0])
    counted = everything.copy()
    counted[2:] = False
    assert example.ious(found, wanted, counted) == pytest.approx([1.0])  # the other is void


class BoxModel(torch.nn.Module):
    """Answers each box with the box: what is left of an error is that of the coordinates."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=256))

    def get_image_embeddings(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def forward(
        self, image_embeddings: torch.Tensor, input_boxes: torch.Tensor, multimask_output: bool
    ) -> Any:
        centres = (torch.arange(256) + 0.5).view(1, 1, -1)
        left, top, right, bottom = (input_boxes[0] + 0.5).T[..., None, None]
        inside = (centres > left) & (centres < right)
        inside = inside & ((centres > top) & (centres < bottom)).transpose(1, 2)
        return SimpleNamespace(pred_masks=(inside.float() * 2 - 1)[None, :, None])


@pytest.mark.parametrize("resize", ["square", "pad"])
@pytest.mark.parametrize("size", [(300, 500), (640, 200)])
def test_boxes_and_masks_keep_their_place(resize: str, size: tuple[int, int]) -> None:
    height, width = size
    masks = np.zeros((2, height, width), bool)
    masks[0, 40:120, 30:130] = True
    masks[1, height - 90 :, width - 80 :] = True
    preprocess = {"square": Square, "pad": Pad}[resize](256)
    segmenter = example.Segmenter(BoxModel(), preprocess, torch.device("cpu"))
    embedding = segmenter.look(Image.new("RGB", (width, height)))
    found = segmenter.masks(embedding, preprocess.boxes(masks), size)
    assert found.shape == masks.shape
    assert min(example.ious(found, masks, np.ones(size, bool))) > 0.9


@pytest.mark.parametrize("number", range(2, 9))
def test_a_photograph_that_exif_turns_is_read_as_it_is_shown(number: int, tmp_path: Path) -> None:
    photo = photos.photo().resize((384, 256), Image.Resampling.NEAREST)
    turned = photos.encode(photos.stored(photo, number), number)
    write_folder(tmp_path / "CAMO/imgs", {"a.jpg": turned})
    save_mask(tmp_path / "CAMO/gts/a.png", photos.masks_of(photo)[0])
    arguments = ["--eval", "camo", "--protocol", "asam", "--source", str(tmp_path)]
    dist = built(tmp_path / "dist", *arguments)
    options = {"data": str(dist), "image_root": None, "steps": 1, "quiet": True}
    args = argparse.Namespace(**options, masks_at_once=16)
    seen: list[Image.Image] = []

    class Seen(example.Segmenter):
        def look(self, image: Image.Image) -> torch.Tensor:
            seen.append(image)
            return super().look(image)

    segmenter = Seen(BoxModel(), Square(256), torch.device("cpu"))
    scores = example.evaluate(args, segmenter, "camo_asam")
    assert np.array_equal(photos.masks_of(seen[0])[0], photos.masks_of(photo)[0])
    assert scores.over_masks > 90


def test_crowds_count_only_where_asam_counts_them() -> None:
    solid = np.ones((4, 4), bool)
    row = {"annotations": [{**annotation(solid, 1), "iscrowd": True}, annotation(solid, 2)]}
    assert [len(masks) for masks in example.masks_of(row, True, 16)] == [2]
    assert [len(masks) for masks in example.masks_of(row, False, 16)] == [1]
