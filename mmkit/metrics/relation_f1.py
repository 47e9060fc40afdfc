"""`mmkit.relation_f1.v1`: precision, recall and F1 of relations between given or found spans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from mmkit.data.problems import Problem, unlabelled
from mmkit.data.types import Example, Prediction, Relation
from mmkit.errors import DataError
from mmkit.metrics.base import Metric
from mmkit.metrics.f1 import F1Counts, Item, pairs


class RelationF1(Metric):
    """F1 of relations without `none_label`: one is right if its spans and its label are right.

    `bootstrap` is the number of resamples for a 95 % interval of F1; 0 for no interval.

    Scores: `precision`, `recall`, `f1` (micro over all relations except `none_label`), `macro_f1`, `accuracy` (over
    all gold pairs; a pair without a prediction counts as `none_label`); with `per_type`, `f1./per/loc` and so on;
    with `bootstrap`, `f1.low` and `f1.high`.
    """

    def __init__(self, none_label: str = "None", bootstrap: int = 0, per_type: bool = True) -> None:
        self.none_label, self.bootstrap, self.per_type = none_label, bootstrap, per_type
        self.reset()

    def reset(self) -> None:
        self._counts = F1Counts(bootstrap=self.bootstrap, per_label=self.per_type)
        self._pairs = self._agreeing = 0

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in pairs(examples, predictions):
            gold, predicted = (
                self._items(example.relations, example),
                self._items(prediction.relations, example),
            )
            self._counts.add(self._real(gold), self._real(predicted))
            answered = {item[1:] for item in predicted}
            self._pairs += len(gold)
            self._agreeing += sum(
                item in predicted or (item[0] == self.none_label and item[1:] not in answered)
                for item in gold
            )

    def examine(self, examples: Sequence[Example]) -> Iterable[Problem]:
        yield from unlabelled(examples)

    def _items(self, relations: Sequence[Relation], example: Example) -> set[Item]:
        for relation in relations:
            if relation.label is None:
                raise DataError(
                    "a relation without a label cannot be scored", where=example.id, code="metric.no-label"
                )
        return {(r.label, r.head, r.tail) for r in relations}

    def _real(self, items: set[Item]) -> set[Item]:
        return {item for item in items if item[0] != self.none_label}

    def compute(self) -> dict[str, float]:
        accuracy = self._agreeing / self._pairs if self._pairs else math.nan
        return {**self._counts.figures(), "accuracy": accuracy}

    def example_counts(self) -> dict[str, NDArray[Any]]:
        return {"f1": self._counts.by_example()}
