"""Scoring predictions that come from elsewhere: two files and a metric."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.predictions import matched, read_gold, read_predictions
from mmkit.data.strings import need_positions
from mmkit.errors import DataError
from mmkit.metrics.base import Metric


def score_files(
    gold: Path, predictions: Path, metric: Metric, *, in_order: bool = False
) -> tuple[dict[str, float], int]:
    """The metric's figures of a file of predictions against a file of gold data, and the number of examples.

    Examples and predictions belong together by id or, `in_order`, by place. Raises `DataError` where they do not fit,
    where there is no example, and where the metric needs positions that the files lack.
    """
    examples = read_gold(gold)
    if not examples:
        raise DataError("there is no example to score", where=gold)
    found = matched(examples, read_predictions(predictions), predictions, in_order)
    if not metric.strings:
        for example, prediction in zip(examples, found, strict=True):
            need_positions(example.id, example.notes, prediction.notes)
    metric.reset()
    metric.update(examples, found)
    return metric.compute(), len(examples)
