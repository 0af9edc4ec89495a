"""The kernels of decode_masks, run by Triton's interpreter: test_device.py runs this file.

It sets TRITON_INTERPRET=1, which a process must have from its start on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asam_datasets import AsamDatasetsError
from asam_datasets.edges import parse_on_host
from asam_datasets.kernels import fill_by_kernel, parse_by_kernel
from tests.masks.images import Masks, annotate, compress, mask_stacks
from tests.masks.test_decode import sample
from tests.masks.test_device import check_fill, filled, parsed


@pytest.mark.parametrize(("size", "step"), [((20, 30), 5), ((33, 140), 4), ((7, 9), 7)])
def test_the_kernels_fill_the_same(size: tuple[int, int], step: int) -> None:
    """The interpreter is slow: each size has some of the masks, together they have all kinds."""
    check_fill(parse_by_kernel, fill_by_kernel, [size], step)


def test_the_kernels_fill_tall_masks_and_many_edges_a_column() -> None:
    rng = np.random.default_rng(4)
    masks = np.zeros((5, 100, 9), np.uint8)
    masks[0] = rng.integers(0, 2, (100, 9))
    masks[1, ::2] = 1
    masks[2, 99:] = 1
    masks[3] = 1
    masks[4, 31:33, 3] = 1
    annotations = annotate(masks)
    edges = parsed(parse_by_kernel, annotations)
    for size in ((100, 9), (47, 9)):
        found = filled(fill_by_kernel, edges, len(masks), size, False)
        assert np.array_equal(found, sample(masks, size))


def runs_of(edges: Any) -> list[list[tuple[int, int]]]:
    """The runs of ones of each mask that are not empty."""
    found = []
    for start, stop, _, _ in edges.masks.tolist():
        pairs = edges.places[start : stop - (stop - start) % 2].view(-1, 2).tolist()
        found.append([(first, end) for first, end in pairs if first < end])
    return found


@settings(deadline=None, max_examples=10)
@given(mask_stacks())
def test_strings_are_parsed_as_by_numpy(masks: Masks) -> None:
    annotations = annotate(masks)
    expected = runs_of(parsed(parse_on_host, annotations))
    assert runs_of(parsed(parse_by_kernel, annotations)) == expected


@pytest.mark.parametrize(("longest", "number"), [(1, 2500), (15, 1700), (16, 1700), (30000, 500)])
def test_a_string_longer_than_a_block_is_parsed_as_by_numpy(longest: int, number: int) -> None:
    counts: list[int] = np.random.default_rng(longest).integers(0, longest + 1, number).tolist()
    parts = [counts, counts[1:], counts[::-1]]
    texts = [compress(part) for part in parts]
    assert min(map(len, texts)) > 3 * 512
    annotations = [
        {"segmentation": {"size": [sum(part), 1], "counts": text}}
        for part, text in zip(parts, texts, strict=True)
    ]
    expected = runs_of(parsed(parse_on_host, annotations))
    assert runs_of(parsed(parse_by_kernel, annotations)) == expected


pieces = st.one_of(
    st.lists(st.integers(-2, 40), min_size=1, max_size=6).map(compress),
    st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=5).map(compress),
    st.text(alphabet=[chr(c) for c in range(46, 114)], max_size=40),
)


@settings(deadline=None, max_examples=15)
@given(st.lists(pieces, min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 9))
def test_what_numpy_refuses_is_refused_with_the_same_words(
    counts: list[str], height: int, width: int
) -> None:
    check_refusal(counts, height, width)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("4", True),
        ("p4", False),  # 0 and 4, if the first were a character of RLE
        ("/4", False),
        ("0T" + 10 * "P" + "0", True),  # 0 and 4, the latter in twelve characters
        ("0T" + 11 * "P" + "0", False),
        (compress([2, 3, -1]), False),  # adds up
        (compress([3, -1, 2]), False),
        (compress([4] + 64 * [2**58]), False),  # adds up in 64 bits
        (compress([0, 4]), True),
        (compress([1, 2, 1]), True),
        (compress([1, 2]), False),
        (compress([1, 2, 2]), False),
        ("", False),
        ("4P", False),
    ],
)
def test_edges_of_the_format(text: str, good: bool) -> None:
    assert check_refusal(["22", text, "4"], 2, 2) is good


def check_refusal(counts: list[str], height: int, width: int) -> bool:
    """Whether numpy's parser takes the strings; the kernel must do and say the same."""
    annotations = [
        {"id": i, "segmentation": {"size": [height, width], "counts": text}}
        for i, text in enumerate(counts)
    ]
    refused = None
    try:
        expected = runs_of(parsed(parse_on_host, annotations))
    except AsamDatasetsError as error:
        refused = str(error)
    if refused is None:
        assert runs_of(parsed(parse_by_kernel, annotations)) == expected
    else:
        with pytest.raises(AsamDatasetsError) as caught:
            parsed(parse_by_kernel, annotations)
        assert str(caught.value) == refused
    return refused is None
