"""DWE's epochs at WikiMEL's size: as training runs them, from reading to update, and what 300 of them come to."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from common import GPU_MEMORY, synchronize

from gpu_sections.context import Context, environment
from mmkit.data.types import Example
from mmkit.model import Model
from mmkit.ops.precision import full_float32

ALONE = 1e-4
"""What a query may be off in a batch, of the largest value or of 1."""


def epochs(context: Context, size: Any, rounds: int) -> dict[str, Any]:
    """The median of `rounds` epochs; queries of a batch are first seen to be those of each mention alone."""
    from dwe_training import EPOCHS, make_data, make_model, train_with_mmkit

    device, folder = context.device, context.folder / "mmkit"
    folder.mkdir()
    before = GPU_MEMORY.begin(device)
    with environment(MMKIT_CACHE=str(folder / "cache")):
        examples, base = make_data(folder, size)
        model, recipe = make_model(base)
        training = train_with_mmkit(model, recipe, examples, rounds, context.device_name)
        next(training)  # some updates were made
        context.check("DWE: queries of a batch beside each alone", apart(model, examples[:32]), ALONE)
        seconds, loss = [], 0.0
        for _ in range(rounds):
            synchronize(device)
            start = time.perf_counter()
            loss = next(training)
            synchronize(device)
            seconds.append(time.perf_counter() - start)
    each = statistics.median(seconds)
    updates = -(-size.mentions // recipe.training.batch_size)
    context.check("DWE: losses that are not finite", not math.isfinite(loss), 0.0)
    context.fact(**{f"{EPOCHS} epochs ({EPOCHS * updates:,} updates), s, without evaluations": EPOCHS * each})
    return {
        "side": "mmkit",
        "s an epoch": each,
        "least": min(seconds),
        "most": max(seconds),
        "updates/s": updates / each,
        "ms an update": 1e3 * each / updates,
        "epochs": rounds,
        "last loss": loss,
        "GPU memory, GiB": (GPU_MEMORY.peak(device) - before) / 2**30,
    }


@torch.no_grad()
def apart(model: Model, examples: list[Example]) -> float:
    """What the queries of a batch are off those of batches of one, of the largest value or of 1."""
    items, training = model.items(examples), model.training
    model.eval()
    with full_float32(model.device):
        together, *alone = (
            model.states(model.collate(some, targets=False).to(model.device))["query"].cpu()
            for some in (items, *([item] for item in items))
        )
    model.train(training)
    return float((torch.cat(alone) - together).abs().max() / together.abs().max().clamp(min=1))
