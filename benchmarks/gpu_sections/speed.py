"""The benchmarks beside this folder at their real shapes, in this process, in a form short enough for a few minutes."""

from __future__ import annotations

import statistics

import torch
from common import GPU_MEMORY, seconds_each

from gpu_sections.context import Context, environment
from gpu_sections.dwe import epochs as dwe_epochs
from gpu_sections.updates import hvpnet, more


def crf(context: Context) -> None:
    """The CRF beside pytorch-crf; both are first seen to agree."""
    from crf import B, K, T, measured

    batch, length, repeats = (4, 12, 2) if context.tiny else (B, T, 15)
    context.fact(batch=batch, length=length, tags=K, repeats=repeats)
    for row in measured(context.device, repeats, batch, length):
        context.row(**row)


def tesga_tables(context: Context) -> None:
    """A training step of TESGA's tables: rows scored by broadcasting beside states of every pair."""
    from tesga_tables import measured

    batch, length, repeats = (2, 12, 2) if context.tiny else (16, 128, 9)
    found = {form: measured(form, context.device, batch, length, repeats) for form in ("direct", "blocks")}
    for form, figures in found.items():
        context.row(form=form, **figures)
    direct, blocks = found["direct"], found["blocks"]
    context.check("loss, relative", abs(direct["loss"] - blocks["loss"]) / abs(direct["loss"]), 1e-3)
    context.fact(batch=batch, length=length, ratio=direct["seconds a step"] / blocks["seconds a step"])


def hvpnet_training(context: Context) -> None:
    """HVPNeT's updates; whole epochs with stored features in bf16 and in float32, and recomputed as the authors do."""
    from hvpnet_training import Shape, made_up_vocabulary, make_backbones, one_side

    shape = Shape(vocabulary=made_up_vocabulary())
    if context.tiny:
        bert = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        shape = Shape(4, {**bert, "vocab_size": 300}, "resnet18", 64, made_up_vocabulary(300))
    make_backbones(context.folder, shape)
    hvpnet(context, context.folder, shape)
    rates = {}
    for side, precision, epochs in (("stored", "bf16", 4), ("stored", "fp32", 4), ("recomputed", "fp32", 1)):
        if context.tiny and (side, precision) == ("stored", "bf16"):
            continue
        with environment(MMKIT_CACHE=str(context.folder / f"cache-{precision}")):  # each stores by itself
            row = one_side(
                side,
                context.folder,
                1 if context.tiny else epochs,
                context.device,
                shape,
                precision,
                warm_up=0 if context.tiny else 5,
            )
        context.row(**row)
        rates[side, precision] = row["tweets/s"]
    recomputed = rates["recomputed", "fp32"]
    ratios = {f"{side}, {precision}": rate / recomputed for (side, precision), rate in rates.items()}
    context.fact(tweets=shape.tweets, ratios=ratios)


def more_training(context: Context) -> None:
    """MoRe with xlm-roberta-large's shape: the longest update, and epochs padded, in buckets, and those in bf16."""
    from more_training import PRESETS, SIDES, make_backbone, one_side

    preset = {**PRESETS["large"], "posts": 192}
    if context.tiny:
        preset = {"layers": 1, "width": 64, "vocabulary": 6_000, "posts": 4}
    make_backbone(context.folder, preset, context.device)
    more(context, context.folder, preset)
    speeds = {}
    for side in (SIDES[0], SIDES[2], SIDES[3]):
        row = one_side(side, context.folder, preset, context.device, warm_up=0 if context.tiny else 3)
        context.row(**row)
        speeds[side] = row["sentences/s"]
    context.fact(**preset, ratios={side: speed / speeds[SIDES[0]] for side, speed in speeds.items()})


def dwe_training(context: Context) -> None:
    """DWE from stored features, and what 300 epochs come to, beside a loop that reads them example by example."""
    from dwe_training import Size, one_side

    size, rounds = (Size(256, 128), 1) if context.tiny else (Size(), 7)
    ours = dwe_epochs(context, size, rounds)
    context.row(**ours)
    folder = context.folder / "per-example"
    folder.mkdir()
    with environment(MMKIT_CACHE=str(folder / "cache")):
        theirs = one_side("per example", folder, 1, context.device_name, size)
    context.row(**theirs)
    context.fact(**size._asdict(), ratio=theirs["s an epoch"] / ours["s an epoch"])


def entity_search(context: Context) -> None:
    """Exact search with ranks among placed features and features in the host's memory, beside one float32 product."""
    from entity_search import D, K, drawn, recall

    from mmkit.decoders.search import search
    from mmkit.encoders.entity_features import StoredEntities
    from mmkit.ops.losses import unit

    entities, queries, repeats = (40_000, 16, 1) if context.tiny else (1_000_000, 256, 5)
    width = 64 if context.tiny else D
    chunks, query, gold = drawn(entities, queries, context.device, width)
    stored = StoredEntities([chunk.cpu() for chunk in chunks])
    size = stored.nbytes / 1e9
    context.fact(entities=entities, width=width, queries=queries, k=K, features_gb=size)

    def placed() -> None:
        stored.place(context.device, float("inf"))

    host = search(query, stored, K, gold)
    ways = {
        "exact, from the host's memory": seconds_each(
            lambda: search(query, stored, K, gold), repeats, context.device
        )
    }
    context.row(what="copied to the device", seconds=seconds_each(placed, 1, context.device, 0)[0])
    GPU_MEMORY.begin(context.device)
    here = search(query, stored, K, gold)
    ways["exact, placed"] = seconds_each(lambda: search(query, stored, K, gold), repeats, context.device)
    peak = GPU_MEMORY.peak(context.device)
    table = torch.cat([unit(block.float()) for _, block in stored.blocks()])
    rows = (unit(query) @ table.t()).topk(K, dim=1).indices
    ways["float32 product and top 20, no ranks"] = seconds_each(
        lambda: (unit(query) @ table.t()).topk(K, dim=1), repeats, context.device
    )
    for what, seconds in ways.items():
        each = statistics.median(seconds)
        context.row(what=what, **{"ms a query": 1e3 * each / queries, "GB of features/s": size / each})
    context.check("rows, placed beside host", (here.rows != host.rows).float().mean().item(), 0.0)
    context.check("ranks, placed beside host", (here.rank != host.rank).float().mean().item(), 0.0)
    context.check("share of the product's rows that is missing", 1 - recall(rows, here.rows), 1e-3)
    top1 = (here.rank == 1).float().mean().item()
    context.fact(**{"top-1": top1, "GPU memory while searching, GiB": peak / 2**30})
