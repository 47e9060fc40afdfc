"""The task of taggers: typed spans in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from mmkit.data.problems import Problem
from mmkit.data.types import ORPHANS, Entity, Example, Prediction
from mmkit.tasks.answer import Answer, FoundSpan, Shown, Words, found_spans
from mmkit.tasks.base import Survey, Task, shown


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanAnswer(Answer):
    """Entities in a sentence."""

    entities: tuple[FoundSpan, ...]


class SpanTask(Task):
    """Finds spans and their types; needs only a sentence and its images."""

    name = "entities"
    does_not = "finds no entities"
    answer_type: type[Answer] = SpanAnswer
    metrics: tuple[str, ...] = ("mmkit.span_f1.v1",)
    finds = frozenset({"spans"})

    def question(self, example: Example) -> Example:
        """The example without spans, and without relations and the note on orphan tags."""
        notes = {k: v for k, v in example.notes.items() if k != ORPHANS}
        return replace(example, spans=(), relations=(), entity=None, notes=notes)

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        return SpanAnswer.of(example, prediction, entities=found_spans(example, prediction))

    def lines(self, answer: Answer) -> Iterator[str]:
        for span in found(answer, "entities"):
            yield span_line(span)

    def html_of(self, answer: Answer) -> str:
        spans = found(answer, "entities")
        return marked(answer.text, spans) + places(spans)

    def labels(self, example: Example) -> Iterator[tuple[str, str]]:
        for span in example.spans:
            yield "spans", span.label

    def survey(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Survey:
        if any(example.spans for example in examples):
            return Survey()
        return Survey(warnings=(Problem("no example has a span", code="task.no-spans", level="warning"),))


def found(answer: Answer, field: str) -> tuple[FoundSpan, ...]:
    """A field of spans of an answer."""
    return tuple(getattr(answer, field))


def span_line(span: FoundSpan) -> str:
    """A span for a terminal, and the places in the images that show it."""
    bounds = f"tokens {span.start}:{span.end}, characters {span.start_char}:{span.end_char}"
    line = f"[green]{shown(span.label)}[/green] {shown(span.text)}  ({bounds})  {span.score:.3f}"
    for region in span.regions:
        line += f"\n    [dim]in {shown(region.path or 'a blank image')} at {_sides(region)}[/dim]"
    return line


def _sides(region: Shown) -> str:
    return ", ".join(f"{side:g}" for side in region.box)


def places(spans: Sequence[Words]) -> str:
    """The places in images that show spans, as an HTML list; empty if there are none.

    The images are not opened: their paths may be names that a stranger chose.
    """
    lines = [
        f'<li data-image="{region.image}">{escape(span.text)} ({escape(span.label)}): '
        f"{escape(region.path or 'a blank image')} at {_sides(region)}</li>"
        for span in spans
        for region in span.regions
    ]
    return f'<ul class="regions">{"".join(lines)}</ul>' if lines else ""


def marked(text: str, spans: Sequence[Words]) -> str:
    """The text as an HTML paragraph with `mark`s around spans; of crossing spans, the first is marked."""
    parts, at = [], 0
    for span in sorted(spans, key=lambda s: (s.start_char, -s.end_char)):
        if span.start_char < at:
            continue
        words = escape(text[span.start_char : span.end_char])
        parts += [escape(text[at : span.start_char]), f'<mark title="{escape(span.label)}">{words}</mark>']
        at = span.end_char
    return f"<p>{''.join(parts)}{escape(text[at:])}</p>"
