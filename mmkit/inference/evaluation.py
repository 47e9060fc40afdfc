"""Scoring: the figures that a recipe's metrics make of predictions, and the one that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.errors import RecipeError
from mmkit.metrics.base import Metric, ReadsRanks
from mmkit.recipe import Recipe


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
        code="recipe.unknown-score",
    )
