"""Predicting items with a model: used by training's evaluations, `mmkit evaluate` and `Predictor`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from mmkit.batch import Batch
from mmkit.data.types import CUT, GoldRank, Prediction
from mmkit.inference.loader import Loader
from mmkit.inference.stops import Stops
from mmkit.inference.together import Answering
from mmkit.inspection import Inspection
from mmkit.metrics.base import Metric
from mmkit.metrics.scoring import score
from mmkit.model import Item, Model
from mmkit.ops.precision import Precision, computing
from mmkit.ops.sharded import has_shards

T = TypeVar("T")


class Evaluation(NamedTuple):
    """A model's predictions for items, in their order, and their scores."""

    figures: dict[str, float]
    """Scores by name: `<metric>.<score>`."""
    predictions: list[Prediction]


@dataclass(frozen=True)
class Inference:
    """Predicts with a model that `prepare_model` has prepared.

    The same items are always cut into the same batches. The model keeps its mode, so that training continues as
    before. If several processes evaluate together, each does its share and gets all results.
    """

    model: Model
    precision: Precision
    batch_size: int = 64
    workers: int = 0
    rank: int = 0
    processes: int = 1
    threads: int = 0
    """Those that load images of the next batches if there are no workers."""
    stop: Callable[[], bool] | None = None
    """Whether this process is asked to stop, for `evaluate`: it is asked between two batches."""

    def predict(self, items: Sequence[Item], batch_size: int | None = None) -> list[Prediction]:
        """A prediction for each item, in order. Gold answers are not used. Every process predicts all items."""

        plan = plan_batches(items, batch_size or self.batch_size)
        answering = Answering(self.model, items, ranking=False, processes=self.processes)
        found = sorted(self._over(items, plan, answering, answering.rest), key=_index)
        return _told([answer.prediction for answer in found], [items[answer.at] for answer in found])

    def inspect(
        self, items: Sequence[Item], batch_size: int | None = None
    ) -> list[tuple[Prediction, Inspection]]:
        """`predict`, and what the parts show of each item, from the same forward pass. Tables are kept in memory."""

        def looked_at(batch: Batch, chosen: Sequence[int]) -> list[tuple[int, Prediction, Inspection]]:
            found, tables = self.model.inspect(batch)
            return list(zip(chosen, _told(found, [items[i] for i in chosen]), tables, strict=True))

        plan = plan_batches(items, batch_size or self.batch_size)
        found = sorted(self._over(items, plan, looked_at), key=_index)
        return [(prediction, tables) for _, prediction, tables in found]

    def evaluate(self, items: Sequence[Item], metrics: Mapping[str, Metric]) -> Evaluation:
        """Predictions of the items, and their scores; metrics of ranks get the ranks of the gold entities.

        Raises `KeyboardInterrupt` if `stop` asks for it: if in one process, then in all of them.
        """
        found = self.predict_and_rank(items)
        predictions, ranks = [prediction for prediction, _ in found], [rank for _, rank in found]
        return Evaluation(score(metrics, [item.example for item in items], predictions, ranks), predictions)

    def predict_and_rank(self, items: Sequence[Item]) -> list[tuple[Prediction, GoldRank | None]]:
        """Each item's prediction, and the rank of its gold entity if the decoder gives it, in order.

        Raises as `evaluate` does.
        """
        every = plan_batches(items, self.batch_size)
        plan = every[self.rank :: self.processes]
        # blocks that are spread over processes must be run equally often by all of them
        in_step = has_shards(self.model)
        idle = in_step and len(plan) < -(-len(every) // self.processes)
        answering = Answering(self.model, items, ranking=True, processes=self.processes)
        stops = None if self.stop is None else Stops(self.stop, self.processes, in_step)
        own = list(self._over(items, plan, answering, answering.rest, every[:idle], stops))
        found = sorted(self._of_all(own), key=_index)
        predictions = _told([answer.prediction for answer in found], [items[answer.at] for answer in found])
        return list(zip(predictions, (answer.rank for answer in found), strict=True))

    def _over(
        self,
        items: Sequence[Item],
        plan: Sequence[list[int]],
        call: Callable[[Batch, Sequence[int]], list[T]],
        rest: Callable[[], list[T]] | None = None,
        unasked: Sequence[list[int]] = (),
        stops: Stops | None = None,
    ) -> Iterator[T]:
        """The results of `call` for each planned batch, on the model's device, and the indices of its items.

        And those of `rest`, which is called at the end. What the model makes of the batches `unasked` is dropped.
        """
        ends = stops.after_batch if stops is not None else _never
        loader = Loader(self.model, items, self.workers, targets=False, threads=self.threads)
        training, device = self.model.training, self.model.device
        self.model.eval()
        try:
            for chosen, batch in zip(plan, loader(plan), strict=True):
                with computing(device, self.precision), _uncompiled(self.model):
                    found = call(batch.to(device), chosen)
                yield from found
                if ends():
                    unasked = ()
                    break
            for batch in loader(unasked) if unasked else ():
                with torch.inference_mode(), computing(device, self.precision):
                    self.model.states(batch.to(device))
                if ends():
                    break
            if stops is not None:
                stops.at_the_end()
            if rest is not None:
                with computing(device, self.precision), _uncompiled(self.model):
                    found = rest()
                yield from found
        finally:
            loader.close()
            self.model.train(training)

    def _of_all(self, own: list[T]) -> list[T]:
        """The results of all processes."""
        if self.processes == 1:
            return own
        parts: list[list[T]] = [[]] * self.processes
        dist.all_gather_object(parts, own)
        return [one for part in parts for one in part]


def _told(predictions: Sequence[Prediction], items: Sequence[Item]) -> list[Prediction]:
    """Predictions of items that say what of their texts was not read."""
    return [
        replace(p, notes={**p.notes, CUT: [cut.noted(name) for name, cut in item.cut.items()]})
        if item.cut
        else p
        for p, item in zip(predictions, items, strict=True)
    ]


def plan_batches(items: Sequence[Item], batch_size: int) -> list[list[int]]:
    """Batches of similar lengths, longest first: always the same for the same items."""
    order = sorted(range(len(items)), key=lambda i: (-items[i].length, i))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def _uncompiled(model: Model) -> contextlib.AbstractContextManager[object]:
    """Run a compiled model without compilation, so that a loaded run gives bit-identical predictions."""
    return torch.compiler.set_stance("force_eager") if model.compiled else contextlib.nullcontext()


def _never() -> bool:
    return False


def _index(found: tuple[int, *tuple[Any, ...]]) -> int:
    return found[0]
