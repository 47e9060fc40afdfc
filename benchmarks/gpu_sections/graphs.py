"""Whole updates captured in CUDA graphs beside eager ones: the same losses, and how many tweets a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import GPU_MEMORY, synchronize
from torch import Tensor

from gpu_sections.context import Context, environment
from mmkit.batch import Batch
from mmkit.inference.features import prepare_features
from mmkit.model import Model, assemble
from mmkit.ops.precision import computing
from mmkit.ops.waiting import without_waiting
from mmkit.recipe import load_recipe
from mmkit.training.batches import Share, plan_epoch
from mmkit.training.graphs.captured import MULTIPLE, CapturedUpdates, Losses
from mmkit.training.graphs.recorder import CudaRecorder
from mmkit.training.graphs.tape import Tape
from mmkit.training.optimizer import make_optimizer

BATCH = 8
WARM_UP = 3
"""Epochs before the clock starts: shapes are seen in the first, and recorded when they occur again."""
TOLERANCES = {"fp32": 1e-3, "bf16": 5e-2}
"""What losses may differ by at most, relative, over all updates: sums have no fixed order on a GPU."""


def run(context: Context) -> None:
    """HVPNeT with stored features: eager and captured updates of the same batches, in float32 and in bf16."""
    from hvpnet_training import Shape, made_up_vocabulary, make_backbones, make_tweets

    shape = Shape(vocabulary=made_up_vocabulary())
    if context.tiny:
        bert = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        shape = Shape(16, {**bert, "vocab_size": 300}, "resnet18", 64, made_up_vocabulary(300))
    make_backbones(context.folder, shape)
    tweets = make_tweets(context.folder, shape)
    epochs = 1 if context.tiny else 5
    rates: dict[tuple[str, str], float] = {}
    with environment(MMKIT_CACHE=str(context.folder / "cache")):
        for precision in ("fp32",) if context.tiny else ("fp32", "bf16"):
            losses = {}
            for way in ("eager", "captured"):
                training = Training(context, tweets, precision, way, dropout=0.0)
                losses[way] = torch.stack([training.epoch(number) for number in range(WARM_UP)]).cpu()
            apart = (losses["eager"] - losses["captured"]).abs() / losses["eager"].abs()
            context.check(
                f"losses of captured updates, {precision}", apart.max().item(), TOLERANCES[precision]
            )
            for way in ("eager", "captured"):
                training = Training(context, tweets, precision, way)
                row = training.timed(epochs)
                context.row(way=way, precision=precision, **row)
                rates[way, precision] = row["tweets/s"]
    ratios = {p: rates["captured", p] / rates["eager", p] for way, p in rates if way == "eager"}
    context.fact(tweets=shape.tweets, batch=BATCH, ratios=ratios)


class Training:
    """HVPNeT with its optimizer; the same batches, padded alike, whichever way updates are computed."""

    def __init__(
        self, context: Context, tweets: Sequence[Any], precision: str, way: str, dropout: float | None = None
    ) -> None:
        self.device, self.precision = context.device, precision
        self.model, self.recipe = _model(context.folder, tweets, self.device, dropout)
        self.items = self.model.items(tweets)
        self.optimizer = make_optimizer(self.model, self.recipe.training)
        self.model.train()
        self.captured: CapturedUpdates | None = None
        if way == "captured":
            recorder = CudaRecorder(self.device) if context.cuda else Tape()
            self.captured = CapturedUpdates(recorder, self.optimizer, self.device, must=True)

    def epoch(self, number: int) -> Tensor:
        """Make the updates of an epoch; the sum of their losses."""
        plan = plan_epoch([item.length for item in self.items], BATCH, 0, number, 100)
        total = torch.zeros((), device=self.device)
        for step, chosen in enumerate(plan):
            batch = self.model.collate([self.items[i] for i in chosen], multiple=MULTIPLE)
            total += self._update(batch, partial(torch.manual_seed, number * len(plan) + step))[1]
        return total

    def timed(self, epochs: int) -> dict[str, Any]:
        """Tweets a second over some epochs, after those that warm up."""
        GPU_MEMORY.begin(self.device)
        for number in range(WARM_UP):
            self.epoch(number)
        synchronize(self.device)
        start = time.perf_counter()
        for number in range(epochs):
            self.epoch(WARM_UP + number)
        synchronize(self.device)
        seconds = time.perf_counter() - start
        return {
            "tweets/s": len(self.items) * epochs / seconds,
            "ms an update": 1e3 * seconds / (epochs * -(-len(self.items) // BATCH)),
            "graphs": self.captured.recordings if self.captured else 0,
            "GPU memory, GiB": GPU_MEMORY.peak(self.device) / 2**30,
        }

    def _update(self, batch: Batch, seed: Callable[[], object]) -> Losses:
        parts = [Share([], 1.0)]
        if self.captured is not None:
            return self.captured.make(parts, [batch], self._compute, seed)
        seed()
        with without_waiting():  # on a CPU too, so that both ways compute the same
            return self._compute(parts, [batch.to(self.device)])

    def _compute(self, parts: Sequence[Share], batches: Iterable[Batch]) -> Losses:
        for batch in batches:
            with computing(self.device, self.precision):
                losses = self.model(batch)
            total = sum(losses.values())
            total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: loss.detach() for name, loss in losses.items()}, total.detach()


def _model(
    folder: Path, tweets: Sequence[Any], device: torch.device, dropout: float | None
) -> tuple[Model, Any]:
    """The published recipe with the untrained networks in `folder`, on the device, its features stored."""
    names = {f"model.encoders.{name}.name": str(folder / name) for name in ("text", "vision")}
    rates = (
        {} if dropout is None else {f"model.{part}.dropout": dropout for part in ("encoders.text", "decoder")}
    )
    recipe = load_recipe("hvpnet_twitter15", {**names, **rates})
    model = assemble(recipe, examples=tweets).to(device)
    prepare_features(model, tweets, device, recipe.training, None)
    return model, recipe
