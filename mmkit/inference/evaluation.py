"""Scoring: predictions of a whole split, and the figures the recipe's metrics make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from mmkit.batch import Batch
from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.errors import RecipeError
from mmkit.inference.loader import Loader
from mmkit.metrics.base import Metric, ReadsRanks
from mmkit.model import Item, Model
from mmkit.ops.precision import computing
from mmkit.recipe import Recipe

T = TypeVar("T")


def plan_evaluation(items: Sequence[Item], batch_size: int) -> list[list[int]]:
    """Batches of like lengths, longest first: the same for the same items, whoever evaluates them."""
    order = sorted(range(len(items)), key=lambda i: (-items[i].length, i))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


class Evaluated(NamedTuple):
    """What a model says of an item, and where it ranks the gold entity if its decoder does so."""

    index: int
    prediction: Prediction
    rank: GoldRank | None


def predict_items(
    model: Model, items: Sequence[Item], batch_size: int, precision: str, *, workers: int = 0
) -> Iterator[tuple[int, Prediction]]:
    """(index, prediction) of `items`, batch by batch, in evaluation mode. Gold is looked at by nobody.

    The model is left in the mode it was in, so that training goes on as before.
    """

    def predicted(batch: Batch, chosen: Sequence[int]) -> list[tuple[int, Prediction]]:
        return list(zip(chosen, model.predict(batch), strict=True))

    yield from _over(model, items, batch_size, precision, predicted, workers)


def evaluate_items(
    model: Model,
    items: Sequence[Item],
    batch_size: int,
    precision: str,
    *,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Evaluated]:
    """As `predict_items`, for process `rank`'s share of `items`, with the ranks of their gold entities."""

    def evaluated(batch: Batch, chosen: Sequence[int]) -> list[Evaluated]:
        found = model.predict_and_rank(batch, [items[i].example for i in chosen])
        return [Evaluated(*one) for one in zip(chosen, *found, strict=True)]

    yield from _over(model, items, batch_size, precision, evaluated, workers, rank, processes)


def _over(
    model: Model,
    items: Sequence[Item],
    batch_size: int,
    precision: str,
    call: Callable[[Batch, Sequence[int]], list[T]],
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[T]:
    """What `call` makes of each batch on the model's device and the indices of its items."""
    plan = plan_evaluation(items, batch_size)[rank::processes]
    batches = Loader(model, items, workers, targets=False)(plan)
    training = model.training
    model.eval()
    try:
        for chosen, batch in zip(plan, batches, strict=True):
            with computing(model.device, precision):
                found = call(batch.to(model.device), chosen)
            yield from found
    finally:
        model.train(training)


def score(
    metrics: Mapping[str, Metric],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    ranks: Sequence[GoldRank | None] = (),
) -> dict[str, float]:
    """Every metric's figures as `<metric>.<name>`. Metrics of ranks get `ranks` where all examples have one."""
    ranked = [rank for rank in ranks if rank is not None]
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        metric.reset()
        if isinstance(metric, ReadsRanks) and len(ranked) == len(examples):
            metric.update_ranks(examples, ranked)
        else:
            metric.update(examples, predictions)
        figures |= {f"{name}.{figure}": value for figure, value in metric.compute().items()}
    return figures


def weighted_score(figures: Mapping[str, float], wanted: str | Mapping[str, float]) -> float:
    """The one number by which epochs are compared. Raises `RecipeError` for a figure that no metric gives."""
    weights = _weights(wanted)
    unknown = [name for name in weights if name not in figures]
    if unknown:
        raise _no_such_figure(unknown, figures)
    return sum(weight * figures[name] for name, weight in weights.items())


def checked_metrics(recipe: Recipe) -> dict[str, Metric]:
    """A recipe's metrics. Raises `RecipeError` if none of them gives the score that is to decide on its `dev`."""
    metrics = {name: recipe.build(f"metrics.{name}") for name in recipe.parts("metrics")}
    if "dev" in recipe.parts("data"):
        check_score(metrics, recipe.training.score)
    return metrics


def check_score(metrics: Mapping[str, Metric], wanted: str | Mapping[str, float]) -> None:
    """Raise `RecipeError` for a figure that no metric gives, before an epoch is spent on finding out.

    Which labels have figures of their own (`spans.f1.PER`) is not known before.
    """
    figures = score(metrics, [], [])
    unknown = [name for name in _weights(wanted) if ".".join(name.split(".")[:2]) not in figures]
    if unknown:
        raise _no_such_figure(unknown, figures)


def _weights(wanted: str | Mapping[str, float]) -> Mapping[str, float]:
    return {wanted: 1.0} if isinstance(wanted, str) else wanted


def _no_such_figure(unknown: Sequence[str], figures: Mapping[str, float]) -> RecipeError:
    return RecipeError(
        f"training.score names {', '.join(unknown)}, which no metric gives",
        hint="there are " + ", ".join(name for name in figures if name.count(".") == 1),
    )
