"""Cosines of queries and blocks of entities: in float32, and in float64 where float32 cannot decide.

A zero vector has the cosine 0 with everything. Cosines that float64 cannot distinguish (`TIE`) are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmkit.encoders.entity_features import EntityFeatures, KeepsNorms, norms
from mmkit.errors import DataError

CELLS = 1 << 25
"""Numbers in a block of features, and in its scores: 128 MB each in float32."""
TIE = 8 * 2.0**-52
"""Relative; some roundings of float64."""
ROUNDING = 2.0**-24
"""Of float32, relative."""
QUERIES = 32
"""Queries whose entities are compared exactly together."""
NONE = -1
"""The row of an entity that is not in the knowledge base, or that was not found."""


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


def best_of(query: Tensor, rows: Tensor, entities: EntityFeatures, k: int) -> tuple[Tensor, Tensor]:
    """Cosines `[B, k]` (float32, from float64) and rows of the `k` best of each query's own `rows [B, n]`, best first.

    Equal ones come by row. `NONE` is no entity: it comes last, with the cosine -inf.
    """
    pairs = zip(query.split(QUERIES), rows.split(QUERIES), strict=True)
    found = [cosine(q.unsqueeze(1), entities.gather(r.clamp(min=0)).to(q.device)) for q, r in pairs]
    cosines, rows = best_first(torch.cat(found).masked_fill(rows == NONE, -torch.inf), rows, k)
    return cosines.float(), rows


def check_finite(x: Tensor, whose: str) -> None:
    """Raise `DataError` for features that are not finite."""
    if not x.isfinite().all():
        raise DataError(
            f"features {whose} are not finite",
            hint="check the encoder's features of these texts or images",
            code="features.not-finite",
        )


class Block(NamedTuple):
    """Consecutive entities."""

    first: int
    features: Tensor
    """`[n, D]`, float32"""
    norm: Tensor
    """`[n]`"""


def blocks_of(entities: EntityFeatures, queries: int, device: torch.device) -> Iterator[Block]:
    """Blocks on `device` of which neither features nor scores of so many queries exceed `CELLS`."""
    size = max(1, CELLS // max(entities.dim, queries))
    kept = entities.norms().to(device) if isinstance(entities, KeepsNorms) else None
    for first, stored in entities.blocks():
        for part in stored.split(size):
            features = _sent(part, device).float()
            norm = norms(features, first) if kept is None else kept[first : first + len(part)]
            yield Block(first, features, norm)
            first += len(part)


def _sent(part: Tensor, device: torch.device) -> Tensor:
    """The part on `device`. The host does not wait until it is there: a GPU copies it after what it computes now."""
    if device.type == "cuda" and part.device.type == "cpu":
        part = part.pin_memory()
    return part.to(device, non_blocking=True)


class Wanted(NamedTuple):
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
    def of(cls, query: Tensor, gold: Tensor | None, entities: EntityFeatures) -> Wanted:
        """Raises `DataError` for features that are not finite."""
        check_finite(query, "of a query")
        norm = torch.linalg.vector_norm(query.double(), dim=1, keepdim=True)
        dead = norm.squeeze(1) == 0
        unit = (query / torch.where(norm == 0, 1.0, norm)).float()
        if gold is None:
            gold = torch.full((len(query),), -1, device=query.device)
            own = torch.full((len(query),), torch.inf, device=query.device, dtype=torch.float64)
        else:
            own = cosine(query, entities.gather(gold.clamp(min=0)).to(query.device))
            check_finite(own, "of a gold entity")
            own = torch.where((gold < 0) | dead, torch.inf, own)
        return cls(query, unit, dead, gold, own.unsqueeze(1))

    def some(self, queries: Tensor) -> Wanted:
        """Those of the queries at the positions `queries [n]`."""
        return Wanted(*(tensor[queries] for tensor in self))

    @property
    def error(self) -> float:
        """The largest error of a cosine in float32: a sum of D products, a norm, and a few roundings."""
        return (1.5 * self.query.shape[1] + 16) * ROUNDING

    def scores(self, block: Block) -> Tensor:
        """Cosines `[B, n]` in float32; 0 for zero vectors."""
        return (self.unit @ block.features.t()).mul_(
            torch.where(block.norm == 0, 1.0, block.norm).reciprocal()
        )

    def cosines(self, block: Block, query: Tensor, row: Tensor) -> Tensor:
        """Cosines `[P]` in float64 of pairs of a query and a row of the block, each `[P]`."""
        size = max(1, CELLS // (8 * block.features.shape[1]))
        pairs = zip(query.split(size), row.split(size), strict=True)
        return torch.cat([cosine(self.query[q], block.features[r]) for q, r in pairs])
