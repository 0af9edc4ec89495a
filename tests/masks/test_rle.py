"""Compressed RLE, read as pycocotools reads it where it is good and refused where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from asam_datasets import MaskRuns, parse_rle
from builder.masks.rle import RleBatch, encode
from tests.masks.images import Masks, coco_counts, compress, draw, mask_stacks, real_records


def reference_parse(counts: bytes, pixels: int) -> list[tuple[int, int]] | str:
    """One RLE, one character after another: its runs of ones, or what is wrong with it."""
    if not counts:
        return "rle_empty"
    if any(not 48 <= c < 112 for c in counts):
        return "rle_bad_character"
    if (counts[-1] - 48) & 32:
        return "rle_unterminated"
    groups: list[list[int]] = [[]]
    for c in counts:
        groups[-1].append(c - 48)
        if not (c - 48) & 32:
            groups.append([])
    values: list[int] = []
    if any(len(group) > 12 for group in groups):
        return "rle_overflow"
    for group in groups[:-1]:
        value = sum((code & 31) << (5 * k) for k, code in enumerate(group))
        if group[-1] & 16:
            value -= 1 << (5 * len(group))
        values.append(value + values[-2] if len(values) > 2 else value)
    for value in values:
        if not 0 <= value <= pixels:
            return "rle_negative" if value < 0 else "rle_too_long"
    if sum(values) != pixels:
        return "rle_too_short" if sum(values) < pixels else "rle_too_long"
    edges = np.cumsum([0, *values])
    return [(int(a), int(b)) for a, b in zip(edges[1::2], edges[2::2], strict=False) if b > a]


def outcome(runs: MaskRuns, i: int) -> list[tuple[int, int]] | str:
    if i in runs.problems:
        assert runs.offsets[i] == runs.offsets[i + 1]
        return runs.problems[i][0]
    span = slice(runs.offsets[i], runs.offsets[i + 1])
    return list(zip(runs.starts[span].tolist(), runs.ends[span].tolist(), strict=True))


@settings(deadline=None)
@given(mask_stacks())
def test_runs_areas_and_boxes_are_those_of_pycocotools(masks: Masks) -> None:
    number, height, width = masks.shape
    counts = coco_counts(masks)
    batch = RleBatch.parse(counts, height, width)
    rles = [{"size": [height, width], "counts": c.encode()} for c in counts]
    assert batch.problem == [None] * number
    assert batch.areas.tolist() == coco.area(rles).tolist()
    assert batch.areas.tolist() == masks.sum(axis=(1, 2)).tolist()
    filled = masks.any(axis=(1, 2))
    assert np.array_equal(batch.bboxes[filled], coco.toBbox(rles)[filled])
    assert not batch.bboxes[~filled].any()
    for i in range(number):
        flat = np.zeros(height * width, np.bool_)
        for k in range(batch.runs.offsets[i], batch.runs.offsets[i + 1]):
            flat[batch.runs.starts[k] : batch.runs.ends[k]] = True
        assert np.array_equal(flat.reshape(width, height).T, masks[i])
        assert encode(masks[i]) == counts[i]


good = st.lists(st.integers(0, 60), min_size=1, max_size=8).map(compress)
hostile = st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=5).map(compress)
noise = st.text(alphabet=[chr(c) for c in range(46, 114)], max_size=40)
anything = st.one_of(good, hostile, noise, st.text(max_size=8), st.binary(max_size=8))


@settings(deadline=None)
@given(st.lists(anything, max_size=12), st.integers(1, 100))
def test_any_strings_are_parsed_as_if_each_stood_alone(
    counts: list[str | bytes], pixels: int
) -> None:
    runs = parse_rle(counts, pixels)
    assert len(runs) == len(counts)
    for i, text in enumerate(counts):
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        assert outcome(runs, i) == reference_parse(data, pixels)


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), min_size=1), st.booleans()), max_size=8))
def test_masks_of_different_sizes_are_checked_each_against_its_own(
    drawn: list[tuple[list[int], bool]],
) -> None:
    counts = [compress(numbers) for numbers, _ in drawn]
    pixels = [sum(numbers) + wrong for numbers, wrong in drawn]
    runs = parse_rle(counts, pixels)
    assert set(runs.problems) == {i for i, (_, wrong) in enumerate(drawn) if wrong}
    assert all(reason == "rle_too_short" for reason, _, _ in runs.problems.values())


@pytest.mark.parametrize(
    ("counts", "reason", "expected", "found"),
    [
        ("", "rle_empty", "a compressed COCO RLE", "an empty string"),
        ("6/6", "rle_bad_character", "characters from '0' to 'o'", "byte 0x2f at 1"),
        ("6é", "rle_bad_character", "characters from '0' to 'o'", "byte 0xc3 at 1"),
        ("6\ud800", "rle_bad_character", "characters from '0' to 'o'", "byte 0xed at 1"),
        ("66P", "rle_unterminated", "a last character without the continuation bit", "'P'"),
        ("P" * 12 + "1", "rle_overflow", "at most 12 characters a count", "13 characters"),
        (compress([5, -3, 10]), "rle_negative", "counts of 0 or more", "a count of -3"),
        (compress([5, 6]), "rle_too_short", "12 pixels", "counts that add up to 11"),
        (compress([5, 8]), "rle_too_long", "12 pixels", "counts that add up to 13"),
        (compress([5, 2**50]), "rle_too_long", "12 pixels", "a count of 13 or more"),
    ],
)
def test_a_malformed_rle_is_told_and_its_neighbours_stay(
    counts: str, reason: str, expected: str, found: str
) -> None:
    batch = RleBatch.parse([compress([2, 3, 7]), counts, compress([0, 12])], 3, 4)
    assert batch.problem == [None, (reason, expected, found), None]
    assert batch.areas.tolist() == [3, 0, 12]
    assert batch.bboxes.tolist() == [[0, 0, 2, 3], [0, 0, 0, 0], [0, 0, 4, 3]]


def test_counts_may_be_zero_anywhere() -> None:
    counts = compress([0, 3, 0, 2, 1, 0, 6])
    assert outcome(parse_rle([counts], 12), 0) == [(0, 3), (3, 5)]
    assert RleBatch.parse([counts], 3, 4).areas.tolist() == [5]


def test_very_many_bad_strings_are_told_one_by_one() -> None:
    runs = parse_rle(["/" * 50] * 2000 + [compress([1, 2**40])] * 2000, 100)
    assert len(runs.problems) == 4000
    assert not len(runs.starts)


def test_no_masks_at_all() -> None:
    batch = RleBatch.parse([], 5, 7)
    assert len(batch) == 0
    assert batch.areas.shape == (0,)
    assert batch.bboxes.shape == (0, 4)


def test_a_selection_keeps_order_and_problems() -> None:
    masks = draw(3, 20, 30, 9)
    counts = [*coco_counts(masks), "/"]
    whole = RleBatch.parse(counts, 20, 30)
    chosen = [9, 4, 0, 4]
    part = whole.select(chosen)
    expected = RleBatch.parse([counts[i] for i in chosen], 20, 30)
    assert part.problem == expected.problem
    for name in ("starts", "ends", "offsets"):
        assert np.array_equal(getattr(part.runs, name), getattr(expected.runs, name))
    assert len(whole.select([])) == 0


def test_real_masks_have_the_area_and_box_that_their_records_state() -> None:
    for record in real_records():
        annotations = record["annotations"]
        height, width = annotations[0]["segmentation"]["size"]
        counts = [a["segmentation"]["counts"] for a in annotations]
        batch = RleBatch.parse(counts, height, width)
        assert not any(batch.problem)
        assert batch.areas.tolist() == [a["area"] for a in annotations]
        assert np.abs(batch.bboxes - [a["bbox"] for a in annotations]).max() <= 1


def test_a_string_that_its_pixels_do_not_allow_is_not_parsed() -> None:
    """60 MB for a mask of 16 pixels took 3.4 GB."""
    batch = RleBatch.parse(["1" * 10_000, compress([2, 3, 11])], 4, 4)
    expected = "at most 192 characters for 16 pixels"
    assert batch.problem == [("rle_too_long", expected, "10000 characters"), None]
    assert batch.areas.tolist() == [0, 3]


def test_the_longest_string_of_a_mask_is_within_the_bound() -> None:
    """Runs of 1 and of 17 pixels in turn need the most characters of a mask for its pixels."""
    for runs in ([1] * 4000, [1, 17] * 300, [1, 1, 17, 17] * 200, [1, 600, 600, 1] * 40):
        counts = compress(runs)
        assert len(counts) <= 2 * sum(runs)
        assert not parse_rle([counts], sum(runs)).problems


@pytest.mark.parametrize("pixels", [-1, 2**31, 2**62, 2**63 - 1])
def test_a_size_that_no_mask_has_is_a_problem_of_that_mask(pixels: int) -> None:
    runs = parse_rle(["0oooooooo1" * 3, "114", "114"], [pixels, 6, pixels])
    assert {i: problem[0] for i, problem in runs.problems.items()} == {0: "rle_size", 2: "rle_size"}
    assert runs.offsets.tolist() == [0, 0, 1, 1]
