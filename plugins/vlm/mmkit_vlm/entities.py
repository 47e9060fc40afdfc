"""`vlm.entities.v1`: a model finds entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from mmkit.data.types import Example, Prediction, Span
from mmkit.tasks import SpanTask, Task
from mmkit_chat.messages import plain
from mmkit_vlm.alignment import Aligner, words_at
from mmkit_vlm.decoder import ChatDecoder, list_of, object_of, one_of
from mmkit_vlm.reading import items, label_of


class Entities(ChatDecoder):
    """Asks a language model, or one that sees pictures, for the entities of each text.

    The answer lists words and types. Words are searched in the text without regard to white space, and then to case.
    Longer names are placed first, each at its first occurrence that is free. Words that are not in the text, have no
    free occurrence or an unknown type are dropped and counted. Scores are 1: a model gives none.
    """

    part = "vlm.entities.v1"
    key = "types"
    usual: ClassVar[str] = (
        "Find the named entities in the text, and give each its type. "
        "The picture, if there is one, belongs to the text."
    )
    task: Task = SpanTask()

    def labels_of(self, example: Example) -> Sequence[str]:
        return [span.label for span in example.spans]

    def rules(self) -> str:
        return (
            f"Types: {self.listed('types')}. Copy each entity's words exactly from the text, in their order. "
            'Answer only with JSON: {"entities": [{"text": words, "type": type}]}. '
            "If there is no entity, the list is empty."
        )

    def schema(self, example: Example) -> dict[str, Any]:
        item = object_of(text={"type": "string"}, type=one_of(self.labels["types"]))
        return object_of(entities=list_of(item))

    def asked(self, example: Example) -> str:
        return f"Text: {plain(example.text)}"

    def right(self, example: Example) -> dict[str, Any]:
        spans = sorted(example.spans)
        return {"entities": [{"text": words_at(example, span), "type": span.label} for span in spans]}

    def read(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> Prediction:
        spans = [span for _, span in self.found(value, example, dropped)]
        return Prediction(example.id, tuple(spans), (1.0,) * len(spans))

    def found(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> list[tuple[str, Span]]:
        """The words of an answer that are in the text, and where, from left to right."""
        named = list(items(value, "entities", ("text", "type"), dropped))
        labels = [label_of(given, self.labels["types"], dropped) for _, given in named]
        words = [each for each, _ in named]
        unused = {i for i, label in enumerate(labels) if label is None}
        places = Aligner(example, dropped).find(words, unused)
        found = [
            (name, Span(*place, label))
            for name, place, label in zip(words, places, labels, strict=True)
            if place and label
        ]
        return sorted(found, key=lambda each: each[1])
