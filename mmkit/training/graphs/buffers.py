"""Batches at fixed places in memory, which recorded updates read."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mmkit.batch import Batch, Features


def shapes(batch: Batch) -> Hashable:
    """What two batches must have in common for one recording: names, shapes and types of all tensors."""
    return tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in _named(batch))


class Buffers:
    """The tensors of a batch on a device, to be filled with those of other batches of the same `shapes`.

    Its batch has no examples: what a recorded update reads of them would be those of another batch.
    """

    def __init__(self, batch: Batch, device: torch.device) -> None:
        def placed(tensors: Features) -> Features:
            return {name: torch.empty_like(tensor, device=device) for name, tensor in tensors.items()}

        inputs = {name: placed(tensors) for name, tensors in batch.inputs.items()}
        self.batch = replace(batch, examples=(), inputs=inputs, targets=placed(batch.targets))
        self.fill(batch)

    def fill(self, batch: Batch) -> None:
        """Copy a batch's tensors; copies from pinned memory do not block."""
        for (_, place), (_, tensor) in zip(_named(self.batch), _named(batch), strict=True):
            place.copy_(tensor, non_blocking=True)


def _named(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    parts = {
        **{f"inputs.{name}": tensors for name, tensors in batch.inputs.items()},
        "targets": batch.targets,
    }
    for part, tensors in sorted(parts.items()):
        for name, tensor in sorted(tensors.items()):
            yield f"{part}.{name}", tensor
