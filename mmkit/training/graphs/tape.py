"""A stand-in for CUDA graphs on a CPU: it repeats recorded operations, and refuses what a graph cannot hold.

It shows on a machine without a GPU whether an update can be captured, and that its replay computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mmkit.ops.waiting import without_waiting

T = TypeVar("T")

WAITS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
"""Marks of operations for whose results the host waits."""

INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Operations that wait only if a mask is the index."""

FROM_NUMBERS = "aten::lift_fresh"
"""`torch.tensor(numbers)`: made on the host, and copied to the device while the host waits."""


class Tape:
    """Records the operations of PyTorch that a function performs on a CPU."""

    def warm(self, function: Callable[[], T]) -> T:
        """Compute it, in the ways that a GPU takes."""
        with without_waiting():
            return function()

    def record(self, function: Callable[[], T]) -> Played[T]:
        """Record it. Unlike with a CUDA graph, this computes it too, and the first `replay` does nothing.

        Raises `RuntimeError` for an operation that a CUDA graph cannot hold.
        """
        writer = _Writer()
        with writer, without_waiting():
            result = function()
        return Played(writer.operations, result)


class Played(Generic[T]):
    """Recorded operations, and the tensors that the function gave."""

    def __init__(self, operations: Sequence[_Operation], result: T) -> None:
        self.operations, self.result = operations, result
        self._computed = True

    def replay(self) -> T:
        """Perform the operations again, on the same memory. No Python code of the function runs."""
        if self._computed:
            self._computed = False
            return self.result
        with torch.no_grad():
            for operation in self.operations:
                operation()
        return self.result


@dataclass(frozen=True)
class _Operation:
    """An operation, and its inputs and outputs as they lie in memory."""

    function: Any
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    outputs: Sequence[Tensor]

    def __call__(self) -> None:
        made = self.function(*self.arguments, **self.named)
        if self.outputs:
            for place, tensor in zip(self.outputs, _tensors(made), strict=True):
                place.copy_(tensor)


class _Writer(TorchDispatchMode):
    """Notes every operation that computes something; views need no repetition, because memory stays in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if reason := refused(func, args):
            raise RuntimeError(reason)
        made = func(*args, **kwargs)
        fresh = any(output.alias_info is None for output in func._schema.returns)
        if fresh or func._schema.is_mutable:
            outputs = [_alias(tensor) for tensor in _tensors(made)] if fresh else []
            self.operations.append(
                _Operation(
                    func, tree_map_only(Tensor, _alias, args), tree_map_only(Tensor, _alias, kwargs), outputs
                )
            )
        return made


def refused(function: Any, arguments: Sequence[Any]) -> str:
    """Why a CUDA graph cannot hold an operation of PyTorch; empty if it can."""
    name = function._schema.name
    if name == FROM_NUMBERS:
        return "it makes a tensor of numbers (torch.tensor), and copying that to a GPU waits for the device"
    if name in INDEXED:
        masked = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1])
        filled = len(arguments) > 2 and arguments[2].numel() == 1
        return f"{name} with a mask as its index waits for the device" if masked and not filled else ""
    if any(tag in function.tags for tag in WAITS):
        return f"{name} waits for the device: what it gives depends on values"
    return ""


def _alias(tensor: Tensor) -> Tensor:
    """The same memory, without a gradient's history."""
    return tensor.detach()


def _tensors(made: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
