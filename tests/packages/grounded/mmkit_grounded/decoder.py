"""`grounded.tagger.v1`: tags names and predicts a box for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from PIL import Image as Picture
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Prediction, Region, Span
from mmkit.decoders.base import Labels
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.tasks import Task
from mmkit_grounded.task import ONLY, GroundedTask


class GroundedTagger(CrfTagger):
    """A CRF tagger with a box for the first word of each name.

    Loss `boxes`: smooth L1 of the sides, in shares of the photo.
    """

    task: Task = GroundedTask()

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.sides = nn.Linear(dims["tokens"], 4)

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """The tags, and `at [N, 2]` (example, first word) with `box [N, 4]` of every name that has a region."""
        at, boxes = [], []
        for row, example in enumerate(examples):
            for span in example.spans:
                for region in span.regions[:1]:
                    width, height = size(example)
                    left, top, right, bottom = region.box
                    at.append((row, span.start))
                    boxes.append((left / width, top / height, right / width, bottom / height))
        return {
            **super().targets(examples, inputs),
            "at": torch.tensor(at, dtype=torch.long).reshape(-1, 2),
            "box": torch.tensor(boxes).reshape(-1, 4),
        }

    def boxes(self, states: States) -> Tensor:
        """The four sides `[B, W, 4]` of each word, from 0 to 1."""
        first = states["first_subword"].clamp(min=0)
        tokens = states["tokens"]
        words = tokens.gather(1, first.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
        return torch.sigmoid(self.sides(words).float())

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        found = self.boxes(states)[targets["at"].unbind(1)]
        return {**super().loss(states, targets), "boxes": F.smooth_l1_loss(found, targets["box"], beta=0.1)}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        boxes = self.boxes(states).cpu().tolist()
        return [
            placed(prediction, example, own)
            for prediction, example, own in zip(
                super().decode(states, batch), batch.examples, boxes, strict=True
            )
        ]


def placed(prediction: Prediction, example: Example, boxes: Sequence[Sequence[float]]) -> Prediction:
    """The prediction with a region for each name, of the types that are wanted."""
    assert not example.spans, "a question has no answer in it"
    wanted = example.notes.get(ONLY)
    kept = [i for i, span in enumerate(prediction.spans) if wanted is None or span.label in wanted]
    spans = []
    for i in kept:
        span: Span = prediction.spans[i]
        if example.images and example.images[0].path is not None:
            width, height = size(example)
            left, top, right, bottom = boxes[span.start]
            box = (left * width, top * height, right * width, bottom * height)
            span = replace(span, regions=(Region(0, box),))
        spans.append(span)
    scores = tuple(prediction.span_scores[i] for i in kept)
    return replace(prediction, spans=tuple(spans), span_scores=scores)


def size(example: Example) -> tuple[int, int]:
    """Width and height of the photo."""
    with Picture.open(str(example.images[0].path)) as picture:
        return picture.size
