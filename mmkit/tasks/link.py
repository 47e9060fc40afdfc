"""The task of entity linkers: the entity of a knowledge base to which a mention refers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import Any

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Image, Mention, Prediction
from mmkit.errors import DataError
from mmkit.tasks.answer import DIGITS, Answer, Found, Words
from mmkit.tasks.base import Input, Survey, Task, shortened, shown
from mmkit.tasks.drawn import small_picture
from mmkit.tasks.link_report import check_linking, link_problems
from mmkit.tasks.schema import UNTOLD
from mmkit.tasks.sentence import find_span
from mmkit.tasks.span import marked

BEST = 5
"""The number of links that people see; JSON has all of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Link(Found):
    """An entity to which the mention may refer. `score` is from 0 to 1."""

    entity: str
    name: str | None = None
    """None if the entity is not in the knowledge base."""
    description: str | None = None
    score: float
    picture: Image | None = field(default=None, repr=False, metadata={UNTOLD: True})
    """The entity's first picture, for notebooks. It is not in the JSON, which may go to strangers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkAnswer(Answer):
    """Entities of a knowledge base to which a mention may refer, best first."""

    mention: str
    """The words that are linked; empty if only the image is linked."""
    mention_span: Words | None = None
    """Where they stand in the text, if they do."""
    links: tuple[Link, ...]

    def _words(self) -> list[tuple[Words, float, str]]:
        found = super()._words()
        return (
            [(words, self.links[0].score, self.links[0].entity) for words, *_ in found]
            if self.links
            else found
        )

    def _items(self) -> str:
        return f"<p>Mention: <strong>{escape(self.mention or 'the image')}</strong></p>"

    def _links(self) -> str:
        """The best links, with the entities' pictures."""
        rows = "".join(
            f"<li>{small_picture(link.picture, f'image of {link.name}') if link.picture else ''}"
            f"<strong>{escape(f'{link.name} ({link.entity})' if link.name else link.entity)}</strong> {link.score:.3f}"
            f"{f'<div class=dim>{escape(link.description)}</div>' if link.description else ''}</li>"
            for link in self.links[:BEST]
        )
        more = len(self.links) - BEST
        rest = f'<p class="dim">{more:,} more in answer.links</p>' if more > 0 else ""
        return f'<div class="heading">Links</div><ol class="links">{rows}</ol>{rest}' if rows else ""


class LinkTask(Task):
    """Links a mention to entities: among the candidates that an example lists, or in the whole knowledge base."""

    name = "links"
    does_not = "links no mentions"
    answer_type: type[Answer] = LinkAnswer
    inputs = (
        Input("mention", "the words to link; they need not occur in the text", "words", required=True),
        Input("candidates", "an entity's id", "id", many=True, option="candidate"),
    )
    metrics = ("mmkit.linking.v1",)
    reads_entities = True
    finds = frozenset({"links"})

    def check_given(self, given: Mapping[str, Any], where: str) -> None:
        if "mention" not in given:
            raise DataError(
                "there is no mention to link",
                where=where,
                hint="give its words as --mention, or mention=... in Python",
                code="input.no-mention",
            )

    def asked(self, example: Example, given: Mapping[str, Any], entities: Sequence[Entity]) -> Example:
        candidates = given.get("candidates", ())
        if isinstance(candidates, str):
            raise DataError(
                "candidates is one id, not a list of them",
                where=example.id,
                hint=f"candidates=[{candidates!r}]",
                code="input.candidates",
            )
        unknown = [id for id in candidates if id not in entities]
        if unknown:
            raise DataError(
                f"the knowledge base has no entity {', '.join(map(repr, unknown[:5]))}",
                where=example.id,
                hint="candidates are ids of [data.entities]",
                code="input.unknown-entity",
            )
        mention = _mention(example, given["mention"])
        return replace(example, mention=mention, candidates=tuple(dict.fromkeys(candidates)))

    def check_words(self, example: Example, given: Mapping[str, Any]) -> None:
        """An image may be linked without words."""
        if not example.images:
            super().check_words(example, given)

    def question(self, example: Example) -> Example:
        """The mention and its candidates without the entity."""
        return replace(example, entity=None)

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        return LinkAnswer.of(
            example,
            prediction,
            mention=example.mention.text if example.mention is not None else "",
            mention_span=_place(example),
            links=tuple(
                Link(entity=id, **_named(id, entities), score=round(score, DIGITS))
                for id, score in zip(prediction.links, prediction.link_scores, strict=True)
            ),
        )

    def lines(self, answer: Answer) -> Iterator[str]:
        assert isinstance(answer, LinkAnswer)
        if answer.links:
            yield f"{shown(answer.mention or 'the image')} is"
        for link in answer.links[:BEST]:
            name = f"{shown(link.name)}  " if link.name is not None else ""
            about = shortened(link.description or "")
            yield f"{link.score:.3f}  [green]{shown(link.entity)}[/green]  {name}[dim]{about}[/dim]"

    def html_of(self, answer: Answer) -> str:
        assert isinstance(answer, LinkAnswer)
        rows = "".join(
            f"<li><b>{escape(link.name or link.entity)}</b> ({escape(link.entity)}, {link.score:.3f})"
            f"{' ' + escape(link.description) if link.description else ''}</li>"
            for link in answer.links[:BEST]
        )
        where = answer.mention_span
        if where is not None:
            return f"{marked(answer.text, [where])}<ol>{rows}</ol>"
        return f"<p>{escape(answer.text)}</p><p>{escape(answer.mention or 'the image')}</p><ol>{rows}</ol>"

    def survey(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Survey:
        """Counts of mentions, and their entities that are not in the knowledge base; nothing without one."""
        if not isinstance(entities, KnowledgeBase):
            return Survey()
        found = check_linking(examples, entities)
        absent = f"{found.absent:,} candidates are not in the knowledge base"
        return Survey(
            lines=(found.summary(),),
            problems=tuple(link_problems(examples, found)),
            warnings=(absent,) if found.absent else (),
            facts={"linking": asdict(found)},
        )


def _place(example: Example) -> Words | None:
    """Where the mention stands."""
    if example.mention is None or example.mention.span is None:
        return None
    return Words.of(example, example.mention.span)


def _mention(example: Example, wanted: str | tuple[int, int]) -> Mention | None:
    """What to link: token bounds, or words, which need not occur in the text; no words: only the image."""
    if isinstance(wanted, str) and not wanted.strip():
        return None
    try:
        span = find_span(example, wanted, "mention")
    except DataError:
        if not isinstance(wanted, str):
            raise
        return Mention(wanted)
    first, last = example.offsets[span.start][0], example.offsets[span.end - 1][1]
    return Mention(wanted if isinstance(wanted, str) else example.text[first:last], span)


def _named(id: str, entities: Sequence[Entity]) -> dict[str, Any]:
    """Name, description and first picture of an entity, if it is known."""
    row = int(entities.rows([id])[0]) if isinstance(entities, KnowledgeBase) else -1
    if row < 0:
        return {}
    entity = entities[row]
    picture = next((image for image in entity.images if image.path is not None), None)
    return {"name": entity.name, "description": entity.description, "picture": picture}
