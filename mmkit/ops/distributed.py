"""Rows of all processes: what a loss needs whose negatives are the whole global batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

_weightless: ContextVar[bool] = ContextVar("weightless", default=False)


@contextmanager
def weightless(yes: bool) -> Iterator[None]:
    """Hide this process's rows from the others, where its batch is a stand-in whose loss weighs nothing.

    It goes on taking part: without that, processes would wait for each other. It sees its own rows before all.
    """
    token = _weightless.set(yes)
    try:
        yield
    finally:
        _weightless.reset(token)


@dataclass(frozen=True, slots=True)
class Gather:
    """Joins tensors whose rows are spread over processes, `counts[r]` of them in process r, in order of rank.

    Made and called by every process alike. Where training is not distributed it is the identity and no process
    is asked. Making one exchanges the counts, and so waits for the device once.
    """

    counts: tuple[int, ...]
    rank: int = 0
    hidden: bool = False

    @classmethod
    def of(cls, rows: int, device: torch.device) -> Gather:
        """The gathering of tensors of which this process has `rows` rows."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return cls((rows,))
        hidden = _weightless.get()
        own = torch.tensor([0 if hidden else rows], device=device)
        counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, own)
        return cls(tuple(torch.cat(counts).tolist()), dist.get_rank(), hidden)

    @property
    def offset(self) -> int:
        """Where this process's rows begin among all."""
        return 0 if self.hidden else sum(self.counts[: self.rank])

    def __call__(self, x: Tensor) -> Tensor:
        """The rows `[sum(counts), ...]` of every process's `x [counts[rank], ...]`.

        The gradient of `x` sums what all processes' losses have to say about its rows. With losses weighted by
        each process's share and gradients averaged over processes, as in training, that gives exactly the
        gradient of one process with the whole batch.
        """
        if len(self.counts) == 1:
            return x
        missing = max(self.counts) - len(x)  # processes exchange tensors of one shape
        parts = _AllRows.apply(F.pad(x, (0, 0) * (x.dim() - 1) + (0, missing)))
        visible = [part[:count] for part, count in zip(parts, self.counts, strict=True)]
        return torch.cat([x, *visible] if self.hidden else visible)


class _AllRows(torch.autograd.Function):
    """Every process's tensor of one shape; the gradient of one's own is the sum of what all processes have for it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = torch.stack(gradients)  # a part that no loss looked at has zeros
        dist.all_reduce(summed)
        return summed[dist.get_rank()]


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes' `x`, of which they may have different numbers; see `Gather`."""
    return Gather.of(len(x), x.device)(x)


def same_key(keys: Tensor) -> Tensor:
    """`[b, B]`: whether each of this process's `keys [b]` (whole numbers) equals each of all processes'."""
    return keys.unsqueeze(1) == gathered(keys).unsqueeze(0)
