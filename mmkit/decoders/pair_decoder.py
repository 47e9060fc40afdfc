"""Base of decoders of pairs: labels and units from relations, the loss, and relations from label scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction, Relation
from mmkit.decoders.base import Decoder, Labels, label_names
from mmkit.decoders.examined import relation_problems
from mmkit.errors import DataError, RecipeError, did_you_mean
from mmkit.tasks import PairTask, Task


class PairDecoder(Decoder):
    """Gives each pair of spans one of several relations; subclasses say how relations are scored.

    `relations` are the labels in order (default: those in the training data, sorted after `none_label`). An example
    with several pairs becomes several examples, `id#0`, `id#1` and so on. Loss `cross_entropy`: mean over pairs.
    """

    task: Task = PairTask()
    score_names: frozenset[str] = frozenset({"logits"})

    labels: list[str]

    def __init__(self, *, relations: list[str] | None = None, none_label: str = "None") -> None:
        super().__init__()
        if relations is not None and (not relations or len(set(relations)) < len(relations)):
            raise RecipeError(
                f"relations must be different names, not {relations}",
                hint="or leave them out",
                code="part.label-names",
            )
        self.relations, self.none_label = relations, none_label

    def fit(self, examples: Iterable[Example]) -> Labels:
        found: set[str] = set()
        for example in examples:
            found |= {_label(relation, example, self.relations) for relation in example.relations}
        if not found:
            raise DataError(
                "no training example has a relation", hint="is this the right file?", code="task.no-relations"
            )
        return {
            "relations": self.relations or sorted(found, key=lambda name: (name != self.none_label, name))
        }

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from relation_problems(examples, self.relations)

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.labels = label_names(labels, "relations")

    def units(self, example: Example) -> list[Example]:
        """One example for each pair. Raises `DataError` if there is no pair."""
        pair_of(example)
        if len(example.relations) == 1:
            return [example]
        return [
            replace(example, id=f"{example.id}#{i}", relations=(relation,))
            for i, relation in enumerate(example.relations)
        ]

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`relation [B]`."""
        names = [_label(pair_of(example), example, self.labels) for example in examples]
        return {"relation": torch.tensor([self.labels.index(name) for name in names])}

    @abstractmethod
    def logits(self, states: States) -> Tensor:
        """Scores of the relations `[B, R]`, in float32 at least."""

    def scores(self, states: States) -> Features:
        """`logits [B, R]`."""
        return {"logits": self.logits(states)}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(self.logits(states), targets["relation"])}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """The most probable relation of each pair, `none_label` among them, with its probability."""
        best = self.logits(states).softmax(1).max(1)
        score, label = torch.stack([best.values, best.indices.to(best.values)]).cpu().tolist()  # one transfer
        return [
            Prediction(
                id=example.id,
                relations=(replace(pair_of(example), label=self.labels[int(index)]),),
                relation_scores=(probability,),
            )
            for example, index, probability in zip(batch.examples, label, score, strict=True)
        ]


def pair_of(example: Example) -> Relation:
    """The pair of an example that is one unit. Raises `DataError` if it has none."""
    if not example.relations:
        raise DataError(
            "there is no pair of spans to classify",
            where=example.id,
            hint="give a head and a tail span",
            code="task.no-pair",
        )
    return example.relations[0]


def _label(relation: Relation, example: Example, known: Sequence[str] | None) -> str:
    """A gold pair's label. Raises `DataError` if it has none, or none of the `known`."""
    if relation.label is None:
        raise DataError(
            "a relation without a label cannot be trained on", where=example.id, code="task.no-label"
        )
    if known is not None and relation.label not in known:
        raise DataError(
            f"the relation {relation.label!r} is unknown",
            where=example.id,
            hint=did_you_mean(relation.label, known),
            code="task.unknown-relation",
        )
    return relation.label
