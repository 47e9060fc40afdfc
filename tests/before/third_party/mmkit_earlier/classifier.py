"""`earlier.kind.v1`: one label for a whole sentence, by a decoder that derives from `Decoder` itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Prediction, Span
from mmkit.decoders.base import Decoder, Labels
from mmkit.errors import DataError


class KindClassifier(Decoder):
    """Predicts the label of a sentence's first name, as a span over the whole sentence."""

    requires = frozenset({"pooled"})
    score_names = frozenset({"logits"})

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def fit(self, examples: Iterable[Example]) -> Labels:
        return {"kinds": sorted({example.spans[0].label for example in examples if example.spans})}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.kinds = list(labels["kinds"])
        self.linear = nn.Linear(dims["pooled"], len(self.kinds))

    def check(self, examples: Sequence[Example]) -> None:
        for example in examples:
            if not example.spans:
                raise DataError("the sentence has no name", where=example.id, hint="mark one")

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        return {"kind": torch.tensor([self.kinds.index(example.spans[0].label) for example in examples])}

    def logits(self, states: States) -> Tensor:
        return self.linear(self.dropout(states["pooled"]))

    def scores(self, states: States) -> Features:
        return {"logits": self.logits(states)}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {"kind": F.cross_entropy(self.logits(states), targets["kind"])}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        best = self.logits(states).softmax(1).max(1)
        return [
            Prediction(
                x.id,
                (Span(0, len(x.tokens), self.kinds[kind]),),
                (score,),
                notes={"earlier.kind": self.kinds[kind]},
            )
            for x, kind, score in zip(
                batch.examples, best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]
