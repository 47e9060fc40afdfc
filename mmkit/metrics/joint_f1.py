"""`mmkit.joint_f1.v1`: precision, recall and F1 of entities, triples and quintuples, by position or by string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from mmkit.data.problems import Problem, unlabelled
from mmkit.data.strings import need_positions, strings, without_positions
from mmkit.data.types import Example, Prediction, Relation
from mmkit.errors import DataError
from mmkit.metrics.base import Metric
from mmkit.metrics.f1 import F1Counts, Item, pairs

Items = dict[str, set[Item]]
"""The items of one side: kind → items, the label first."""


class JointF1(Metric):
    """F1 of typed entities and the relations between them, extracted together.

    - `entity`: right if its position and its type are right.
    - `triple`: head, relation and tail; the types do not matter.
    - `quintuple`: head, head type, relation, tail, tail type.

    With `match` "position", entities are compared by their tokens' positions. With "string" they are compared by
    their words, and equal ones in a sentence count once, as for the published scores of JMERE; so predictions without
    positions can be scored too (the note `mmkit.strings`). Relations with the label `none_label` are not triples.

    Scores: for each kind `entity_f1`, `entity_precision`, `entity_recall` (micro) and `entity_macro_f1`, the mean
    over types (for triples and quintuples over relations); with `per_type`, `entity_f1.per`, `triple_f1.couple` and
    so on; with `bootstrap`, a number of resamples, the bounds of a 95 % interval, `entity_f1.low` and
    `entity_f1.high`.

    A subclass may count further kinds: it adds to `kinds` and `items`.
    """

    kinds: tuple[str, ...] = ("entity", "triple", "quintuple")
    """The kinds of items, in the order of the scores."""
    untyped: frozenset[str] = frozenset()
    """Kinds without scores of single types."""

    def __init__(
        self,
        match: Literal["position", "string"] = "position",
        none_label: str = "None",
        bootstrap: int = 0,
        per_type: bool = True,
    ) -> None:
        self.match, self.none_label, self.bootstrap, self.per_type = match, none_label, bootstrap, per_type
        self.strings = match == "string"
        self.reset()

    def reset(self) -> None:
        self._counts = {
            kind: F1Counts(bootstrap=self.bootstrap, per_label=self.per_type and kind not in self.untyped)
            for kind in self.kinds
        }

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in pairs(examples, predictions):
            gold, predicted = self.items(example, prediction)
            for kind, counts in self._counts.items():
                counts.add(gold[kind], predicted[kind])

    def examine(self, examples: Sequence[Example]) -> Iterable[Problem]:
        yield from unlabelled(examples)
        if not self.strings:
            yield from without_positions(examples)

    def items(self, example: Example, prediction: Prediction) -> tuple[Items, Items]:
        """The gold and the predicted items of each kind; an item in both is right."""
        if self.strings:
            return self._by_string(example, example), self._by_string(example, prediction)
        need_positions(example.id, example.notes, prediction.notes)
        return self._by_position(example, example), self._by_position(example, prediction)

    def _by_position(self, example: Example, told: Example | Prediction) -> Items:
        relations = self.labelled(told.relations, example)
        return {
            "entity": {(s.label, s.start, s.end) for s in told.spans},
            "triple": {(r.label, r.head.start, r.head.end, r.tail.start, r.tail.end) for r in relations},
            "quintuple": {(r.label, r.head, r.tail) for r in relations},
        }

    def _by_string(self, example: Example, told: Example | Prediction) -> Items:
        self.labelled(told.relations, example)
        found = strings(example, told)
        return {
            "entity": {(type, words) for words, type in found.entities},
            "triple": {(r, head, tail) for head, r, tail, *_ in found.relations if r != self.none_label},
            "quintuple": {
                (r, head, tail, *types)
                for head, r, tail, *types in found.quintuples()
                if r != self.none_label
            },
        }

    def labelled(self, relations: Sequence[Relation], example: Example) -> list[Relation]:
        """The relations that count as triples. Raises `DataError` for one without a label."""
        if any(relation.label is None for relation in relations):
            raise DataError(
                "a relation without a label cannot be scored", where=example.id, code="metric.no-label"
            )
        return [relation for relation in relations if relation.label != self.none_label]

    def compute(self) -> dict[str, float]:
        found = {kind: counts.figures() for kind, counts in self._counts.items()}
        # F1 first, because a line has little room
        figures = {f"{kind}_f1": own["f1"] for kind, own in found.items()}
        for kind, own in found.items():
            for name, value in own.items():
                if "." not in name or name.startswith("f1."):  # only the F1 of a label
                    figures[f"{kind}_{name}"] = value
        return figures

    def example_counts(self) -> dict[str, NDArray[Any]]:
        return {f"{kind}_f1": counts.by_example() for kind, counts in self._counts.items()}
