"""Exact search over a knowledge base that is spread over processes: the same as one process would find."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmkit.decoders.cosines import Wanted, best_first, check_finite, cosine
from mmkit.decoders.search import Found, nearest, search
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.ops.precision import full_float32

_asking = ContextVar("mmkit_all_processes_ask", default=False)


@contextlib.contextmanager
def all_ask() -> Iterator[None]:
    """Within it, all processes ask for the same number of searches (`AnswersTogether.collective`)."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def search_shared(query: Tensor, entities: SharedEntities, k: int, gold: Tensor | None = None) -> Found:
    """`search_together` where all processes ask (`all_ask`), and a search in the files elsewhere: the same, but slower.

    A decoder that answers each batch by itself searches as often as its process has batches. If it asked the others, it
    would wait for ever for one that has no batch left.
    """
    return (search_together if _asking.get() else search)(query, entities, k, gold)


@torch.no_grad()
def search_together(
    query: Tensor,
    entities: SharedEntities,
    k: int,
    gold: Tensor | None = None,
    *,
    waiting: bool | None = None,
) -> Found:
    """`mmkit.decoders.search.search` with the queries of this process, among the entities of all processes.

    All processes must call it at the same time; their numbers of queries and `k` may differ, also be 0. Each looks for
    everybody's queries among its own entities. Raises `DataError` for features that are not finite.
    """
    counts, most = _agreed(len(query), min(k, len(entities)), query.device)
    own = slice(sum(counts[: dist.get_rank()]), sum(counts[: dist.get_rank() + 1]))
    if gold is None:
        gold = torch.full((len(query),), -1, device=query.device)
    every, golds = _of_all(query, counts), _of_all(gold, counts)
    with full_float32(query.device):
        wanted = _wanted(every, golds, entities)
        cosines, rows, above = nearest(wanted, entities.part, min(most, len(entities.part)), True, waiting)
    missing = most - rows.shape[1]  # a part may have fewer entities
    cosines = torch.nn.functional.pad(cosines, (0, missing), value=-torch.inf)
    rows = torch.nn.functional.pad(rows + entities.first, (0, missing), value=len(entities))
    dist.all_reduce(above)
    found, where = (torch.stack(_everywhere(x)).transpose(0, 1)[own].flatten(1) for x in (cosines, rows))
    best, at = best_first(found, where, min(k, len(entities)))
    above = torch.where(wanted.dead, len(entities) - 1, above)[own]
    return Found(best.float(), at, torch.where(gold < 0, 0, 1 + above))


def _wanted(query: Tensor, gold: Tensor, entities: SharedEntities) -> Wanted:
    """All queries, and what this process's entities are compared with; a gold entity may be another process's."""
    wanted = Wanted.of(query, None, entities.part)
    row = gold - entities.first
    here = (gold >= 0) & (row >= 0) & (row < len(entities.part))
    vectors = entities.part.gather(row.clamp(0, len(entities.part) - 1)).to(query.device)
    own = torch.where(here, cosine(query, vectors), -torch.inf)
    dist.all_reduce(own, dist.ReduceOp.MAX)
    known = (gold >= 0) & ~wanted.dead
    check_finite(own[known], "of a gold entity")
    own = torch.where(known, own, torch.inf)
    return wanted._replace(gold=torch.where(here, row, -1), own=own.unsqueeze(1))


def _agreed(queries: int, k: int, device: torch.device) -> tuple[list[int], int]:
    """How many queries each process has, and the largest k."""
    told = torch.stack(_everywhere(torch.tensor([queries, k], device=device))).tolist()
    return [count for count, _ in told], max(most for _, most in told)


def _of_all(x: Tensor, counts: list[int]) -> Tensor:
    """The rows of every process's `x`, in order of rank."""
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    return torch.cat([part[:count] for part, count in zip(_everywhere(padded), counts, strict=True)])


def _everywhere(x: Tensor) -> list[Tensor]:
    """Every process's `x`, of the same shape."""
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return parts
