"""`vlm.relations.v1`: a model says how two entities are related."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mmkit.data.types import Example, Prediction
from mmkit.tasks import PairTask, Task
from mmkit_chat.messages import plain
from mmkit_vlm.alignment import words_at
from mmkit_vlm.decoder import ChatDecoder, object_of, one_of
from mmkit_vlm.reading import items, label_of
from mmkit_vlm.settings import ChatSettings, ShotSettings


class Relations(ChatDecoder):
    """Asks a language model, or one that sees pictures, for the relation of a given pair of entities.

    An answer with an unknown relation gives no relation, and is counted. An example with several pairs becomes several
    questions. Scores are 1: a model gives none.

    `none_label` is the label of pairs without a relation.
    """

    part = "vlm.relations.v1"
    key = "relations"
    usual: ClassVar[str] = (
        "Say how the head and the tail are related, by the text and the picture, if there is one."
    )
    task: Task = PairTask()

    def __init__(
        self,
        chat: ChatSettings | None = None,
        shots: ShotSettings | None = None,
        describe: dict[str, str] | None = None,
        instruction: str = "",
        keep_going: bool = False,
        none_label: str = "None",
    ) -> None:
        super().__init__(chat, shots, describe, instruction, keep_going)
        self.none_label = none_label

    def units(self, example: Example) -> list[Example]:
        """One example for each pair, `id#0`, `id#1` and so on if there are several."""
        if len(example.relations) <= 1:
            return [example]
        return [
            replace(example, id=f"{example.id}#{i}", relations=(relation,))
            for i, relation in enumerate(example.relations)
        ]

    def labels_of(self, example: Example) -> Sequence[str]:
        return [relation.label for relation in example.relations if relation.label is not None]

    def rules(self) -> str:
        return f'Relations: {self.listed("relations")}. Answer only with JSON: {{"relation": relation}}.'

    def schema(self, example: Example) -> dict[str, Any]:
        return object_of(relation=one_of(self.labels["relations"]))

    def asked(self, example: Example) -> str:
        (pair,) = example.relations
        head, tail = (plain(words_at(example, span)) for span in (pair.head, pair.tail))
        types = [f" ({span.label})" if span.label else "" for span in (pair.head, pair.tail)]
        return f"Text: {plain(example.text)}\nHead: {head}{types[0]}\nTail: {tail}{types[1]}"

    def right(self, example: Example) -> dict[str, Any] | None:
        labels = self.labels_of(example)
        return {"relation": labels[0]} if labels else None

    def read(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> Prediction:
        for (given,) in items({"one": [value]}, "one", ("relation",), dropped):
            label = label_of(given, self.labels["relations"], dropped)
            if label is not None:
                return Prediction(
                    example.id,
                    relations=(replace(example.relations[0], label=label),),
                    relation_scores=(1.0,),
                )
        return Prediction(example.id)
