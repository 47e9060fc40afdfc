"""The task of grounded entities: names with their types, and the boxes that show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmkit.data.types import Entity, Example, Prediction
from mmkit.tasks import Answer, SpanTask
from mmkit.tasks.answer import DIGITS, FoundSpan

VISIBLE = "gmner.visible"
"""Note key of a prediction: for each of its spans, the probability that the photo shows what it names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundedSpan(FoundSpan):
    """Words that the model found, and whether and where the photo shows what they name.

    `regions` holds the box; it is left out where the photo does not show it.
    """

    visible: float
    """The probability that the photo shows it; 0 where there is no photo."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundedAnswer(Answer):
    """Entities in a sentence, and the boxes that show them in its photo."""

    entities: tuple[GroundedSpan, ...]


class GroundedTask(SpanTask):
    """Finds spans, their types, and the regions of the photo that show what they name."""

    name = "grounded entities"
    answer_type: type[Answer] = GroundedAnswer
    metrics = ("gmner.triples.v1", "mmkit.span_f1.v1")

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        visible = prediction.notes.get(VISIBLE, [0.0] * len(prediction.spans))
        spans = (
            GroundedSpan.of(example, span, score=round(score, DIGITS), visible=round(seen, DIGITS))
            for span, score, seen in zip(prediction.spans, prediction.span_scores, visible, strict=True)
        )
        rest = {key: note for key, note in prediction.notes.items() if key != VISIBLE}
        return GroundedAnswer.of(example, replace(prediction, notes=rest), entities=tuple(spans))

    def lines(self, answer: Answer) -> Iterator[str]:
        assert isinstance(answer, GroundedAnswer)
        for line, span in zip(super().lines(answer), answer.entities, strict=True):
            told = "" if span.regions else "not in the photo, "
            yield f"{line}\n    [dim]{told}visible {span.visible:.3f}[/dim]"
