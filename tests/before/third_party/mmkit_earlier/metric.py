"""`earlier.kinds.v1`: how often the first span has the right label."""

from __future__ import annotations

from collections.abc import Sequence

from mmkit.data.types import Example, Prediction
from mmkit.metrics.base import Metric


class Kinds(Metric):
    """The share of sentences whose first predicted span has the label of the first annotated one: `accuracy`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right = self.total = 0

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in zip(examples, predictions, strict=True):
            self.right += [s.label for s in example.spans[:1]] == [s.label for s in prediction.spans[:1]]
            self.total += 1

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.right / self.total if self.total else 0.0}
