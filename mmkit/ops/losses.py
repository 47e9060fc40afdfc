"""Losses that move a query towards its positive and away from negatives.

Everything is computed in float32 at least, also under autocast, and in log space, so that no product of features is
too large. All are means over the queries of this process. Shapes: B queries of width D, and negatives that are either
`[M, D]`, shared by all queries, or `[B, n, D]`, each query's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmkit.ops.distributed import Gather

NEVER = float("-inf")


def n_pair_loss(
    query: Tensor, positive: Tensor, negatives: Tensor, *, excluded: Tensor | None = None, l2: float = 0.02
) -> Tensor:
    """The N-pair loss (Sohn, 2016, section 3.2): mean log(1 + Σ exp(q · (e⁻ − e⁺))) + l2 · Σ(q² + e⁺²) / B.

    `query` and `positive` are `[B, D]`, not normalised. `excluded [B, M]` or `[B, n]` marks negatives that do not
    count. A query without negatives costs only its norms. For the negatives of all processes, pass
    `gathered(negatives)` and mark with `same_key`.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, positive, negatives = _exact(query), _exact(positive), _exact(negatives)
        logits = _products(query, negatives) - (query * positive).sum(1, keepdim=True)
        norms = (query.square() + positive.square()).sum(1)
        return (_log_one_plus_sum(logits, excluded) + l2 * norms).mean()


def triplet_loss(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    excluded: Tensor | None = None,
    margin: float = 0.25,
) -> Tensor:
    """The triplet loss on cosines (Schroff et al., 2015): max(0, margin + cos(q, e⁻) − cos(q, e⁺)).

    The mean over each query's negatives, then over queries; shapes and `excluded` as in `n_pair_loss`. A query
    without negatives costs nothing.
    """
    with torch.autocast(query.device.type, enabled=False):
        near, far = _cosines(query, positive, negatives)
        cost = (margin + far - near.unsqueeze(1)).relu()
        if excluded is None:
            return cost.sum(1).div(max(1, cost.shape[1])).mean()
        real = (~excluded).sum(1).clamp(min=1)
        return cost.masked_fill(excluded, 0.0).sum(1).div(real).mean()


def circle_loss(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    excluded: Tensor | None = None,
    margin: float = 0.25,
    scale: float = 32.0,
) -> Tensor:
    """The circle loss (Sun et al., CVPR 2020, section 3) with one positive for each query, cosines sₚ and sₙ:

    log(1 + Σ exp(γ αₙ (sₙ − m)) · exp(−γ αₚ (sₚ − (1 − m)))), with the weights αₚ = max(0, 1 + m − sₚ) and
    αₙ = max(0, sₙ + m), through which no gradient flows. `margin` is m, `scale` is γ; shapes and `excluded` as
    in `n_pair_loss`. The mean over queries.
    """
    with torch.autocast(query.device.type, enabled=False):
        near, far = _cosines(query, positive, negatives)
        near_weight, far_weight = (1 + margin - near.detach()).relu(), (far.detach() + margin).relu()
        pull, push = near_weight * (near - (1 - margin)), far_weight * (far - margin)
        return _log_one_plus_sum(scale * (push - pull.unsqueeze(1)), excluded).mean()


def softmax_loss(scores: Tensor, own: Tensor, *, excluded: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of `scores [B, M]`; the right score is in the column `own [B]`.

    `excluded [B, M]` marks scores that do not count; the right ones are never excluded.
    """
    with torch.autocast(scores.device.type, enabled=False):
        scores = _exact(scores)
        if excluded is not None:
            scores = scores.masked_fill(excluded.scatter(1, own.unsqueeze(1), False), NEVER)
        return F.cross_entropy(scores, own)


def clip_loss(
    left: Tensor, right: Tensor, scale: Tensor, *, same: Tensor | None = None, each: int | None = None
) -> Tensor:
    """The symmetric cross-entropy of CLIP (Radford et al., 2021): `left[i]` belongs to `right[i]` and no other.

    `left` and `right` are `[B, D]`; `scale` is the logarithm of the factor of the cosines. All processes' rows are
    each other's negatives, and every process must call it. `same [B, all rows]` marks rows that belong together
    outside the diagonal (from `same_key`): these pairs do not count. `each` is 1 if B is the number of examples of the
    batch (see `mmkit.ops.distributed.Gather.of`).
    """
    with torch.autocast(left.device.type, enabled=False):
        left, right = unit(_exact(left)), unit(_exact(right))
        gather = Gather.of(len(left), left.device, each=each)
        if gather.alone:  # each side's products are the other's, transposed
            forth = left @ right.t()
            back = forth.t()
        else:
            lefts, rights = gather(torch.stack([left, right], dim=1)).unbind(1)
            forth, back = left @ rights.t(), right @ lefts.t()
        logits = _exact(scale).exp() * torch.cat([forth, back])  # [2 B, all]
        own = torch.arange(len(left), device=left.device) + gather.offset
        if same is not None:
            others = same.scatter(1, own.unsqueeze(1), False)
            logits = logits.masked_fill(torch.cat([others, others]), NEVER)
        return F.cross_entropy(logits, torch.cat([own, own]))


def unit(x: Tensor) -> Tensor:
    """Vectors `[..., D]` with length 1. Zero vectors stay zero, and their gradient stays finite."""
    made: Tensor = _Unit.apply(x)
    return made


class _Unit(torch.autograd.Function):
    """`unit` with its gradient in four operations: what is left of a gradient across the vector, by its length."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        length = torch.where(norm > 0, norm, 1.0)
        made = x / length
        ctx.save_for_backward(made, length)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        made, length = ctx.saved_tensors
        along = (gradient * made).sum(-1, keepdim=True)
        return torch.addcmul(gradient, made, along, value=-1).div_(length)


def _cosines(query: Tensor, positive: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Each query's cosine with its positive `[B]` and with its negatives `[B, M]` or `[B, n]`."""
    query, positive, negatives = unit(_exact(query)), unit(_exact(positive)), unit(_exact(negatives))
    return (query * positive).sum(1), _products(query, negatives)


def _products(query: Tensor, others: Tensor) -> Tensor:
    """Inner products of `query [B, D]` with `others`, shared `[M, D]` or each query's own `[B, n, D]`."""
    if others.dim() == 2:
        return query @ others.t()
    return (others @ query.unsqueeze(2)).squeeze(2)


def _log_one_plus_sum(logits: Tensor, excluded: Tensor | None) -> Tensor:
    """log(1 + Σ exp(logits)) over all that are not excluded, `[B]`; 0 if nothing is left."""
    if excluded is not None:
        logits = logits.masked_fill(excluded, NEVER)
    return -F.pad(logits, (1, 0)).log_softmax(1)[:, 0]  # the 1 is exp of the logit 0


def _exact(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
