"""Compares decode_masks on a device with the floor.

The floor is the time of writing the output once, at the measured bandwidth. `python -m
benchmarks.masks --device cuda` calls this. Outputs are first compared with the CPU's.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch

from asam_datasets import AsamDatasetsError, decode_masks
from asam_datasets.device import parser_and_filler
from asam_datasets.segmentation import segmentations
from builder.core.records import Json

RUNS = 20
SIZES = (None, (1024, 1024), (256, 256))


def device_seconds(work: Callable[[], object], device: torch.device, runs: int = RUNS) -> float:
    """The median of the seconds until the device has finished a call, after one warm-up call."""
    times = []
    for _ in range(runs + 1):
        _synchronize(device)
        start = time.perf_counter()
        work()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def write_bandwidth(device: torch.device, size: int) -> float:
    """The bytes per second of filling `size` bytes."""
    target = torch.empty(size, dtype=torch.uint8, device=device)
    return size / device_seconds(lambda: target.fill_(1), device)


def batch_of(annotations: Sequence[Json], masks: int) -> list[Json]:
    """The annotations of the most frequent size, repeated until there are at least `masks`."""
    sizes = Counter(tuple(a["segmentation"]["size"]) for a in annotations)
    size = list(sizes.most_common(1)[0][0])
    chosen = [a for a in annotations if a["segmentation"]["size"] == size]
    return chosen * -(-masks // len(chosen))


def measure_device(
    annotations: Sequence[Json], device: torch.device, masks: int, runs: int = RUNS
) -> Json:
    """Measure the bandwidth, and for each size the time from strings and from runs."""
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AsamDatasetsError("no CUDA device here: run with --device cpu")
    batch = batch_of(annotations, masks)
    height, width = batch[0]["segmentation"]["size"]
    bandwidth = write_bandwidth(device, len(batch) * height * width)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    results: Json = {"device": name, "masks": len(batch), "write_bytes_per_second": bandwidth}
    for size in SIZES:
        key = "full" if size is None else f"{size[0]}x{size[1]}"
        results[key] = _measure_size(batch, size or (height, width), device, bandwidth, runs)
    return results


def _measure_size(
    batch: list[Json], size: tuple[int, int], device: torch.device, bandwidth: float, runs: int
) -> Json:
    number, few = len(batch), batch[:100]
    expected = torch.from_numpy(decode_masks(few, size))
    if not torch.equal(decode_masks(few, size, device=device).cpu(), expected):
        raise AsamDatasetsError(f"masks of size {size} on {device} differ from the CPU's")
    parse, fill = parser_and_filler(device)
    edges = parse(segmentations(batch), device)

    def from_edges() -> torch.Tensor:
        out = torch.zeros((number, *size), dtype=torch.uint8, device=device)
        fill(out, edges, size[1], False)
        return out

    strings = device_seconds(lambda: decode_masks(batch, size, device=device), device, runs)
    filled = device_seconds(from_edges, device, runs)
    cpu = device_seconds(lambda: decode_masks(few, size), torch.device("cpu"), min(runs, 3))
    floor = number * size[0] * size[1] / bandwidth
    return {
        "us_per_mask_from_strings": strings / number * 1e6,
        "us_per_mask_from_runs": filled / number * 1e6,
        "us_per_mask_floor": floor / number * 1e6,
        "us_per_mask_cpu": cpu / len(few) * 1e6,
        "share_of_write_bandwidth": floor / filled,
        "share_of_write_bandwidth_from_strings": floor / strings,
        "ratio_to_cpu": (cpu / len(few)) / (strings / number),
    }


def device_table(results: Json) -> Iterator[str]:
    """The device's figures for people."""
    rate = results["write_bytes_per_second"] / 1e12
    yield f"{results['device']}: {results['masks']} masks a call, writes {rate:.2f} TB/s"
    for size, r in results.items():
        if isinstance(r, dict):
            yield (
                f"  {size:9} {r['us_per_mask_from_strings']:8.2f} us a mask from strings, "
                f"{r['us_per_mask_from_runs']:.2f} from runs, floor {r['us_per_mask_floor']:.2f}: "
                f"{r['share_of_write_bandwidth']:.0%} of the write bandwidth "
                f"({r['share_of_write_bandwidth_from_strings']:.0%} from strings); "
                f"{r['ratio_to_cpu']:.0f}x the CPU"
            )
