"""Scoring: the scores of a recipe's metrics for predictions, and the score that chooses the best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.errors import DataError, RecipeError
from mmkit.metrics.base import Metric, ReadsRanks
from mmkit.recipe import Recipe


def score(
    metrics: Mapping[str, Metric],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    ranks: Sequence[GoldRank | None] = (),
) -> dict[str, float]:
    """All scores of all metrics as `<metric>.<name>`. Metrics of ranks get `ranks` if all examples have one.

    Scores that count nothing are left out (see `nothing_to_score`).
    """
    ranked = [rank for rank in ranks if rank is not None]
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        metric.reset()
        if isinstance(metric, ReadsRanks) and len(ranked) == len(examples):
            metric.update_ranks(examples, ranked)
        else:
            metric.update(examples, predictions)
        figures |= {f"{name}.{figure}": value for figure, value in metric.compute().items()}
    return scored(figures)


def scored(figures: Mapping[str, float]) -> dict[str, float]:
    """The scores that are numbers: a score that has nothing to count is not a number."""
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def known_figures(metrics: Mapping[str, Metric]) -> list[str]:
    """The scores that metrics give for any data, as `<metric>.<name>`, in their order."""
    names: list[str] = []
    for name, metric in metrics.items():
        metric.reset()
        metric.update([], [])
        names += [f"{name}.{figure}" for figure in metric.compute()]
    return names


def nothing_to_score(metrics: Mapping[str, Metric], figures: Mapping[str, float]) -> str:
    """A line about missing scores, because neither the data nor the predictions have what they count.

    Empty if no score is missing.
    """
    missing = [name for name in known_figures(metrics) if name not in figures]
    if not missing:
        return ""
    return f"nothing to score, so no {', '.join(missing)}: neither the data nor the predictions have what these count"


def weighted_score(figures: Mapping[str, float], wanted: str | Mapping[str, float]) -> float:
    """The number by which epochs are compared. Raises `RecipeError` for a score that no metric gives."""
    weights = weights_of(wanted)
    unknown = [name for name in weights if name not in figures]
    if unknown:
        raise no_such_figure(unknown, list(figures))
    return sum(weight * figures[name] for name, weight in weights.items())


def metrics_of(recipe: Recipe) -> dict[str, Metric]:
    """A recipe's metrics, by name."""
    return {name: recipe.build(f"metrics.{name}") for name in recipe.parts("metrics")}


def checked_metrics(recipe: Recipe) -> dict[str, Metric]:
    """A recipe's metrics. Raises `RecipeError` if none of them gives the score that is to be computed on `dev`."""
    metrics = metrics_of(recipe)
    if "dev" in recipe.parts("data"):
        check_score(metrics, recipe.training.score)
    return metrics


def check_score(metrics: Mapping[str, Metric], wanted: str | Mapping[str, float]) -> None:
    """Raise `RecipeError` for a score that no metric gives, before the first epoch.

    Which labels have their own scores (`spans.f1.PER`) is not known then.
    """
    known = known_figures(metrics)
    unknown = [name for name in weights_of(wanted) if ".".join(name.split(".")[:2]) not in known]
    if unknown:
        raise no_such_figure(unknown, known)


def of_perfect_predictions(
    metrics: Mapping[str, Metric],
    examples: Sequence[Example],
    right: Callable[[Example], Prediction] = Prediction.of,
) -> dict[str, float] | None:
    """The scores of a model that is always right; None if a metric needs more than the gold data for them.

    `right` gives the right prediction for an example (`Task.right`).
    """
    found = GoldRank(1, True, 1)
    ranks = [found if example.entity is not None else GoldRank(None, False, None) for example in examples]
    try:
        return score(metrics, examples, [right(example) for example in examples], ranks)
    except DataError:
        return None


def weights_of(wanted: str | Mapping[str, float]) -> Mapping[str, float]:
    """The scores in `training.score`, each with its weight."""
    return {wanted: 1.0} if isinstance(wanted, str) else wanted


def no_such_figure(unknown: Sequence[str], known: Sequence[str]) -> RecipeError:
    """The error for names in `training.score` that are not the name of a score."""
    return RecipeError(
        f"training.score names {', '.join(unknown)}, which no metric gives",
        hint="there are " + ", ".join(name for name in known if name.count(".") == 1),
        code="recipe.unknown-score",
    )
