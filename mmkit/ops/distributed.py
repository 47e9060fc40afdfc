"""Rows of all processes, for losses whose negatives are the whole global batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

_weightless: ContextVar[bool] = ContextVar("weightless", default=False)
_dealt: ContextVar[tuple[int, ...] | None] = ContextVar("dealt", default=None)


@contextmanager
def weightless(yes: bool, dealt: Sequence[int] | None = None) -> Iterator[None]:
    """Hide this process's rows from the others, if its batch is a stand-in whose loss has no weight.

    The process still takes part, because the others would wait for it. It sees its own rows before all others.
    `dealt` says how many examples of the batch each process has, 0 for a stand-in, if that is known: then processes
    need not tell each other (see `Gather.of`).
    """
    token, known = _weightless.set(yes), _dealt.set(None if dealt is None else tuple(dealt))
    try:
        yield
    finally:
        _weightless.reset(token)
        _dealt.reset(known)


@dataclass(frozen=True, slots=True)
class Gather:
    """Joins tensors whose rows are spread over processes, `counts[r]` of them in process r, in order of rank.

    Every process must make and call it in the same way. If training is not distributed, it is the identity. Making
    one exchanges the counts, and so waits for the device once, unless they are known.
    """

    counts: tuple[int, ...]
    rank: int = 0
    hidden: bool = False

    @classmethod
    def of(cls, rows: int, device: torch.device, *, each: int | None = None) -> Gather:
        """The gathering of tensors with `rows` rows in this process.

        `each` is given for tensors with so many rows for each example of the batch, the same number in every process.
        In training, the numbers of examples are known, and nothing is exchanged. Raises `ValueError` where `rows` is
        another number.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return cls((rows,))
        hidden, dealt, rank = _weightless.get(), _dealt.get(), dist.get_rank()
        if each is not None and dealt is not None:
            examples = 1 if hidden else dealt[rank]
            if rows != each * examples:
                raise ValueError(f"{rows} rows are not {each} for each of {examples} examples")
            return cls(tuple(each * count for count in dealt), rank, hidden)
        own = torch.tensor([0 if hidden else rows], device=device)
        counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, own)
        return cls(tuple(torch.cat(counts).tolist()), rank, hidden)

    @property
    def alone(self) -> bool:
        """Whether there is nothing to join."""
        return len(self.counts) == 1

    @property
    def offset(self) -> int:
        """The position of this process's first row among all rows."""
        return 0 if self.hidden else sum(self.counts[: self.rank])

    def __call__(self, x: Tensor) -> Tensor:
        """The rows `[sum(counts), ...]` of every process's `x [counts[rank], ...]`.

        The gradient of `x` is the sum over the losses of all processes. With losses weighted by
        each process's share and gradients averaged over processes, as in training, that gives exactly the
        gradient of one process with the whole batch.
        """
        if self.alone:
            return x
        missing = max(self.counts) - len(x)  # processes exchange tensors of the same shape
        parts = _AllRows.apply(F.pad(x, (0, 0) * (x.dim() - 1) + (0, missing)))
        visible = [part[:count] for part, count in zip(parts, self.counts, strict=True)]
        return torch.cat([x, *visible] if self.hidden else visible)


class _AllRows(torch.autograd.Function):
    """Every process's tensor, of the same shape; the gradient of the own tensor is the sum over all processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = torch.stack(gradients)  # a part that no loss uses has zeros
        dist.all_reduce(summed)
        return summed[dist.get_rank()]


def gathered(x: Tensor, *, each: int | None = None) -> Tensor:
    """The rows of all processes' `x`, whose numbers may differ; see `Gather`, also for `each`."""
    return Gather.of(len(x), x.device, each=each)(x)


def same_key(keys: Tensor, *, each: int | None = None) -> Tensor:
    """`[b, B]`: whether each of this process's `keys [b]` (whole numbers) equals each of all processes'.

    See `Gather.of` for `each`.
    """
    return keys.unsqueeze(1) == gathered(keys, each=each).unsqueeze(0)
