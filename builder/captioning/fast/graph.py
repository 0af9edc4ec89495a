"""CUDA graphs: a function is recorded once, then replayed without the cost of its launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


def graph_memory(device: torch.device) -> Any:
    """A memory pool for graphs that run one after another; None on other devices than CUDA."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


class Recorded(Generic[T]):
    """A function of static buffers. A call replays its graph on CUDA and calls it elsewhere.

    The function must read and write the same tensors in each call, and must not wait for the
    device. The next call overwrites what it returned. Graphs with the same `memory` share it, so
    they must not run at the same time.
    """

    def __init__(self, function: Callable[[], T], device: torch.device, memory: Any = None) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._output = self._record(device, memory)

    def __call__(self) -> T:
        if self._graph is None:
            return self._function()
        self._graph.replay()
        return self._output

    def _record(self, device: torch.device, memory: Any) -> T:
        stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(2):  # the first calls set up libraries, which can't be recorded
                self._function()
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=memory), torch.no_grad():
            return self._function()
