"""decode_masks into tensors, on this machine's CPU: the kernels run in Triton's interpreter.

The tests marked gpu run them on a device.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asam_datasets import AsamDatasetsError, decode_masks, edges
from asam_datasets.rle import MAX_GROUP
from asam_datasets.segmentation import segmentations
from tests.masks.images import Masks, annotate, draw
from tests.masks.test_decode import sample

torch = pytest.importorskip("torch")

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]
OUTPUTS = [(20, 30), (200, 150), (7, 9), (64, 310), (1, 1)]


def mixed(seed: int, step: int = 1) -> tuple[list[dict[str, Any]], list[Masks]]:
    """Annotations of three sizes in turn, and each one's masks as a stack of one.

    Of the 24 every one is taken, or each `step`-th. A step that 3 does not divide keeps all sizes.
    """
    stacks = [draw(seed, 20, 30, 8), draw(seed + 1, 90, 70, 8), draw(seed + 2, 1, 200, 8)]
    annotations = [a for group in zip(*map(annotate, stacks), strict=True) for a in group]
    masks = [stack[i : i + 1] for i in range(8) for stack in stacks]
    return annotations[::step], masks[::step]


def parsed(parse: Any, annotations: list[dict[str, Any]]) -> Any:
    return parse(segmentations(annotations), torch.device("cpu"))


def filled(
    fill: Any, edges: Any, number: int, size: tuple[int, int], packed: bool
) -> npt.NDArray[Any]:
    width = (size[1] + 7) // 8 if packed else size[1]
    out = torch.zeros((number, size[0], width), dtype=torch.uint8)
    fill(out, edges, size[1], packed)
    return np.asarray(out)


def check_fill(parse: Any, fill: Any, sizes: list[tuple[int, int]], step: int = 1) -> None:
    """Masks of several sizes at once, sampled down and up, as bytes and as bits."""
    annotations, masks = mixed(5, step)
    edges = parsed(parse, annotations)
    for size in sizes:
        expected = np.concatenate([sample(mask, size) for mask in masks])
        assert np.array_equal(filled(fill, edges, len(masks), size, False), expected)
        bits = np.packbits(expected, axis=-1)
        assert np.array_equal(filled(fill, edges, len(masks), size, True), bits)


def test_the_search_fills_what_pycocotools_decodes() -> None:
    check_fill(edges.parse_on_host, edges.fill_by_search, OUTPUTS)


def test_the_kernels_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    tests = Path(__file__).with_name("interpreted.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    # From its start on: what triton itself is made of is interpreted, or not, when it is imported.
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def compiles(kernel: Any, types: dict[str, str], constants: dict[str, Any]) -> None:
    """Compile a kernel for compute capability 9.0, which needs no device."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset")
def test_the_kernels_compile_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from asam_datasets import kernels

    compiles(
        kernels.parse_kernel,
        {"codes": "*u8", "masks": "*i64", "places": "*i32"},
        {"MAX_GROUP": MAX_GROUP, "BLOCK": 512},
    )
    tensors = {"out": "*u8", "places": "*i32", "masks": "*i64"}
    sizes = {"height": "i32", "width": "i32"}
    always = {"COLUMNS": 128, "TOO_FAR": kernels.TOO_FAR}
    # A side of 1 is a constant to Triton.
    for ones in ({}, {"height": 1}, {"width": 1}):
        types = {**tensors, **{side: kind for side, kind in sizes.items() if side not in ones}}
        compiles(kernels.fill_kernel, types, {**always, **ones, "PACKED": False})
    compiles(kernels.fill_kernel, {**tensors, **sizes}, {**always, "PACKED": True})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", OUTPUTS)
def test_a_device_shows_the_masks_that_were_drawn(device: str, size: tuple[int, int]) -> None:
    annotations, masks = mixed(9)
    expected = np.concatenate([sample(mask, size) for mask in masks])
    assert expected.any()
    decoded = decode_masks(annotations, size, device=device)
    assert decoded.device.type == device
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.cpu(), expected)
    bits = decode_masks(annotations, size, device=device, packed=True)
    assert np.array_equal(bits.cpu(), np.packbits(expected, axis=-1))
    assert np.array_equal(bits.cpu(), decode_masks(annotations, size, packed=True))


@pytest.mark.parametrize("device", DEVICES)
def test_sa1b_sizes_on_a_device(device: str) -> None:
    masks = draw(3, 1500, 2250, 16)
    annotations = annotate(masks)
    for size in ((1500, 2250), (1024, 1024), (256, 256)):
        full = size == (1500, 2250)
        decoded = decode_masks(annotations, None if full else size, torch.bool, device=device)
        assert decoded.dtype == torch.bool
        assert np.array_equal(decoded.cpu(), sample(masks, size))


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
