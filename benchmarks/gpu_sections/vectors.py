"""Exact search among ten million entities on the device, beside the bandwidth of its memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gpu_sections.context import Context, Skip
from gpu_sections.peak import best_of, measured

ENTITIES, WIDTH, K = 10_000_000, 512, 20
QUERIES = (1, 16, 256)
ROOM = 2.5
"""Times the features' size that must be free: they are copied once, and blocks of them become float32."""


def run(context: Context) -> None:
    """`search` with ranks; for a few queries it is first seen to find what float64 over all entities finds."""
    from entity_search import drawn

    from mmkit.decoders.search import search
    from mmkit.encoders.entity_features import StoredEntities

    entities, width = (20_000, 32) if context.tiny else (ENTITIES, WIDTH)
    size = 2 * entities * width
    if context.cuda and (free := torch.cuda.mem_get_info(context.device)[0]) < ROOM * size:
        raise Skip(f"{ROOM * size / 2**30:.0f} GiB of GPU memory are needed, {free / 2**30:.0f} are free")
    best = best_of(context)
    chunks, query, gold = drawn(entities, max(QUERIES), context.device, width)
    stored = StoredEntities(list(chunks))
    stored.place(context.device, float("inf"))
    context.fact(entities=entities, width=width, k=K, features_gb=size / 1e9)

    few = 4
    rows, ranks = exactly(query[:few], (block for _, block in stored.blocks()), K, gold[:few])
    found = search(query[:few], stored, K, gold[:few])
    context.check("rows that are not float64's", (found.rows != rows).float().mean().item(), 0.0)
    context.check("ranks that are not float64's", (found.rank != ranks).float().mean().item(), 0.0)

    for count in QUERIES:
        some, own = query[:count], gold[:count]
        flops = 2.0 * count * entities * width
        for what, wanted in (("top 20 and ranks", own), ("top 20", None)):
            row = measured(
                context,
                best,
                lambda some=some, wanted=wanted: search(some, stored, K, wanted),
                flops,
                size,
                rounds=5,
                each=1,
            )
            context.row(what=what, queries=count, **row, **{"queries/s": count / row["ms"] * 1e3})
    context.fact(**{"ms to read the features once": 1e3 * best.seconds(0, size)})


def exactly(query: Tensor, blocks: Iterable[Tensor], k: int, gold: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the `k` nearest by cosine in float64 `[B, k]`, and the ranks of the rows `gold [B]`."""
    query = torch.nn.functional.normalize(query.double(), dim=1)
    scores = torch.cat(
        [query @ torch.nn.functional.normalize(block.double(), dim=1).t() for block in blocks], 1
    )
    own = scores.gather(1, gold[:, None])
    return scores.topk(k, dim=1).indices, (scores >= own - 2e-15).sum(1)
