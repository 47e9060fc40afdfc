"""Scoring predictions that come from elsewhere: two files and a metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmkit.checking.labels import absence_problems, labelled
from mmkit.data.predictions import (
    PublishedForm,
    completed,
    lists_all,
    matched,
    read_gold,
    read_predictions,
)
from mmkit.data.strings import need_positions
from mmkit.errors import DataError, PartError
from mmkit.hooks import broken, call_each, load_named
from mmkit.metrics.base import Metric
from mmkit.metrics.scoring import scored
from mmkit.tasks import JointTask


def published_forms() -> list[PublishedForm]:
    """The formats of predictions that plugins read. A plugin whose format cannot be loaded goes to `hooks.broken`."""
    forms = []
    for plugin, found in call_each("mmkit_prediction_forms"):
        for name, target in found.items():
            try:
                forms.append(load_named(f"its form {name!r} cannot be loaded", target, code="plugin.form")())
            except PartError as error:
                broken[plugin] = f"{error.what} ({target})"
    return forms


def score_files(
    gold: Path,
    predictions: Path,
    metric: Metric,
    *,
    in_order: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> tuple[dict[str, float], int]:
    """The metric's scores of a file of predictions against a file of gold data, and the number of examples.

    Examples and predictions are paired by id or, with `in_order`, by position. `note` is told what a user should know,
    such as a label that seems to mean that there is no relation. Raises `DataError` if they do not fit, if there is no
    example, and if the metric needs positions that the files do not contain.
    """
    forms = published_forms()
    examples = read_gold(gold, forms)
    if not examples:
        raise DataError("there is no example to score", where=gold, code="predictions.nothing-to-score")
    told = read_predictions(predictions, forms)
    partial = not lists_all(gold, forms), not lists_all(predictions, forms)
    if any(partial) and not in_order:
        examples, told = completed(examples, told, *partial)
    found = matched(examples, told, predictions, in_order)
    if not metric.strings:
        for example, prediction in zip(examples, found, strict=True):
            need_positions(example.id, example.notes, prediction.notes)
    metric.reset()
    metric.update(examples, found)
    none_label = getattr(metric, "none_label", None)
    if isinstance(none_label, str):
        for problem in absence_problems(labelled(JointTask(), examples), {"none_label": none_label}):
            note(problem.said({}))
    figures = scored(metric.compute())
    if not figures:
        raise DataError(
            "neither file has anything that this metric counts, so there is no score",
            where=gold,
            hint="another --metric may fit: `mmkit list-components --registry metrics`",
            code="predictions.nothing-to-score",
        )
    return figures, len(examples)
