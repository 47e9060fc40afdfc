"""Recording what a function computes on a device, to repeat it in one launch: the protocol, and CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Recorded(Protocol[T_co]):
    """What was recorded. It reads and writes the same memory each time."""

    def replay(self) -> T_co:
        """Compute it once more. Returns the same tensors each time, whose values the next call overwrites."""
        ...


class Recorder(Protocol):
    """Records what functions compute. A function gets and gives tensors by reference, and has no other effect."""

    def warm(self, function: Callable[[], T]) -> T:
        """Compute it once, as a recording would, so that whatever is set up at a first call is there."""
        ...

    def record(self, function: Callable[[], T]) -> Recorded[T]:
        """Record what it computes. To compute it, call `replay`. Raises what the function raises.

        `RuntimeError` is raised for what cannot be recorded.
        """
        ...


@dataclass(frozen=True)
class CudaRecorded(Generic[T]):
    """A CUDA graph and the tensors that it writes."""

    graph: torch.cuda.CUDAGraph
    result: T

    def replay(self) -> T:
        """Launch the graph on the current stream. The host does not wait."""
        self.graph.replay()
        return self.result


class CudaRecorder:
    """Records CUDA graphs that share one pool of memory: they never run at the same time.

    As PyTorch's notes on CUDA graphs ask for, functions are warmed up on a side stream, which also records. Random
    numbers of the device's default generator are safe: a graph reads its seed and offset at each replay, so
    `torch.manual_seed` before a replay decides them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def warm(self, function: Callable[[], T]) -> T:
        """Compute it on the side stream, after all that the current stream has to do, which then goes on."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], T]) -> CudaRecorded[T]:
        """Capture it. Waits for the device; nothing is computed."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: threads that pin batches or write files may go on calling CUDA
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = function()
        return CudaRecorded(graph, result)
