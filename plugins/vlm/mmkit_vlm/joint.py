"""`vlm.joint.v1`: a model finds entities and the relations between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.tasks import JointTask, Task
from mmkit_vlm.alignment import composed, lowered, words_at
from mmkit_vlm.decoder import list_of, object_of, one_of
from mmkit_vlm.entities import Entities
from mmkit_vlm.reading import items, label_of
from mmkit_vlm.settings import ChatSettings, ShotSettings

NO_END = "relations with an end that is no entity of the answer"
TWICE = "relations named twice"


class Joint(Entities):
    """Asks a language model, or one that sees pictures, for the entities of each text and the relations between them.

    Entities are read as by `vlm.entities.v1`. The ends of a relation are words of the answer's entities: if several
    have the same words, the first that is not the other end. Words are compared with their case, then without.
    Relations with another end, or an unknown label, are dropped and counted.

    `none_label` is the label of pairs without a relation, which is not asked for.
    """

    part = "vlm.joint.v1"
    usual: ClassVar[str] = (
        "Find the named entities in the text and the relations between them. The picture, if there is one, belongs to "
        "the text."
    )
    task: Task = JointTask()

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

    def labels_of(self, example: Example) -> Sequence[str]:
        return [*super().labels_of(example), *(f"relation {r.label}" for r in self._related(example))]

    def learnt(self, examples: Sequence[Example]) -> dict[str, list[str]]:
        return {
            "types": sorted({span.label for x in examples for span in x.spans}),
            "relations": sorted({str(relation.label) for x in examples for relation in self._related(x)}),
        }

    def _related(self, example: Example) -> list[Relation]:
        return [r for r in example.relations if r.label not in (None, self.none_label)]

    def rules(self) -> str:
        return (
            f"Types of entities: {self.listed('types')}. Relations: {self.listed('relations')}. "
            'Copy words exactly from the text. Answer only with JSON: {"entities": [{"text": words, "type": type}], '
            '"relations": [{"head": words of an entity, "relation": relation, "tail": words of an entity}]}. '
            "Lists may be empty."
        )

    def schema(self, example: Example) -> dict[str, Any]:
        ends = {end: {"type": "string"} for end in ("head", "tail")}
        related = object_of(head=ends["head"], relation=one_of(self.labels["relations"]), tail=ends["tail"])
        named = super().schema(example)["properties"]
        return object_of(**named, relations=list_of(related))

    def right(self, example: Example) -> dict[str, Any]:
        relations = [
            {"head": words_at(example, r.head), "relation": r.label, "tail": words_at(example, r.tail)}
            for r in self._related(example)
        ]
        return {**super().right(example), "relations": relations}

    def read(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> Prediction:
        found = self.found(value, example, dropped)
        spans = tuple(span for _, span in found)
        relations: list[Relation] = []
        for head, given, tail in items(value, "relations", ("head", "relation", "tail"), dropped):
            label = label_of(given, self.labels["relations"], dropped)
            if label is None:
                continue
            ends = _ends(found, head, tail)
            if ends is None:
                dropped[NO_END] += 1
                continue
            relation = Relation(*ends, label)
            if relation in relations:
                dropped[TWICE] += 1
                continue
            relations.append(relation)
        ones = (1.0,)
        return Prediction(example.id, spans, ones * len(spans), tuple(relations), ones * len(relations))


def _ends(found: Sequence[tuple[str, Span]], head: str, tail: str) -> tuple[Span, Span] | None:
    """The entities with these words, two different ones."""
    heads, tails = _named(found, head), _named(found, tail)
    pairs = [(h, t) for h in heads for t in tails if h != t]
    return pairs[0] if pairs else None


def _named(found: Sequence[tuple[str, Span]], end: str) -> list[Span]:
    """The entities with these words in their case; without them, those in another case."""
    bare = composed(end)
    exact = [span for words, span in found if composed(words) == bare]
    return exact or [span for words, span in found if lowered(composed(words)) == lowered(bare)]
