"""CUDA graphs: a function on static buffers, recorded once and replayed without launch costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


def graph_memory(device: torch.device) -> Any:
    """Memory for graphs that run one after another; None where there are none."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


class Recorded(Generic[T]):
    """A function of static buffers: on CUDA a graph of it, elsewhere the function itself.

    The function must read and write the same tensors in each call, and must not wait for the
    device. What it returns is overwritten by the next call. Graphs of one `memory` share what they
    need while they run, so no two of them may run at a time.
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
            for _ in range(2):  # libraries set themselves up, which can't be recorded
                self._function()
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=memory), torch.no_grad():
            return self._function()
