"""`mmkit.span_f1.v1`: precision, recall and F1 of labelled spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from mmkit.data.problems import Problem
from mmkit.data.strings import without_positions
from mmkit.data.types import ORPHANS, Example, Prediction, Span
from mmkit.metrics.base import Metric
from mmkit.metrics.f1 import F1Counts, Item, pairs


class SpanF1(Metric):
    """F1 of labelled spans: one is right if its bounds and its label are right.

    `mode` "lenient" counts every span, as conlleval and seqeval's default do; "strict" drops those, gold or
    predicted, that an I- tag opened without a B- (seqeval's strict IOB2). `bootstrap` is the number of
    resamples for a 95 % interval of F1; 0 for no interval.

    Scores: `precision`, `recall`, `f1` (micro), `macro_f1`; with `per_type`, `f1.PER` and so on; with
    `bootstrap`, `f1.low` and `f1.high`.
    """

    def __init__(
        self, mode: Literal["lenient", "strict"] = "lenient", bootstrap: int = 0, per_type: bool = True
    ) -> None:
        self.mode, self.bootstrap, self.per_type = mode, bootstrap, per_type
        self.reset()

    def reset(self) -> None:
        self._counts = F1Counts(bootstrap=self.bootstrap, per_label=self.per_type)

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in pairs(examples, predictions):
            self._counts.add(
                self._items(example.spans, example.notes), self._items(prediction.spans, prediction.notes)
            )

    def examine(self, examples: Sequence[Example]) -> Iterable[Problem]:
        yield from without_positions(examples)

    def _items(self, spans: Sequence[Span], notes: Mapping[str, Any]) -> set[Item]:
        dropped = {tuple(bounds) for bounds in notes.get(ORPHANS, ())} if self.mode == "strict" else ()
        return {(s.label, s.start, s.end) for s in spans if (s.start, s.end) not in dropped}

    def compute(self) -> dict[str, float]:
        return self._counts.figures()

    def example_counts(self) -> dict[str, NDArray[Any]]:
        return {"f1": self._counts.by_example()}
