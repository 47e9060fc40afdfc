"""`grounded.boxes.v1`: how well boxes overlap with the right ones."""

from __future__ import annotations

from collections.abc import Sequence

from mmkit.data.types import Box, Example, Prediction
from mmkit.metrics.base import Metric


class Boxes(Metric):
    """`iou`: intersection over union with the best right box, mean over gold names; 0 for a name that is not found."""

    def reset(self) -> None:
        self.found: list[float] = []

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in zip(examples, predictions, strict=True):
            regions = {span: span.regions for span in prediction.spans}
            for gold in example.spans:
                pairs = [(a.box, b.box) for a in gold.regions for b in regions.get(gold, ())]
                self.found.append(max((overlap(a, b) for a, b in pairs), default=0.0))

    def compute(self) -> dict[str, float]:
        return {"iou": sum(self.found) / len(self.found) if self.found else 0.0}


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both)
