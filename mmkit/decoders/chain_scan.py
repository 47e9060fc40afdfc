"""A linear chain in log₂ T levels: a tree of products of neighbours (Särkkä and García-Fernández, 2021).

A step of a chain is a matrix `[K, K]` of scores, from row to column. The product of two such matrices sums (or takes
the best) over the tag between them. Products need no order in time, so a level of the tree is one operation for all
pairs of all rows: a GPU gets about log₂ T launches where steps one after the other need T. The work is K times as much,
so a CPU keeps the steps (`crf.py`, `viterbi.py`).

Memory: 2 · B · T · K² numbers for a sum over all paths and 4 · B · T · K² for messages, and as much again for
gradients. Sums over tags work on at most `CELLS` numbers at once, or on B · T · K² if that is more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmkit.decoders.viterbi import NEVER, Chain

CELLS = 1 << 24
"""How many numbers one sum over tags may work on at once (64 MiB in float32)."""

MOST_TAGS = 64
"""With more tags the tree's K³ products cost a GPU more than the launches that it saves."""

Product = Callable[[Tensor, Tensor], Tensor]
"""Of matrices `[..., I, K]` and `[..., K, J]`: `[..., I, J]`, over the tag between."""


def log_product(left: Tensor, right: Tensor) -> Tensor:
    """log Σₖ exp(left[i, k] + right[k, j]): `[..., I, J]` of `[..., I, K]` and `[..., K, J]`. -inf is allowed."""
    product: Tensor = _LogProduct.apply(left, right)
    return product


def max_product(left: Tensor, right: Tensor) -> Tensor:
    """maxₖ (left[i, k] + right[k, j]), as `log_product`; NaN stays NaN."""
    return _reduced(lambda sums: sums.amax(-2), left, right)


def steps(emissions: Tensor, mask: Tensor, transitions: Tensor) -> Tensor:
    """The matrices `[B, T - 1, K, K]` of the steps to positions 1 to T - 1.

    `emissions [B, T, K]`, `mask [B, T]`, `transitions [K, K]`. A step to a masked position changes nothing.
    """
    neutral = torch.full_like(transitions, NEVER).fill_diagonal_(0.0)
    moved = transitions + emissions[:, 1:].unsqueeze(2)
    return torch.where(mask[:, 1:, None, None], moved, neutral)


def total(matrices: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """log Σ exp(score) of all paths, `[B]`: `first [B, K]` scores the first tag, `last [K]` the last one."""
    if matrices.shape[1]:
        first = log_product(first.unsqueeze(1), _levels(matrices, log_product)[-1][:, 0]).squeeze(1)
    return (first + last).logsumexp(1)


def messages(matrices: Tensor, first: Tensor, last: Tensor, product: Product) -> tuple[Tensor, Tensor]:
    """What comes before and what comes after each position, `[B, T, K]` each.

    The first includes the position's own score, the second does not. `first [B, K]` scores the first tag,
    `last [K]` the last one.
    """
    ends = torch.stack([first, last.expand_as(first)], 1)
    if not matrices.shape[1]:
        return ends[:, :1], ends[:, 1:]
    known = ends.unsqueeze(2)  # [B, 2, n, K]: what is before and after each of the n blocks of a level
    for level in reversed(_levels(matrices, product)[:-1]):
        left, right, odd = _paired(level)
        at_pairs, at_odd = (known, None) if odd is None else known.split([left.shape[1], 1], 2)
        # What is before a pair is before its left block, and goes through it to the right one; what is after a pair is
        # after its right block, and goes through it to the left one. One product serves both.
        moved = product(at_pairs.unsqueeze(3), torch.stack([left, right.mT], 1)).squeeze(3)
        (before, after), (moved_before, moved_after) = at_pairs.unbind(1), moved.unbind(1)
        inner = torch.stack([before, moved_before, moved_after, after], 2)  # [B, n // 2, 4, K]
        known = inner.unflatten(2, (2, 2)).transpose(1, 2).flatten(2, 3)
        known = known if at_odd is None else torch.cat([known, at_odd], 2)
    # So far the position before each step and the position after it: two are left.
    before, after = known.unbind(1)
    outermost = torch.stack([before[:, -1:], after[:, :1]], 1)
    reached = product(outermost, torch.stack([matrices[:, -1], matrices[:, 0].mT], 1))
    return torch.cat([before, reached[:, 0]], 1), torch.cat([reached[:, 1], after], 1)


def best_path(chain: Chain) -> tuple[Tensor, Tensor]:
    """The best path `[B, T]` of each chain and its score `[B]`, as `viterbi.best_path` gives them.

    The tags of equally good paths are chosen as there: the first pair of middle tags, then outwards the first tag each.
    Sums are added in another order, so scores that are equal but for rounding may be chosen otherwise.
    """
    unary, start, end, pairwise = chain
    T, _, K = unary.shape
    half = T // 2
    unary = unary.transpose(0, 1)
    matrices = pairwise + unary[:, 1:].unsqueeze(2)
    before, after = messages(matrices, start + unary[:, 0], end, max_product)
    after = after + unary  # now both have the position's own score
    left, right = before[:, :half], after[:, half:]
    middle = left[:, -1].unsqueeze(2) + pairwise + right[:, 0].unsqueeze(1)
    score, pair = middle.flatten(1).max(1)
    middle_tags = torch.stack([pair // K, pair % K], 1)  # [B, 2]

    # Each position's best tag given its neighbour nearer to the middle; sides are numbered from the middle outwards.
    outer = torch.stack([left[:, :-1].flip(1), right[:, 1:]], 1)  # [B, 2, T/2 - 1, K]
    inwards = torch.stack([pairwise.t(), pairwise]).unsqueeze(1)  # [2, 1, K, K], to the inner tag's row
    came = _joined([_narrow((outer.unsqueeze(3) + part).argmax(4), K) for part in _rows(inwards, outer)], -1)
    # `came` is [B, 2, T/2 - 1, inner tag]. Chains of such choices: after the pass of width w each one leads over 2 w
    # positions. Only indices that are used at once are int64, which `gather` asks for.
    width = 1
    while width < half - 1:
        came = torch.cat([came[:, :, :width], came[:, :, width:].gather(3, came[:, :, :-width].long())], 2)
        width *= 2
    chosen = came.gather(3, middle_tags[:, :, None, None].expand(-1, -1, half - 1, 1)).squeeze(3)
    sides = torch.cat([middle_tags.unsqueeze(2), chosen.long()], 2)
    return torch.cat([sides[:, 0].flip(1), sides[:, 1]], 1), score


def _narrow(tags: Tensor, number: int) -> Tensor:
    """Tags below `number` in the smallest type of whole numbers that holds them."""
    types = (torch.uint8, torch.int16, torch.int32)
    return tags.to(next(dtype for dtype in types if number - 1 <= torch.iinfo(dtype).max))


def _levels(matrices: Tensor, product: Product) -> list[Tensor]:
    """The tree's levels `[B, n, K, K]`, from the steps (n at least 1) up to one product of them all."""
    levels = [matrices]
    while levels[-1].shape[1] > 1:
        left, right, odd = _paired(levels[-1])
        joined = product(left, right)
        levels.append(joined if odd is None else torch.cat([joined, odd], 1))
    return levels


def _paired(level: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Left and right blocks of a level's pairs, `[B, n // 2, K, K]` each, and the block that has no partner."""
    odd = None
    if level.shape[1] % 2:
        level, odd = level.split([level.shape[1] - 1, 1], 1)
    left, right = level.unflatten(1, (-1, 2)).unbind(2)
    return left, right, odd


def _rows(left: Tensor, right: Tensor) -> list[Tensor]:
    """Rows of `left` in parts whose sums with all of `right` have at most `CELLS` numbers, but at least one row."""
    return list(left.split(max(1, CELLS // max(1, right.numel())), -2))


def _reduced(reduce: Callable[[Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    return _joined([reduce(part.unsqueeze(-1) + right.unsqueeze(-3)) for part in _rows(left, right)])


class _LogProduct(torch.autograd.Function):
    """`log_product`; its gradient computes the sums again, so that only matrices are kept."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        product = _reduced(lambda sums: sums.logsumexp(-2), left, right)
        ctx.save_for_backward(left, right, product)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        left, right, product = ctx.saved_tensors
        product = product.clamp(
            min=torch.finfo(product.dtype).min
        )  # of no path at all: -inf - -inf would be NaN
        at_left, at_right = [], []
        for own, sums, above in zip(*(_rows(each, right) for each in (left, product, grad)), strict=True):
            shares = (own.unsqueeze(-1) + right.unsqueeze(-3)).sub_(sums.unsqueeze(-2)).exp_()
            shares.mul_(above.unsqueeze(-2))
            at_left.append(shares.sum(-1))
            at_right.append(shares.sum(-3))
        return _joined(at_left), sum(at_right[1:], at_right[0])


def _joined(rows: list[Tensor], dim: int = -2) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim)
