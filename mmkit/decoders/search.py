"""Nearest entities by cosine, and the rank of the gold one: exact, in memory that does not grow with their number.

Exact means: what float64 arithmetic on the stored, rounded features gives. Products are computed in float32; where
its rounding could matter for the outcome, the few entities in question are compared again in float64.
A zero vector has the cosine 0 with everything. Cosines that float64 cannot distinguish (`TIE`) are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmkit.encoders.entity_features import EntityFeatures, KeepsNorms, norms
from mmkit.errors import DataError
from mmkit.ops.precision import full_float32

CELLS = 1 << 25
"""Numbers in a block of features, and in its scores: 128 MB each in float32."""
TIE = 8 * 2.0**-52
"""Relative; some roundings of float64."""
ROUNDING = 2.0**-24
"""Of float32, relative."""


class Found(NamedTuple):
    """The k nearest entities of each query, best first and equal ones by row; k is at most their number."""

    scores: Tensor
    """Cosines `[B, k]`, float32."""
    rows: Tensor
    """`[B, k]`"""
    rank: Tensor
    """`[B]`: 1 + the number of other entities whose cosine is at least that of the gold one; 0 for a query without
    gold."""


@torch.no_grad()
def search(query: Tensor, entities: EntityFeatures, k: int, gold: Tensor | None = None) -> Found:
    """The `k` entities nearest to each `query [B, D]`, and the ranks of the rows `gold [B]` (-1 for none).

    Computes on the query's device: blocks on other devices are copied there one by one. With `k` = 0 it only ranks.
    Raises `DataError` for features that are not finite.
    """
    k = min(k, len(entities))
    with full_float32(query.device):
        wanted = _Wanted.of(query, gold, entities)
        best = _Best.none(len(query), query.device)
        above = torch.zeros(len(query), dtype=torch.long, device=query.device)
        for block in _blocks(entities, len(query), query.device):
            scores = wanted.scores(block)
            if k:
                best = best.merged(wanted, scores, block, k)
            if gold is not None:
                above += wanted.outranking(scores, block)
        above = torch.where(wanted.dead, len(entities) - 1, above)
        return Found(best.cosines.float(), best.rows, torch.where(wanted.gold < 0, 0, 1 + above))


@torch.no_grad()
def rank_among(
    query: Tensor, candidates: Tensor, valid: Tensor, gold: Tensor, is_gold: Tensor
) -> tuple[Tensor, Tensor]:
    """Cosines `[B, C]` of each query's own candidates, and the rank `[B]` of its gold entity among them.

    `query` and `gold`, the gold entities' features, are `[B, D]`, `candidates` `[B, C, D]`. `is_gold [B, C]` marks
    the gold entity, which never competes with itself, and `valid [B, C]` real candidates; others get the cosine
    -inf. Raises `DataError` for features that are not finite.
    """
    _, C, D = candidates.shape
    rows = max(1, CELLS // (4 * max(1, C * D)))  # float64 takes memory
    parts = zip(query.split(rows), candidates.split(rows), strict=True)
    cosines = torch.cat([cosine(q.unsqueeze(1), c) for q, c in parts])
    own = cosine(query, gold).unsqueeze(1)
    check_finite(own, "of a query or of its gold entity")
    check_finite(cosines.masked_fill(~valid, 0.0), "of a candidate")
    above = (cosines >= own - TIE) & valid & ~is_gold
    return cosines.masked_fill(~valid, float("-inf")).float(), 1 + above.sum(1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines in float64 along the last dimension; the others are broadcast. 0 if a vector is zero."""
    a, b = a.double(), b.double()
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return (a * b).sum(-1) / torch.where(norms == 0, 1.0, norms)


def best_first(cosines: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` best of float64 `cosines [B, n]` and their `rows`, in order; equal cosines by row."""
    by_row = rows.argsort(dim=1)
    cosines, rows = cosines.gather(1, by_row), rows.gather(1, by_row)
    order = cosines.div(TIE).round_().argsort(dim=1, descending=True, stable=True)[:, :k]
    return cosines.gather(1, order), rows.gather(1, order)


def check_finite(x: Tensor, whose: str) -> None:
    """Raise `DataError` for features that are not finite."""
    if not x.isfinite().all():
        raise DataError(
            f"features {whose} are not finite",
            hint="check the encoder's features of these texts or images",
            code="features.not-finite",
        )


class _Block(NamedTuple):
    """Consecutive entities."""

    first: int
    features: Tensor
    """`[n, D]`, float32"""
    norm: Tensor
    """`[n]`"""


class _Wanted(NamedTuple):
    """Queries, and the values that a block of entities is compared with."""

    query: Tensor
    unit: Tensor
    """The queries at length 1, `[B, D]`."""
    dead: Tensor
    """Queries that are zero vectors `[B]`: nothing is nearer to them than anything else."""
    gold: Tensor
    own: Tensor
    """The gold entities' cosines `[B, 1]`, float64; inf if nothing is to be compared."""

    @classmethod
    def of(cls, query: Tensor, gold: Tensor | None, entities: EntityFeatures) -> _Wanted:
        check_finite(query, "of a query")
        norm = torch.linalg.vector_norm(query.double(), dim=1, keepdim=True)
        dead = norm.squeeze(1) == 0
        unit = (query / torch.where(norm == 0, 1.0, norm)).float()
        if gold is None:
            gold = torch.full((len(query),), -1, device=query.device)
        own = cosine(query, entities.gather(gold.clamp(min=0)).to(query.device))
        check_finite(own, "of a gold entity")
        own = torch.where((gold < 0) | dead, torch.inf, own)
        return cls(query, unit, dead, gold, own.unsqueeze(1))

    @property
    def error(self) -> float:
        """The largest error of a cosine in float32: a sum of D products, a norm, and a few roundings."""
        return (1.5 * self.query.shape[1] + 16) * ROUNDING

    def scores(self, block: _Block) -> Tensor:
        """Cosines `[B, n]` in float32; 0 for zero vectors."""
        return (self.unit @ block.features.t()).mul_(
            torch.where(block.norm == 0, 1.0, block.norm).reciprocal()
        )

    def cosines(self, block: _Block, query: Tensor, row: Tensor) -> Tensor:
        """Cosines `[P]` in float64 of pairs of a query and a row of the block, each `[P]`."""
        size = max(1, CELLS // (8 * block.features.shape[1]))
        pairs = zip(query.split(size), row.split(size), strict=True)
        return torch.cat([cosine(self.query[q], block.features[r]) for q, r in pairs])

    def outranking(self, scores: Tensor, block: _Block) -> Tensor:
        """How many rows of the block, without the gold one, are at least as near as it `[B]`. Changes `scores`."""
        zero = (block.norm == 0).nonzero().squeeze(1)  # there may be many, whose cosines are exact
        scores[:, zero] = torch.where(self.own <= TIE, torch.inf, -torch.inf).float()
        row = self.gold - block.first
        here = ((row >= 0) & (row < scores.shape[1])).nonzero().squeeze(1)
        scores[here, row[here]] = -torch.inf
        clear = scores >= (self.own + self.error).float()
        query, close = (clear ^ (scores >= (self.own - self.error).float())).nonzero(as_tuple=True)
        level = self.cosines(block, query, close) >= self.own[query, 0] - TIE
        count = clear.view(torch.uint8).sum(1, dtype=torch.int32).long()  # much faster than a sum of bools
        return count.index_add_(0, query, level.long())


class _Best(NamedTuple):
    """The nearest rows so far, best first."""

    cosines: Tensor
    """`[B, k]`, float64"""
    rows: Tensor
    """`[B, k]`"""

    @classmethod
    def none(cls, queries: int, device: torch.device) -> _Best:
        nothing = torch.empty(queries, 0, device=device)
        return cls(nothing.double(), nothing.long())

    def merged(self, wanted: _Wanted, scores: Tensor, block: _Block, k: int) -> _Best:
        """The k best of these and of a block's rows."""
        query, row = self._candidates(wanted, scores, k)
        cosines = wanted.cosines(block, query, row)
        count = torch.bincount(query, minlength=len(scores))
        slot = torch.arange(len(query), device=query.device) - (count.cumsum(0) - count)[query]
        width = int(count.max()) if len(count) else 0
        padded = cosines.new_full((len(scores), width), -torch.inf)
        rows = row.new_full((len(scores), width), torch.iinfo(row.dtype).max)
        padded[query, slot], rows[query, slot] = cosines, row + block.first
        return _Best(*best_first(torch.cat([self.cosines, padded], 1), torch.cat([self.rows, rows], 1), k))

    def _candidates(self, wanted: _Wanted, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Queries and rows of the block `[P]`, in that order, such that any other row has k better ones."""
        full = self.rows.shape[1] == k
        if full:
            least = self.cosines[:, -1:].float() - wanted.error
        elif k <= scores.shape[1]:
            least = scores.topk(k, dim=1).values[:, -1:] - 2 * wanted.error
        else:
            least = torch.full_like(scores[:, :1], -torch.inf)
        candidates = scores >= torch.where(wanted.dead.unsqueeze(1), torch.inf, least)
        if not full:
            candidates[:, :k] |= wanted.dead.unsqueeze(1)
        query, row = candidates.nonzero(as_tuple=True)
        return query, row


def _blocks(entities: EntityFeatures, queries: int, device: torch.device) -> Iterator[_Block]:
    """Blocks of which neither features nor scores exceed `CELLS`."""
    size = max(1, CELLS // max(entities.dim, queries))
    kept = entities.norms().to(device) if isinstance(entities, KeepsNorms) else None
    for first, stored in entities.blocks():
        for part in stored.split(size):
            features = part.to(device).float()
            norm = norms(features, first) if kept is None else kept[first : first + len(part)]
            yield _Block(first, features, norm)
            first += len(part)
