"""Tensors that are spread over processes (DTensors): the part of this process, and the whole.

A DTensor is told by what it has. Importing its class takes time, and most runs have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes."""
    return hasattr(tensor, "device_mesh")


def has_shards(module: nn.Module) -> bool:
    """Whether a parameter of a module is spread over processes."""
    return any(map(is_sharded, module.parameters()))


def part_of(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory; all of it, if it is not spread."""
    return cast(Tensor, cast(Any, tensor).to_local()) if is_sharded(tensor) else tensor


def like(whole: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, spread over processes as `other` of the same shape is. Processes exchange nothing."""
    if not is_sharded(other):
        return whole
    from torch.distributed.tensor import distribute_tensor

    spread = cast(Any, other)
    return distribute_tensor(whole, spread.device_mesh, spread.placements, src_data_rank=None)


def gathered_whole(tensors: Mapping[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """The same tensors, each of them whole: what was spread is on the CPU, the others are as they were.

    If some are spread, all processes must call it, with the same names in the same order. Tensors are gathered one by
    one. Without `keep` a process takes part, and gets nothing.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            tensor = cast(Any, tensor.detach()).full_tensor()
            tensor = tensor.cpu() if keep else tensor
        if keep:
            found[name] = tensor
    return found
