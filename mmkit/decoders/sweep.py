"""One pass over a knowledge base that reads nothing back: a GPU always has the next block to compute.

What the pass cannot decide is known at its end, and those few queries are searched for again, block by block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mmkit.decoders import cosines
from mmkit.decoders.cosines import TIE, Block, Wanted, best_first, cosine
from mmkit.encoders.entity_features import EntityFeatures

SPARE = 32
"""Rows beyond k that are kept: those that float32 cannot tell from the k-th must be among them."""
CLOSE = 64
"""Rows of a block that float32 cannot tell from a query's gold entity, and that are still compared with it."""
PAIRS = 4
"""The number of such rows for which there is place, times the number of queries."""


class Swept(NamedTuple):
    """What a pass found."""

    cosines: Tensor
    """`[B, k]`, float64, best first"""
    rows: Tensor
    """`[B, k]`"""
    above: Tensor
    """`[B]`: entities that are at least as near as the gold one."""
    sure: Tensor
    """`[B]`: whether float64 over all entities would give the same."""


def sweep(wanted: Wanted, blocks: Iterable[Block], entities: EntityFeatures, k: int, ranking: bool) -> Swept:
    """The k nearest of all entities, and with `ranking` the number above the gold one."""
    queries, device = len(wanted.query), wanted.query.device
    scores, rows = torch.empty(queries, 0, device=device), torch.empty(queries, 0, device=device).long()
    above = torch.zeros(queries, dtype=torch.long, device=device)
    sure = torch.ones(queries, dtype=torch.bool, device=device)
    for block in blocks:
        found = wanted.scores(block)
        if k:
            scores, rows = _highest(scores, rows, found, block.first, k + SPARE)
        if ranking:
            more, all_compared = _outranking(wanted, found, block)
            above, sure = above + more, sure & all_compared
    if not k:
        return Swept(scores.double(), rows, above, sure)
    exact, rows, enough = _decided(wanted, entities, scores, rows, k)
    return Swept(exact, rows, above, sure & enough)


def _highest(scores: Tensor, rows: Tensor, found: Tensor, first: int, width: int) -> tuple[Tensor, Tensor]:
    """The `width` highest scores so far, and their rows, with those `found [B, n]` of a block."""
    top = found.topk(min(width, found.shape[1]), dim=1)
    scores, rows = torch.cat([scores, top.values], 1), torch.cat([rows, top.indices + first], 1)
    best = scores.topk(min(width, scores.shape[1]), dim=1)
    return best.values, rows.gather(1, best.indices)


def _decided(
    wanted: Wanted, entities: EntityFeatures, scores: Tensor, rows: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the kept rows the k best by float64, and whether no other row can be among them `[B]`."""
    queries, width = rows.shape
    query = torch.arange(queries, device=rows.device).repeat_interleave(width, output_size=rows.numel())
    size = max(1, cosines.CELLS // (8 * entities.dim))
    pairs = zip(query.split(size), rows.reshape(-1).split(size), strict=True)
    exact = torch.cat([cosine(wanted.query[q], entities.gather(r).to(q.device)) for q, r in pairs])
    best, at = best_first(exact.view(queries, width), rows, k)
    enough = scores.amin(1).double() + wanted.error < best[:, -1] - TIE
    if width == len(entities):
        enough = torch.ones_like(enough)
    dead = wanted.dead
    at = torch.where(dead[:, None], torch.arange(at.shape[1], device=at.device), at)
    return torch.where(dead[:, None], 0.0, best), at, enough | dead


def _outranking(wanted: Wanted, scores: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """How many rows of the block are at least as near as the gold one `[B]`, and whether that is sure `[B]`."""
    exact = torch.where(wanted.own <= TIE, torch.inf, -torch.inf).float()  # of zero vectors
    scores = torch.where(block.norm == 0, exact, scores)
    row = (wanted.gold - block.first)[:, None]
    here, row = (row >= 0) & (row < scores.shape[1]), row.clamp(0, scores.shape[1] - 1)
    scores.scatter_(1, row, torch.where(here, -torch.inf, scores.gather(1, row)))
    clear = scores >= (wanted.own + wanted.error).float()
    close = clear ^ (scores >= (wanted.own - wanted.error).float())
    few = close.sum(1) <= CLOSE
    close &= few[:, None]
    size, count = min(PAIRS * len(scores), close.numel()), close.sum(1)
    query, row = torch.nonzero_static(close, size=size, fill_value=0).unbind(1)
    real = torch.arange(size, device=query.device) < count.sum()
    level = (wanted.cosines(block, query, row) >= wanted.own[query, 0] - TIE) & real
    sure = few & ((count.sum() <= size) | (count == 0))
    return clear.sum(1).index_add_(0, query, level.long()), sure
