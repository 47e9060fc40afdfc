"""`tesga.joint_f1.v1`: joint F1, and the score by which TESGA's authors choose their epoch."""

from __future__ import annotations

from typing import Literal

from mmkit.data.types import Example, Prediction
from mmkit.metrics.joint_f1 import Items, JointF1


class JointStartF1(JointF1):
    """The scores of `mmkit.joint_f1.v1`, and those of triples as TESGA's authors count them in training.

    - `start` (by position only): a triple is its relation and the first tokens of head and tail. It is right only if
      at both of them an entity was found exactly, with its type.

    Scores: those of `mmkit.joint_f1.v1`, and `start_f1`, `start_precision`, `start_recall` and `start_macro_f1`.
    """

    untyped = frozenset({"start"})

    def __init__(
        self,
        match: Literal["position", "string"] = "position",
        none_label: str = "None",
        bootstrap: int = 0,
        per_type: bool = True,
    ) -> None:
        if match == "position":
            self.kinds = (*JointF1.kinds, "start")
        super().__init__(match, none_label, bootstrap, per_type)

    def items(self, example: Example, prediction: Prediction) -> tuple[Items, Items]:
        gold, predicted = super().items(example, prediction)
        if self.strings:
            return gold, predicted
        right = {span.start for span in {*example.spans} & {*prediction.spans}}
        gold["start"] = {(*item, True) for item in self._starts(example, example)}
        found = self._starts(example, prediction)
        predicted["start"] = {(*item, right.issuperset(item[1:])) for item in found}
        return gold, predicted

    def _starts(self, example: Example, told: Example | Prediction) -> set[tuple[str | None, int, int]]:
        relations = self.labelled(told.relations, example)
        return {(r.label, r.head.start, r.tail.start) for r in relations}
