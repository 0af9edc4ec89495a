"""decode_masks into tensors: the parser, the search and the kernel, all on this machine's CPU.

The Triton kernel runs here in Triton's interpreter, where triton is installed; the tests marked
gpu run it on a device.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asam_datasets
from asam_datasets import AsamDatasetsError, decode_masks, parse_rle
from tests.masks.images import Masks, annotate, compress, draw, mask_stacks
from tests.masks.test_decode import sample

torch = pytest.importorskip("torch")

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]
OUTPUTS = [(20, 30), (200, 150), (7, 9), (64, 310), (1, 1)]


def mixed(seed: int) -> tuple[list[dict[str, Any]], list[Masks]]:
    """Annotations of three sizes in turn, and each one's masks as a stack of one."""
    stacks = [draw(seed, 20, 30, 8), draw(seed + 1, 90, 70, 8), draw(seed + 2, 1, 200, 8)]
    annotations = [a for group in zip(*map(annotate, stacks), strict=True) for a in group]
    masks = [stack[i : i + 1] for i in range(8) for stack in stacks]
    return annotations, masks


def filled(
    fill: Any, annotations: list[dict[str, Any]], size: tuple[int, int], packed: bool
) -> npt.NDArray[Any]:
    runs = asam_datasets._parse_on_device(
        asam_datasets._segmentations(annotations), torch.device("cpu")
    )
    width = (size[1] + 7) // 8 if packed else size[1]
    out = torch.zeros((len(annotations), size[0], width), dtype=torch.uint8)
    fill(out, runs, size[1], packed)
    return np.asarray(out)


def check_fill(fill: Any, sizes: list[tuple[int, int]]) -> None:
    """Masks of several sizes at once, sampled down and up, as bytes and as bits."""
    annotations, masks = mixed(5)
    for size in sizes:
        expected = np.concatenate([sample(mask, size) for mask in masks])
        assert np.array_equal(filled(fill, annotations, size, False), expected)
        bits = np.packbits(expected, axis=-1)
        assert np.array_equal(filled(fill, annotations, size, True), bits)


def test_the_search_fills_what_pycocotools_decodes() -> None:
    check_fill(asam_datasets._fill_by_search, OUTPUTS)


def test_the_kernel_fills_the_same_in_the_interpreter() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    code = (
        "import asam_datasets, tests.masks.test_device as t;"
        "t.check_fill(asam_datasets._fill_by_kernel, [(33, 140), (7, 9)]); print('the same')"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "the same\n", done.stderr


@settings(deadline=None)
@given(mask_stacks())
def test_strings_are_parsed_as_by_numpy(masks: Masks) -> None:
    annotations = annotate(masks)
    counts = [a["segmentation"]["counts"] for a in annotations]
    runs = parse_rle(counts, masks.shape[1] * masks.shape[2])
    parsed = asam_datasets._parse_on_device(
        asam_datasets._segmentations(annotations), torch.device("cpu")
    )
    for i, (start, stop) in enumerate(parsed.spans.tolist()):
        pairs = parsed.edges[start:stop].view(-1, 2)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        span = slice(runs.offsets[i], runs.offsets[i + 1])
        assert pairs[:, 0].tolist() == runs.starts[span].tolist()
        assert pairs[:, 1].tolist() == runs.ends[span].tolist()


pieces = st.one_of(
    st.lists(st.integers(-2, 40), min_size=1, max_size=6).map(compress),
    st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=5).map(compress),
    st.text(alphabet=[chr(c) for c in range(46, 114)], max_size=40),
)


@settings(deadline=None)
@given(st.lists(pieces, min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 9))
def test_what_numpy_refuses_is_refused_with_the_same_words(
    counts: list[str], height: int, width: int
) -> None:
    annotations = [
        {"id": i, "segmentation": {"size": [height, width], "counts": text}}
        for i, text in enumerate(counts)
    ]
    segmentations = asam_datasets._segmentations(annotations)
    refused = None
    try:
        expected = decode_masks(annotations)
    except AsamDatasetsError as error:
        refused = str(error)
    if refused is None:
        runs = asam_datasets._parse_on_device(segmentations, torch.device("cpu"))
        out = torch.zeros(expected.shape, dtype=torch.uint8)
        asam_datasets._fill_by_search(out, runs, width, False)
        assert np.array_equal(out, expected)
    else:
        with pytest.raises(AsamDatasetsError) as caught:
            asam_datasets._parse_on_device(segmentations, torch.device("cpu"))
        assert str(caught.value) == refused


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", OUTPUTS)
def test_decode_masks_on_a_device_is_decode_masks(device: str, size: tuple[int, int]) -> None:
    annotations, _ = mixed(9)
    decoded = decode_masks(annotations, size, device=device)
    assert decoded.device.type == device
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.cpu(), decode_masks(annotations, size))
    bits = decode_masks(annotations, size, device=device, packed=True)
    assert np.array_equal(bits.cpu(), decode_masks(annotations, size, packed=True))


@pytest.mark.parametrize("device", DEVICES)
def test_sa1b_sizes_on_a_device(device: str) -> None:
    annotations = annotate(draw(3, 1500, 2250, 16))
    for size in (None, (1024, 1024), (256, 256)):
        decoded = decode_masks(annotations, size, torch.bool, device=device)
        assert decoded.dtype == torch.bool
        assert np.array_equal(decoded.cpu(), decode_masks(annotations, size, bool))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float32, torch.float32),
        (torch.int64, torch.int64),
        (np.float32, torch.float32),
        (bool, torch.bool),
        ("uint8", torch.uint8),
    ],
)
def test_dtypes_of_torch_and_of_numpy(device: str, dtype: Any, expected: Any) -> None:
    masks = draw(8, 30, 40, 8)
    decoded = decode_masks(annotate(masks), dtype=dtype, device=device)
    assert decoded.dtype == expected
    assert np.array_equal(decoded.cpu(), masks)


@pytest.mark.parametrize("device", DEVICES)
def test_a_malformed_rle_is_named_on_a_device_too(device: str) -> None:
    annotations = annotate(draw(8, 30, 40, 3))
    annotations[1]["segmentation"]["counts"] = "66"
    with pytest.raises(AsamDatasetsError, match=r"annotation 101: malformed RLE \(rle_too_short\)"):
        decode_masks(annotations, device=device)
    annotations[1]["segmentation"]["counts"] = ""
    with pytest.raises(AsamDatasetsError, match=r"annotation 101: malformed RLE \(rle_empty\)"):
        decode_masks(annotations, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_no_annotations_on_a_device(device: str) -> None:
    assert decode_masks([], (7, 9), device=device).shape == (0, 7, 9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(AsamDatasetsError, match="no CUDA device here"):
        decode_masks([], (7, 9), device="cuda")
