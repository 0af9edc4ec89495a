"""`python -m builder.preview`: what it counts, draws and writes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from asam_datasets import decode_masks
from builder.core.console import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_command
from builder.core.layout import config_folder, index_path, receipts_folder, rejects_path
from builder.masks.rle import encode
from builder.preview import main
from builder.previewing.charts import draw_charts, short
from builder.previewing.counts import compare
from builder.previewing.reading import Config, spread
from builder.previewing.sheet import draw_sheet
from builder.previewing.statistics import Statistics, gather
from builder.previewing.views import Outline, View, outline, svg_path, view_row
from builder.shards.config import build_config
from builder.shards.plan import Settings
from builder.sources.sa1b import open_sources
from tests.contracts import rewrite
from tests.factory import members, write_tar
from tests.loopback import LoopbackHub
from tests.previewing.configs import HOSTILE, build_evaluation, build_train


@pytest.fixture(scope="module", params=["arrow", "parquet"])
def dist(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_train(tmp_path_factory.mktemp("train"), request.param)


@pytest.fixture(scope="module")
def arrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_train(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_evaluation(tmp_path_factory.mktemp("eval"))


@pytest.fixture(scope="module")
def drawn(arrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for `arrow`."""
    out = tmp_path_factory.mktemp("drawn")
    assert main([str(arrow), "sa_000000", "--out", str(out), "--quiet"]) == EXIT_OK
    return out


class Page(HTMLParser):
    """The parts of a page: tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def preview(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    status = main([*map(str, args), "--json", "--quiet"])
    written: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status == (EXIT_OK if written["agrees"] else EXIT_FAILED)
    return written


def test_statistics_are_those_of_the_rows(dist: Path) -> None:
    config = Config(str(dist), "sa_000000")
    rows = [row for _, _, row in config.rows(range(len(config)))]
    found = gather(config, None)
    assert found.complete
    assert found.rows == len(rows) == 23
    annotations = [a for row in rows for a in row["annotations"]]
    assert found.masks_per_image.tolist() == [len(row["annotations"]) for row in rows]
    assert found.areas.tolist() == [a["area"] for a in annotations]
    assert found.scores["predicted_iou"].tolist() == [a["predicted_iou"] for a in annotations]
    assert found.sizes == {(96, 64): 23}
    assert found.captions_missing == 1
    assert found.rejected == 1
    assert sorted(found.caption_words)[:3] == [5, 5, 5]


def test_a_sample_of_the_statistics_is_spread_over_the_config(dist: Path) -> None:
    config = Config(str(dist), "sa_000000")
    found = gather(config, 5)
    assert not found.complete
    assert 5 <= found.rows < 23
    read = [block.first for block in config.some_blocks(5)]
    assert read[0] > 0
    assert max(np.diff([0, *read, 23])) <= 12


def test_rows_are_found_by_number_and_by_name(dist: Path) -> None:
    config = Config(str(dist), "sa_000000")
    assert [row["file_name"] for _, _, row in config.rows([22, 0, 2])] == [
        "sa_1.jpg",
        "sa_4.jpg",
        "sa_24.jpg",
    ]
    assert config.find(["sa_24.jpg", "sa_1.jpg"]) == [0, 22]


@given(st.integers(0, 1000), st.integers(1, 50))
def test_spread_numbers_are_different_and_in_range(total: int, count: int) -> None:
    numbers = spread(total, count)
    assert len(numbers) == min(total, count)
    assert numbers == sorted(set(numbers))
    assert all(0 <= n < total for n in numbers)


def test_a_good_build_agrees(
    dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = preview(capsys, dist, "sa_000000", "--out", tmp_path)
    assert written["agrees"]
    assert written["disagreements"] == []
    assert [Path(file).name for file in written["files"]] == ["index.html", "contact_sheet.jpg"]
    whats = {count["what"]: count["found"] for count in written["counts"]}
    assert whats["rejects"] == 2
    page = Page(tmp_path / "index.html")
    assert "Counts agree" in page.text
    assert sum(tag == "article" for tag, _ in page.tags) == 12
    assert sum(tag == "figure" for tag, _ in page.tags) == 6
    for reason in json.loads(index_path(dist, "sa_000000").read_bytes())["counts"]["rejects"]:
        assert reason in page.text
    with Image.open(tmp_path / "contact_sheet.jpg") as sheet:
        assert sheet.width == 1480
        assert sheet.height > 320


def test_what_does_not_agree_is_named_and_the_status_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = build_train(tmp_path)
    rewrite(index_path(dist, "sa_000000"), lambda index: index["counts"].update(masks=70))
    with config_folder(dist, "sa_000000").joinpath("train-00000-of-00008.arrow").open("ab") as file:
        file.write(b"more")
    rejects_path(dist, "sa_000000").write_text("")
    written = preview(capsys, dist, "sa_000000", "--out", tmp_path / "out")
    lines = "\n".join(written["disagreements"])
    assert "masks: 70 in the index, 69 in the rows read" in lines
    assert lines.count("rejects.jsonl: it is not the one that the index names") == 1
    assert re.search(r"train-00000-of-00008.arrow: expected \d+ bytes, found \d+", lines)
    page = Page(tmp_path / "out" / "index.html")
    assert any("things disagree" in text for text in page.text)
    assert "Counts agree" not in page.text


def test_each_fault_of_a_file_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = build_train(tmp_path)
    receipt = receipts_folder(dist, "sa_000000") / "train-00000-of-00008.arrow.json"
    shard = config_folder(dist, "sa_000000") / "train-00001-of-00008.arrow"
    arguments = (dist, "sa_000000", "--out", tmp_path, "--rows", "1")
    for path, extra in ((receipt, b"#"), (shard, b"#"), (rejects_path(dist, "sa_000000"), b"\n")):
        whole = path.read_bytes()
        path.write_bytes(whole + extra)
        assert len(preview(capsys, *arguments)["disagreements"]) == 1
        path.write_bytes(whole)
    receipt.unlink()
    written = preview(capsys, *arguments)
    assert written["disagreements"] == [f"sa_000000/{receipt.stem}: it has no receipt"]


def test_a_picture_that_does_not_decode_and_an_rle_that_is_malformed_are_problems(
    arrow: Path,
) -> None:
    config = Config(str(arrow), "sa_000000")
    ((block, number, row),) = config.rows([4])
    row["image"]["bytes"] = b"no picture"
    row["conditioning_image"]["bytes"] = row["conditioning_image"]["bytes"][:-40]
    row["annotations"][0]["segmentation"]["counts"] = "~"
    view = view_row(block, number, row)
    assert [problem.split(":")[0] for problem in view.problems] == [
        "image",
        "conditioning_image",
        "mask 0",
    ]
    assert len(view.masks) == len(row["annotations"]) - 1


def test_a_box_that_is_none_is_a_problem_and_all_masks_are_shown(arrow: Path) -> None:
    ((block, number, row),) = Config(str(arrow), "sa_000000").rows([4])
    row["annotations"][0]["bbox"][3] = float("nan")
    view = view_row(block, number, row)
    (problem,) = view.problems
    assert problem.startswith(f"annotation {row['annotations'][0]['id']}: bbox must be")
    assert sorted(mask.rank for mask in view.masks) == list(range(len(row["annotations"])))


def test_text_of_the_data_is_escaped(arrow: Path, tmp_path: Path) -> None:
    command = [str(arrow), "sa_000000", "--out", str(tmp_path), "--quiet", "--images", "sa_1.jpg"]
    assert main(command) == EXIT_OK
    page = Page(tmp_path / "index.html")
    assert HOSTILE in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_names_that_no_encoding_holds_are_shown(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "sa_000000.tar", members([1]) | {"/caf\udce9<i>.jpg": b""})
    (source,) = open_sources([str(tar)])
    settings = Settings("arrow", 1 << 20)
    build_config(source, tmp_path / "dist", settings, quiet=True)
    command = [str(tmp_path / "dist"), "sa_000000", "--out", str(tmp_path), "--quiet"]
    assert main(command) == EXIT_OK
    assert "/caf\\udce9<i>.jpg" in Page(tmp_path / "index.html").text


def test_the_page_refers_to_nothing_outside(drawn: Path) -> None:
    page = Page(drawn / "index.html")
    links = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "xlink:href")]
    assert links
    assert all(link and link.startswith(("data:", "#")) for link in links)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link and link[0] == "#"} <= {*ids}


def test_the_same_dist_gives_the_same_files_and_messages_go_to_stderr(
    arrow: Path, drawn: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "builder.preview", str(arrow), "sa_000000", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_OK
    for name in ("index.html", "contact_sheet.jpg"):
        assert (drawn / name).read_bytes() == (tmp_path / name).read_bytes()
    assert done.stdout == ""
    assert "sa_000000: counts agree" in done.stderr
    assert str(tmp_path / "index.html") in done.stderr


def test_an_evaluation_config_shows_categories_and_void(
    evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = preview(capsys, evaluation, "camo", "--out", tmp_path)
    assert written["agrees"], written["disagreements"]
    page = Page(tmp_path / "index.html")
    assert {"<b>$猫$</b>", "dog (crowd)", "no category"} <= set(page.text)
    classes = [attributes.get("class") for _, attributes in page.tags]
    assert classes.count("void") == 3
    assert "caption" not in classes
    assert "Categories" in page.text
    assert any("2 in all, most often dog (12 of 18 instances)" in text for text in page.text)


def test_annotations_only_shows_masks_and_takes_the_users_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = build_train(tmp_path, annotations_only=True)
    config = Config(str(dist), "sa_000000")
    assert view_row(*next(config.rows([0]))).photo is None
    config = Config(str(dist), "sa_000000", image_root=tmp_path / "sa_000000.tar")
    photo = view_row(*next(config.rows([0]))).photo
    assert photo is not None
    assert photo.size == (96, 64)
    assert preview(capsys, dist, "sa_000000", "--out", tmp_path / "out")["agrees"]
    assert (tmp_path / "out" / "contact_sheet.jpg").stat().st_size > 10_000


def test_a_repo_is_previewed_without_its_mask_pngs(
    arrow: Path, tmp_path: Path, hub: LoopbackHub
) -> None:
    hub.seed("xhk/pictures", arrow)
    command = [sys.executable, "-m", "builder.preview", "xhk/pictures", "sa_000000", "--json"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out", "--rows", "2", "--statistics-rows", "4"],
        env=hub.env(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_OK, done.stderr
    written = json.loads(done.stdout)
    assert written["agrees"]
    assert written["statistics_rows"] < written["rows"] == 23
    page = Page(tmp_path / "out" / "index.html")
    assert sum(tag == "article" for tag, _ in page.tags) == 2
    assert any("sizes and receipts are compared only in a local dist" in t for t in page.text)
    shards = [r for r in hub.matching("*", "GET", "cdn") if r.status == 206]
    size = sum(path.stat().st_size for path in config_folder(arrow, "sa_000000").glob("*.arrow"))
    assert shards
    assert sum(request.sent for request in shards) < size / 2


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["sa_000009"], EXIT_FAILED, "no config 'sa_000009'"),
        (["sa_000000", "--images", "sa_9999.jpg"], EXIT_FAILED, "no image sa_9999.jpg"),
        (["sa_000000", "--rows", "0"], EXIT_USAGE, "'0' is not a whole number of at least 1"),
        (["sa_000000", "--rows", "1", "--images", "a"], EXIT_USAGE, "not allowed with"),
    ],
)
def test_mistakes_are_named(
    arrow: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    status: int,
    said: str,
) -> None:
    try:
        found = run_command(main, [str(arrow), *args, "--out", str(tmp_path / "out")])
    except SystemExit as left:  # argparse
        found = int(left.code or 0)
    assert found == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def filled(shape: Outline, width: int, height: int, scale: int) -> np.ndarray:
    """An outline filled by the even-odd rule, drawn by PIL at `scale` pixels a pixel."""
    total = np.zeros((height * scale, width * scale), bool)
    for polygon in shape:
        canvas = Image.new("1", (width * scale, height * scale))
        points = [(float(x) * scale - 0.5, float(y) * scale - 0.5) for x, y in polygon]
        ImageDraw.Draw(canvas).polygon(points, fill=1)
        total ^= np.asarray(canvas)
    return total


def test_outlines_enclose_their_masks_holes_included() -> None:
    y, x = np.mgrid[:60, :90]
    ring = (x - 45) ** 2 + (y - 30) ** 2
    mask = ((ring < 28**2) & (ring > 12**2)) | (x < 6)
    drawn = filled(outline(mask), 90, 60, 8)
    found = drawn.reshape(60, 8, 90, 8).mean((1, 3)) > 0.5
    assert np.mean(found != mask) < 0.01
    assert outline(np.zeros((4, 4), bool)) == []


def test_svg_paths_say_the_outline_in_whole_numbers() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:7] = True
    path = svg_path(outline(mask))
    assert re.fullmatch(r"(M\d+ \d+l(-?\d+(?=[ -]) ?)*-?\d+z)+", path)
    start, moves = path[1:-1].split("l")
    steps = [int(n) for n in re.findall(r"-?\d+", moves)]
    points = np.cumsum([[int(n) for n in start.split()], *np.reshape(steps, (-1, 2))], axis=0)
    assert points.min(0).tolist() == [6, 4]
    assert points.max(0).tolist() == [14, 10]


def test_a_mask_too_small_to_be_seen_shows_as_its_box(arrow: Path) -> None:
    config = Config(str(arrow), "sa_000000")
    ((block, number, row),) = config.rows([0])
    mask = np.zeros((3000, 3000), bool)
    mask[1500, 1500] = True
    segmentation = {"size": [3000, 3000], "counts": encode(mask)}
    row["annotations"] = [{"id": 1, "segmentation": segmentation, "bbox": [1500, 1500, 1, 1]}]
    row["annotations"][0]["area"] = 1
    row |= {"width": 3000, "height": 3000, "image": None, "conditioning_image": None}
    view = view_row(block, number, row)
    assert not decode_masks(row["annotations"], (1024, 1024)).any()
    assert view.size == (1024, 1024)
    ((polygon,),) = [shape.outline for shape in view.masks]
    assert polygon.min(0).tolist() == [512, 512]
    assert polygon.max(0).tolist() == [513, 513]


@pytest.mark.parametrize("areas", [[200.0, 250.0, 300.0], [3.0, 4e5]])
def test_a_logarithmic_axis_has_words_of_its_own_at_any_range(
    arrow: Path, areas: list[float]
) -> None:
    found = gather(Config(str(arrow), "sa_000000"), None)
    found.areas = np.array(areas)
    (chart,) = (chart for chart in draw_charts(found, "train") if chart.key == "area")
    assert "mathdefault" not in chart.svg


def test_bars_count_everything_once(arrow: Path) -> None:
    config = Config(str(arrow), "sa_000000")
    found = gather(config, None)
    charts = {chart.key: chart for chart in draw_charts(found, "train")}
    assert list(charts) == ["masks", "area", "iou", "stability", "caption", "sizes"]
    assert sum(n for _, n in charts["masks"].bars) == found.rows
    assert sum(n for _, n in charts["area"].bars) == found.masks
    assert sum(n for _, n in charts["iou"].bars) == found.masks
    assert sum(n for _, n in charts["caption"].bars) == 22
    assert charts["sizes"].bars == [("96 × 64", 23)]  # noqa: RUF001
    assert charts["masks"].svg.count('class="bar"') == len(charts["masks"].bars)


@pytest.mark.parametrize(
    ("areas", "zeros"), [([0, 0, 0, 40, 400], 3), ([0, 30, 60, 90], 1), ([0, 0], 0)]
)
def test_areas_of_0_are_part_of_the_statistics(areas: list[float], zeros: int) -> None:
    statistics = Statistics(areas=np.array(areas, np.float64))
    chart = {chart.key: chart for chart in draw_charts(statistics, "train")}["area"]
    median, mean = short(float(np.median(areas))), short(float(np.mean(areas)))
    assert chart.summary.startswith(f"median {median}, mean {mean}, ")
    assert "smallest 0, " in chart.summary
    assert sum(n for _, n in chart.bars) == len(areas)
    told = f"{zeros} of 0 pixels not drawn, because the scale is logarithmic"
    assert (told in chart.summary) == bool(zeros)


def test_pictures_on_the_sheet_have_a_border() -> None:
    white = Image.new("RGB", (90, 60), "white")
    row = {"file_name": "a.jpg", "width": 90, "height": 60, "text": "a", "annotations": []}
    sheet = draw_sheet([View(0, "train", row, (90, 60), white, white)], "train", 1)
    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("L")).astype(int)
    picture = pixels[14 : 14 + 315]  # the picture's height on the sheet; the margin is 14 pixels
    dark = np.flatnonzero((picture < 215).mean(0) > 0.9)
    assert len(set((dark // 20).tolist())) >= 4  # the edges of three pictures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.123456, "0.123"), (2.5e-5, "0.000025"), (96.5, "96.5"), (12, "12")),
        *((3843.2, "3,843"), (24_300, "24.3k"), (1_630_000, "1.63M")),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_counts_of_a_part_are_not_compared(arrow: Path) -> None:
    config = Config(str(arrow), "sa_000000")
    found = compare(config, gather(config, 5), config.rejects())
    assert found.faults == []
    assert any("not compared" in note for note in found.notes)
    assert {count.what for count in found.counts if count.found is None} == {
        "rows",
        "masks",
        "captions missing",
    }


def test_a_photo_is_shown_as_it_is(arrow: Path) -> None:
    config = Config(str(arrow), "sa_000000")
    ((block, number, row),) = config.rows([0])
    view = view_row(block, number, row)
    assert view.photo is not None
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert np.array_equal(np.asarray(view.photo), np.asarray(image.convert("RGB")))
    assert view.control is not None
    with Image.open(io.BytesIO(row["conditioning_image"]["bytes"])) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(view.control.convert("RGB")), expected)
