"""The task: typed names, and where the photo shows each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmkit.data.types import Entity, Example, Prediction
from mmkit.tasks import Answer, Found, Input, SpanTask
from mmkit.tasks.answer import Shown, Words
from mmkit.tasks.base import shown

ONLY = "grounded.only"
"""Note key: the types that a user wants."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounded(Found):
    """A name, its type, and the best place that shows it."""

    words: Words
    place: Shown | None
    """None where there is no picture."""
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundedAnswer(Answer):
    """Names with their places in the photo."""

    grounded: tuple[Grounded, ...]


class GroundedTask(SpanTask):
    """Finds names with their places; a user may say of which types."""

    name = "grounded entities"
    does_not = "finds no boxes"
    answer_type: type[Answer] = GroundedAnswer
    inputs = (Input("only", "a type to look for", many=True),)
    metrics = ("grounded.boxes.v1", "mmkit.span_f1.v1")

    def asked(self, example: Example, given: Mapping[str, Any], entities: Sequence[Entity]) -> Example:
        return replace(example, notes={ONLY: list(given["only"])}) if "only" in given else example

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        grounded = []
        for span, score in zip(prediction.spans, prediction.span_scores, strict=True):
            words = Words.of(example, replace(span, regions=()))
            places = Words.of(example, span).regions
            grounded.append(Grounded(words=words, place=places[0] if places else None, score=round(score, 6)))
        return GroundedAnswer.of(example, prediction, grounded=tuple(grounded))

    def lines(self, answer: Answer) -> Iterator[str]:
        assert isinstance(answer, GroundedAnswer)
        for found in answer.grounded:
            place = "nowhere"
            if found.place is not None:
                box = " ".join(f"{side:.0f}" for side in found.place.box)
                place = f"in {shown(found.place.path)} at {box}"
            yield f"{shown(found.words.label)} {shown(found.words.text)} {place}"
