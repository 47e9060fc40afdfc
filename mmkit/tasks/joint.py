"""The task of joint extraction: typed spans, and relations between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from mmkit.data.problems import Problem, counted, unlabelled
from mmkit.data.types import Entity, Example, Prediction
from mmkit.tasks.answer import Answer, FoundRelation, found_relations, found_spans
from mmkit.tasks.base import Survey, shown
from mmkit.tasks.span import SpanAnswer, SpanTask


@dataclass(frozen=True, kw_only=True, eq=False)
class JointAnswer(SpanAnswer):
    """Entities in a sentence, and relations between them."""

    relations: tuple[FoundRelation, ...]


class JointTask(SpanTask):
    """Finds spans, their types and the relations between them; needs only a sentence and its images."""

    name = "entities and relations"
    does_not = "finds no relations"
    answer_type: type[Answer] = JointAnswer
    metrics = ("mmkit.joint_f1.v1", "mmkit.span_f1.v1", "mmkit.relation_f1.v1")
    finds = frozenset({"spans", "relations"})

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        return JointAnswer.of(
            example,
            prediction,
            entities=found_spans(example, prediction),
            relations=found_relations(example, prediction),
        )

    def lines(self, answer: Answer) -> Iterator[str]:
        yield from super().lines(answer)
        yield from relation_lines(answer)

    def html_of(self, answer: Answer) -> str:
        return super().html_of(answer) + relations_html(answer)

    def labels(self, example: Example) -> Iterator[tuple[str, str]]:
        yield from super().labels(example)
        yield from relation_labels(example)

    def survey(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Survey:
        found = super().survey(examples, entities)
        return replace(
            found,
            problems=(*found.problems, *unlabelled(examples)),
            warnings=(*found.warnings, *not_entities(examples)),
        )


def not_entities(examples: Sequence[Example]) -> list[Problem]:
    """Relations with a head or a tail that is not among the spans of their sentence."""
    at = [
        (x.id, end.start)
        for x in examples
        for relation in x.relations
        if (end := next((e for e in (relation.head, relation.tail) if e not in x.spans), None)) is not None
    ]
    if not at:
        return []
    said = counted(len(at), "relation has", "relations have")
    return [
        Problem(
            f"{said} a head or a tail that is not among the entities (`spans`), or has another label there",
            at,
            "add it to the spans, with the same bounds and label: as it is, the entity is not learned",
            level="warning",
        )
    ]


def relation_labels(example: Example) -> Iterator[tuple[str, str]]:
    """The labels of an example's relations."""
    for relation in example.relations:
        if relation.label is not None:
            yield "relations", relation.label


def relation_lines(answer: Answer) -> Iterator[str]:
    """The relations of an answer for a terminal."""
    relations: tuple[FoundRelation, ...] = answer.relations  # type: ignore[attr-defined]
    for relation in relations:
        head, tail, label = (shown(x) for x in (relation.head.text, relation.tail.text, relation.label))
        yield f"{head} → [green]{label}[/green] → {tail}  {relation.score:.3f}"


def relations_html(answer: Answer) -> str:
    """The relations of an answer as an HTML list; empty if there are none."""
    relations: tuple[FoundRelation, ...] = answer.relations  # type: ignore[attr-defined]
    rows = "".join(
        f"<li>{escape(r.head.text)} → <b>{escape(str(r.label))}</b> → {escape(r.tail.text)} ({r.score:.3f})</li>"
        for r in relations
    )
    return f"<ul>{rows}</ul>" if rows else ""
