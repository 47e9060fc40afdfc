"""Pooled features as vectors of an example, for fusers of entity linking."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError
from mmkit.ops.waiting import may_wait


def vectors(features: Features) -> tuple[Tensor, Tensor]:
    """An encoder's `pooled [B, n, D]`, zero where nothing is real, and `mask [B, n]`, True where something is.

    An encoder that gives `pooled [B, D]` has one real vector for each example.
    """
    pooled = features["pooled"]
    if pooled.dim() == 2:
        return pooled.unsqueeze(1), torch.ones(len(pooled), 1, dtype=torch.bool, device=pooled.device)
    mask = features["mask"]
    if may_wait(mask.device) and bool(mask.all()):
        return pooled, mask
    return pooled.masked_fill(~mask.unsqueeze(2), 0.0), mask


def total(features: Features) -> Tensor:
    """The sum `[B, D]` of an example's real vectors; zeros if there is none."""
    found = vectors(features)[0]
    return found[:, 0] if found.shape[1] == 1 else found.sum(1)


def projected(
    layers: nn.Module, single: Tensor, others: Tensor, used: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`layers`, which work on each vector alone, on `single [B, D]` and on `others [B, n, D]`, together.

    With `used [B, n]`, a CPU computes only those of the others that are used and gives zeros for the rest. Other
    devices would have to wait for their number, and compute all.
    """
    if used is None or not may_wait(used.device):
        found = layers(torch.cat([single, others.flatten(0, 1)]))
        one, each = found.split([len(single), len(found) - len(single)])
        return one, each.unflatten(0, others.shape[:2])
    at = used.flatten().nonzero().squeeze(1)
    one, each = layers(torch.cat([single, others.flatten(0, 1)[at]])).split([len(single), len(at)])
    spread: Tensor = each.new_zeros(used.numel(), each.shape[1]).index_copy(0, at, each)
    return one, spread.unflatten(0, used.shape)


def shared_width(encoders: Mapping[str, Encoder], names: list[str], part: str) -> int:
    """The width of the encoders that share a module. Raises `PartError` if they differ."""
    widths = {name: encoders[name].dim for name in names}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise PartError(
            f"the encoders that share a layer differ in width: {listed}",
            where=part,
            hint="give them the same checkpoint, or checkpoints of the same width",
            code="part.widths",
        )
    return next(iter(widths.values()))
