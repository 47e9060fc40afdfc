"""The task of relation classifiers: the relation of a given pair of spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmkit.data.problems import Problem, counted, unlabelled
from mmkit.data.types import Entity, Example, Prediction, Relation
from mmkit.errors import DataError
from mmkit.tasks.answer import Answer, Unread, found_relations
from mmkit.tasks.base import Input, Survey, Task
from mmkit.tasks.joint import JointAnswer, relation_labels, relation_lines, relations_html
from mmkit.tasks.sentence import find_span
from mmkit.tasks.span import marked


@dataclass(frozen=True, kw_only=True, eq=False)
class PairAnswer(JointAnswer):
    """The relation of a given pair. There are no entities; the field exists because readers of the JSON expect it."""

    def half_read(self, unread: Unread) -> int:
        token = unread.token
        if token is None:
            return 0
        return sum(max(found.head.end, found.tail.end) > token for found in self.relations)


class PairTask(Task):
    """Classifies the relation of a given head and tail."""

    name = "relations"
    does_not = "classifies no pairs"
    answer_type: type[Answer] = PairAnswer
    inputs = (
        Input("head", "the head's words, as in the text", "words", required=True),
        Input("tail", "the tail's words", "words", required=True),
    )
    metrics = ("mmkit.relation_f1.v1",)
    finds = frozenset({"relations"})

    def check_given(self, given: Mapping[str, Any], where: str) -> None:
        if not given:
            raise DataError(
                "there is no pair of spans to classify",
                where=where,
                hint="give words of the text as --head and --tail",
                code="task.no-pair",
            )
        if len(given) == 1:
            raise DataError(
                "a pair needs both head and tail",
                where=where,
                hint="give --head and --tail",
                code="input.half-pair",
            )

    def asked(self, example: Example, given: Mapping[str, Any], entities: Sequence[Entity]) -> Example:
        head, tail = (find_span(example, given[role], role) for role in ("head", "tail"))
        return replace(example, relations=(Relation(head, tail),))

    def check_input(self, example: Example) -> None:
        if not example.relations:
            raise DataError(
                "there is no pair of spans to classify",
                where=example.id,
                hint="give a head and a tail span",
                code="task.no-pair",
            )

    def question(self, example: Example) -> Example:
        """The pair without its label."""
        return replace(example, relations=tuple(replace(r, label=None) for r in example.relations))

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        return PairAnswer.of(example, prediction, entities=(), relations=found_relations(example, prediction))

    def lines(self, answer: Answer) -> Iterator[str]:
        yield from relation_lines(answer)

    def html_of(self, answer: Answer) -> str:
        assert isinstance(answer, PairAnswer)
        pair = [words for relation in answer.relations for words in (relation.head, relation.tail)]
        return marked(answer.text, pair) + relations_html(answer)

    def labels(self, example: Example) -> Iterator[tuple[str, str]]:
        yield from relation_labels(example)

    def survey(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Survey:
        """Examples without a pair, which no decoder of pairs can read, and pairs without a label."""
        at = [(example.id, None) for example in examples if not example.relations]
        what = f"{counted(len(at), 'example has', 'examples have')} no pair of spans to classify"
        no_pair = Problem(what, at, "give each a relation, or leave it out", code="task.no-pair")
        return Survey(refused=(no_pair,) if at else (), problems=tuple(unlabelled(examples)))
