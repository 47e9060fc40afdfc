"""A sample recipe of each paper on the device: trained whole, interrupted and resumed, evaluated from its folder."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from gpu_sections.context import Context
from mmkit import Interrupted, Recipe, evaluate, hookimpl, load_recipe, sampled, train
from mmkit.runs.folder import Run

APART = 0.1
"""What scores of a resumed run may be off the whole one's on a GPU, whose sums have no fixed order; 0 on a CPU."""
AGAIN = 0.02
"""What evaluating a run again may be off there."""


class InterruptAt:
    """Sends Ctrl-C to this process after an update."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def mmkit_step(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def hvpnet(context: Context) -> None:
    """HVPNeT's tagger."""
    trained(context, "hvpnet_twitter15", "spans.f1", 0.5, 10)


def more(context: Context) -> None:
    """MoRe's tagger with contexts found in texts."""
    trained(context, "more_twitter15_text", "spans.f1", 0.5, 7)


def tesga(context: Context) -> None:
    """TESGA's entity table."""
    trained(context, "tesga_twitter15", "spans.f1", 0.5, 12)


def dwe(context: Context) -> None:
    """DWE."""
    trained(context, "dwe_wikimel", "linking.top1", 0.75, 20)


def dim(context: Context) -> None:
    """DIM."""
    trained(context, "dim_wikimel", "linking.top1", 0.75, 20)


def trained(context: Context, name: str, figure: str, floor: float, epochs: int) -> None:
    """Train `name`'s sample, and check that it learns, resumes and is scored alike.

    `floor` is what the test's `figure` comes to at least after `epochs`; with tiny shapes there is one epoch, of
    which nothing is expected but that it ends.
    """
    clock = time.perf_counter()
    recipe = sampled(load_recipe(name)).with_overrides({"training.epochs": 1 if context.tiny else epochs})
    context.fact(recipe=name, epochs=recipe.training.epochs, **{"sample, s": time.perf_counter() - clock})

    whole = timed(context, "whole", recipe, context.folder / "whole")
    if not context.tiny:
        context.check(f"{figure} lacks to {floor}", floor - whole["figures"]["test"][figure], 0.0)
    losses = logged_losses(context.folder / "whole")
    context.check("losses that are not finite", sum(not math.isfinite(loss) for loss in losses), 0.0)

    stop = whole["updates"] // 2 + 1
    folder = context.folder / "resumed"
    try:
        timed(context, "interrupted", recipe, folder, hooks=[InterruptAt(stop)])
    except Interrupted:
        context.row(what="interrupted", updates=stop)
    else:
        raise AssertionError(f"training went on after Ctrl-C at update {stop}")
    resumed = timed(context, "resumed", recipe, folder, resume=True)
    context.check("updates more or fewer when resumed", abs(resumed["updates"] - whole["updates"]), 0.0)
    apart = max(
        abs(value - whole["figures"][split][name])
        for split, figures in resumed["figures"].items()
        for name, value in figures.items()
        if name == figure or not context.cuda
    )
    context.check("scores, resumed beside whole", apart, APART if context.cuda else 0.0)

    again, predictions = evaluate(folder, "test", device=context.device_name, output=context.folder / "again")
    apart = abs(again[figure] - resumed["figures"]["test"][figure])
    context.check(f"{figure}, evaluated again", apart, AGAIN if context.cuda else 0.0)
    context.fact(predictions=len(predictions), precision=whole["precision"], device=whole["device_name"])
    weights = Run(folder).model().state_dict().values()
    finite = all(tensor.isfinite().all() for tensor in weights if tensor.is_floating_point())
    context.check("weights that are not finite", not finite, 0.0)


def timed(context: Context, what: str, recipe: Recipe, folder: Path, **options: Any) -> dict[str, Any]:
    """Train, and record how long it took and what came of it."""
    start = time.perf_counter()
    summary = train(recipe, folder, device=context.device_name, quiet=True, **options)
    if context.cuda:
        torch.cuda.synchronize(context.device)
    seconds = time.perf_counter() - start
    figures = {key: value for key, value in summary["figures"]["test"].items() if key.count(".") == 1}
    context.row(what=what, updates=summary["updates"], seconds=seconds, test=figures)
    return summary


def logged_losses(folder: Path) -> list[float]:
    """The losses in a run's log."""
    lines = [json.loads(line) for line in Run(folder).metrics_file.read_text(encoding="utf-8").splitlines()]
    return [float(line["loss"]) for line in lines if "loss" in line]
