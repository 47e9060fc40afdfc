"""Which of a record's texts an encoder of plain text reads: its `source`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmkit.data.types import Entity, Example
from mmkit.encoders.cut import Cut, cut_sentence
from mmkit.errors import DataError, PartError, did_you_mean

SEPARATOR = " [SEP] "
"""The text between a mention and its sentence, written as letters, as in DWE and DIM."""

NOTE = "note:"


def _mention(x: Example) -> str:
    return "" if x.mention is None else x.mention.text


def _mention_sentence(x: Example) -> str:
    mention = _mention(x)
    return f"{mention}{SEPARATOR}{x.text}" if mention and x.text else mention or x.text


def _description(x: Entity) -> str:
    return x.description.strip() or x.name


def _name_description(x: Entity) -> str:
    description = x.description.strip()
    return f"{x.name}: {description}" if description else x.name


OF_EXAMPLES: dict[str, Callable[[Example], str]] = {
    "mention": _mention,
    "mention_sentence": _mention_sentence,
    "sentence": lambda x: x.text,
}
OF_ENTITIES: dict[str, Callable[[Entity], str]] = {
    "name": lambda x: x.name,
    "description": _description,
    "name_description": _name_description,
}


def check_source(source: str, kind: type[Example] | type[Entity] | None = None) -> None:
    """Raise `PartError` for an unknown source, or one that records of this kind do not have."""
    if source.startswith(NOTE) and len(source) > len(NOTE):
        return
    known = {**(OF_EXAMPLES if kind is not Entity else {}), **(OF_ENTITIES if kind is not Example else {})}
    if source not in known:
        whose = {None: "there is", Example: "an example has", Entity: "an entity has"}[kind]
        raise PartError(
            f"{whose} no text source {source!r}",
            hint=did_you_mean(source, known) + f"; {NOTE}KEY reads a note that an annotator wrote",
            code="encoder.reads-nothing",
        )


def texts_of(x: Example | Entity, source: str) -> list[str]:
    """The texts of a record under a source; there may be none, and several only for a note that is a list.

    Of an example: `mention`, `mention_sentence` (both, joined by `SEPARATOR`; without a mention the sentence alone),
    `sentence`. Of an entity: `name`, `description` (without one, its name), `name_description` ("name: description").
    Of either: `note:KEY`, a string or a list of strings under that key of its notes. Raises `DataError` if the source
    does not belong to such a record, or the note is neither a string nor a list of strings.
    """
    if source.startswith(NOTE):
        return _noted(x, source.removeprefix(NOTE))
    known: dict[str, Callable[[Any], str]] = OF_ENTITIES if isinstance(x, Entity) else OF_EXAMPLES
    if source not in known:
        kind = "an entity" if isinstance(x, Entity) else "an example"
        raise DataError(
            f"{kind} has no text {source!r}",
            where=x.id,
            hint=did_you_mean(source, known),
            code="encoder.no-note",
        )
    text = known[source](x)
    return [text] if text.strip() else []


def cut_source(x: Example, source: str, at: int, limit: int) -> Cut | None:
    """What is lost of an example whose text under a source is cut at a character; None where that is no whole word."""
    if source.startswith(NOTE):
        return Cut(limit, context=True)
    if source == "sentence":
        return cut_sentence(limit, x, at)
    mention = len(_mention(x))
    if at < mention or source == "mention":
        return Cut(limit, 0 if source == "mention_sentence" and x.tokens else None, mention=True)
    begin = mention + len(SEPARATOR) if mention else 0
    lost = cut_sentence(limit, x, max(0, at - begin))
    return None if lost is None else replace(lost, mention=False)  # its words stand before the sentence


def _noted(x: Example | Entity, key: str) -> list[str]:
    note = x.notes.get(key, [])
    texts = [note] if isinstance(note, str) else note
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"the note {key!r} is neither a text nor a list of texts", where=x.id, code="encoder.wrong-note"
        )
    return [text for text in texts if text.strip()]
