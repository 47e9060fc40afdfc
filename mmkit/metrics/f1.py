"""Precision, recall and F1 over sets of labelled items, micro, macro and per label."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkit.data.types import Example, Prediction
from mmkit.errors import DataError, RecipeError
from mmkit.metrics.bootstrap import f1_interval

Item = tuple[Any, ...]
"""A labelled item of an example: the label first, then the values that identify it."""


class F1Counts:
    """Counts of true positives, predicted and gold items, for each example and each label.

    `bootstrap` is a number of resamples, 0 for no interval.
    """

    def __init__(self, *, bootstrap: int, per_label: bool) -> None:
        if bootstrap < 0:
            raise RecipeError(
                f"bootstrap is a number of resamples, not {bootstrap}",
                hint="0 for no interval",
                code="part.setting",
            )
        self.bootstrap, self.per_label = bootstrap, per_label
        self._examples: list[tuple[int, int, int]] = []
        self._labels: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, gold: AbstractSet[Item], predicted: AbstractSet[Item]) -> None:
        """Count one example's items."""
        correct = gold & predicted
        self._examples.append((len(correct), len(predicted), len(gold)))
        for place, items in enumerate((correct, predicted, gold)):
            for label, *_ in items:
                self._labels[label][place] += 1

    def by_example(self) -> NDArray[Any]:
        """`[N, 3]`: each example's true positives, predicted and gold items."""
        return np.array(self._examples, dtype=np.int64).reshape(-1, 3)

    def figures(self) -> dict[str, float]:
        """`precision`, `recall` and `f1` (micro), and `macro_f1`, the mean over the labels that occur.

        If asked for: `f1.low` and `f1.high`, a 95 % interval; and each label's rates. They are not a number where
        nothing is given and nothing predicted; otherwise one over nothing is 0.
        """
        counts = self.by_example()
        figures = rates(*counts.sum(axis=0).tolist())
        labels = {label: rates(*self._labels[label]) for label in sorted(self._labels)}
        figures["macro_f1"] = sum(r["f1"] for r in labels.values()) / len(labels) if labels else math.nan
        if self.bootstrap and not labels:
            figures["f1.low"] = figures["f1.high"] = math.nan
        elif self.bootstrap:
            figures["f1.low"], figures["f1.high"] = f1_interval(counts, self.bootstrap)
        if self.per_label:
            figures |= {f"{name}.{label}": value for label, r in labels.items() for name, value in r.items()}
        return figures


def rates(correct: int, predicted: int, gold: int) -> dict[str, float]:
    """`precision`, `recall` and `f1` of counts; 0 over nothing, and not a number if nothing is given and predicted."""
    if not predicted + gold:
        return dict.fromkeys(("precision", "recall", "f1"), math.nan)
    return {
        "precision": correct / predicted if predicted else 0.0,
        "recall": correct / gold if gold else 0.0,
        "f1": 2 * correct / (predicted + gold),
    }


def pairs(
    examples: Sequence[Example], predictions: Sequence[Prediction]
) -> Iterator[tuple[Example, Prediction]]:
    """Each example with its prediction. Raises `DataError` if they do not belong together."""
    if len(examples) != len(predictions):
        raise DataError(
            f"{len(examples)} examples but {len(predictions)} predictions cannot be scored",
            code="predictions.count",
        )
    for i, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        if example.id != prediction.id:
            raise DataError(
                f"number {i} of the predictions is for {prediction.id!r}, but the example is {example.id!r}",
                hint="score predictions with the examples for which they were made, in the same order",
                code="predictions.order",
            )
        yield example, prediction
