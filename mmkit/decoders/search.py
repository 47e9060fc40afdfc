"""Nearest entities by cosine, and the rank of the gold one: exact, in memory that does not grow with their number.

Exact means: what float64 arithmetic on the stored, rounded features gives. Products are computed in float32; where
its rounding could matter for the outcome, the few entities in question are compared again in float64.
A zero vector has the cosine 0 with everything. Cosines that float64 cannot distinguish are equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmkit.decoders import cosines as limits
from mmkit.decoders.cosines import TIE, Block, Wanted, best_first, blocks_of, check_finite, cosine
from mmkit.decoders.sweep import sweep
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.ops.precision import full_float32


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
def search(
    query: Tensor,
    entities: EntityFeatures,
    k: int,
    gold: Tensor | None = None,
    *,
    waiting: bool | None = None,
) -> Found:
    """The `k` entities nearest to each `query [B, D]`, and the ranks of the rows `gold [B]` (-1 for none).

    Computes on the query's device: blocks on other devices are copied there one by one. The whole knowledge base is
    read once, so many queries together cost less. With `k` = 0 it only ranks. `waiting` says whether each block is
    looked at before the next one is computed: on a CPU, where that costs nothing, or by default only there. The result
    is the same. Raises `DataError` for features that are not finite.
    """
    with full_float32(query.device):
        wanted = Wanted.of(query, gold, entities)
        cosines, rows, above = nearest(wanted, entities, min(k, len(entities)), gold is not None, waiting)
        above = torch.where(wanted.dead, len(entities) - 1, above)
        return Found(cosines.float(), rows, torch.where(wanted.gold < 0, 0, 1 + above))


def nearest(
    wanted: Wanted, entities: EntityFeatures, k: int, ranking: bool, waiting: bool | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (float64) and rows `[B, k]` of the nearest, and how many entities outrank the gold one `[B]`.

    See `search`.
    """
    device = wanted.query.device
    if waiting or (waiting is None and device.type == "cpu"):
        return _block_by_block(wanted, entities, k, ranking)
    blocks = blocks_of(entities, len(wanted.query), device)
    cosines, rows, above, sure = sweep(wanted, blocks, entities, k, ranking)
    again = (~sure).nonzero().squeeze(1)
    if len(again):
        cosines[again], rows[again], above[again] = _block_by_block(wanted.some(again), entities, k, ranking)
    return cosines, rows, above


def _block_by_block(
    wanted: Wanted, entities: EntityFeatures, k: int, ranking: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines and rows `[B, k]` of the nearest, and how many outrank the gold one `[B]`."""
    device = wanted.query.device
    best = _Best.none(len(wanted.query), device)
    above = torch.zeros(len(wanted.query), dtype=torch.long, device=device)
    for block in blocks_of(entities, len(wanted.query), device):
        scores = wanted.scores(block)
        if k:
            best = best.merged(wanted, scores, block, k)
        if ranking:
            above += _outranking(wanted, scores, block)
    return best.cosines, best.rows, above


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
    rows = max(1, limits.CELLS // (4 * max(1, C * D)))  # float64 takes memory
    parts = zip(query.split(rows), candidates.split(rows), strict=True)
    cosines = torch.cat([cosine(q.unsqueeze(1), c) for q, c in parts])
    own = cosine(query, gold).unsqueeze(1)
    check_finite(own, "of a query or of its gold entity")
    check_finite(cosines.masked_fill(~valid, 0.0), "of a candidate")
    above = (cosines >= own - TIE) & valid & ~is_gold
    return cosines.masked_fill(~valid, float("-inf")).float(), 1 + above.sum(1)


def _outranking(wanted: Wanted, scores: Tensor, block: Block) -> Tensor:
    """How many rows of the block, without the gold one, are at least as near as it `[B]`. Changes `scores`."""
    zero = (block.norm == 0).nonzero().squeeze(1)  # there may be many, whose cosines are exact
    scores[:, zero] = torch.where(wanted.own <= TIE, torch.inf, -torch.inf).float()
    row = wanted.gold - block.first
    here = ((row >= 0) & (row < scores.shape[1])).nonzero().squeeze(1)
    scores[here, row[here]] = -torch.inf
    clear = scores >= (wanted.own + wanted.error).float()
    query, close = (clear ^ (scores >= (wanted.own - wanted.error).float())).nonzero(as_tuple=True)
    level = wanted.cosines(block, query, close) >= wanted.own[query, 0] - TIE
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

    def merged(self, wanted: Wanted, scores: Tensor, block: Block, k: int) -> _Best:
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

    def _candidates(self, wanted: Wanted, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
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
