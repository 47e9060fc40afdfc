"""What answers in place of a model with `--sample`: it compares a question with the examples that it shows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkit.annotators.base import Failed
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat, Message

SIDE = 12
"""Pictures are compared as so many pixels squared."""

NEIGHBOURS = 5
"""The number of examples that vote."""

Known = tuple[Message, dict[str, Any]]
"""An example's question and its answer."""


class StandIn:
    """Reads nothing but what a model would read: the messages and their pictures.

    A name that an example's answer names, and that stands in the question, is named again, with the type that it mostly
    has in the examples with the most similar pictures. Relations are those of the most similar examples. Of candidates
    it takes the one that has most words in common with the right ones of the most similar examples.
    """

    def identity(self) -> dict[str, Any]:
        return {"backend": "stand_in", "version": 3}

    def prepare(self, device: str = "cpu") -> None:
        """Nothing is loaded."""

    def answers(self, prompts: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failed]]:
        for number, prompt in enumerate(prompts):
            text = json.dumps(self._answer(prompt), ensure_ascii=False)
            asked = sum(len(message.text.split()) for message in prompt.messages)
            yield number, Answer(text, False, asked, len(text.split()))

    def _answer(self, chat: Chat) -> dict[str, Any]:
        question = chat.messages[-1]
        fields = json.loads(chat.schema)["properties"]
        pairs = zip(chat.messages[:-1:2], chat.messages[1:-1:2], strict=True)
        known = [(asked, json.loads(answer.text)) for asked, answer in pairs]
        nearest = sorted(known, key=lambda each: _distance(each[0], question))
        if "entity" in fields:
            return {"entity": _candidate(nearest, question.text)}
        if "relation" in fields:
            found = [a["relation"] for _, a in nearest] or fields["relation"]["enum"]
            return {"relation": Counter(found[:NEIGHBOURS]).most_common(1)[0][0]}
        entities = list(_entities(nearest, question))
        if "relations" not in fields:
            return {"entities": entities}
        return {"entities": entities, "relations": list(_relations(nearest, entities))}


def _entities(nearest: Sequence[Known], question: Message) -> Iterator[dict[str, str]]:
    """The names of the examples that stand in the question, with the type of the nearest that name them."""
    types: dict[str, list[str]] = {}
    for _, answer in nearest:
        for entity in answer["entities"]:
            types.setdefault(entity["text"], []).append(entity["type"])
    taken = question.text
    found: list[tuple[int, str]] = []
    for name in sorted(types, key=len, reverse=True):
        pattern = rf"(?<!\S){re.escape(name)}(?!\S)"
        found += [(place.start(), name) for place in re.finditer(pattern, taken)]
        taken = re.sub(pattern, lambda place: "\n" * len(place.group()), taken)
    for _, name in sorted(found):
        yield {"text": name, "type": Counter(types[name][:NEIGHBOURS]).most_common(1)[0][0]}


def _relations(nearest: Sequence[Known], entities: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Between two names, the relation that the nearest examples mostly have between such types in such an order."""
    for i, first in enumerate(entities):
        for second in entities[i + 1 :]:
            votes: list[tuple[str, bool] | None] = []
            for asked, answer in nearest[: 3 * NEIGHBOURS]:
                votes += _votes(asked.text, answer, (first["type"], second["type"]))
            most = Counter(votes[:NEIGHBOURS]).most_common(1)
            if most and most[0][0] is not None:
                relation, forward = most[0][0]
                head, tail = (first, second) if forward else (second, first)
                yield {"head": head["text"], "relation": relation, "tail": tail["text"]}


def _votes(text: str, answer: dict[str, Any], types: tuple[str, str]) -> Iterator[tuple[str, bool] | None]:
    """For two names of an example with these types in this order: their relation, and whether the first is its head."""
    listed = sorted(answer["entities"], key=lambda entity: text.find(entity["text"]))
    related = {(r["head"], r["tail"]): r["relation"] for r in answer["relations"]}
    for i, first in enumerate(listed):
        for second in listed[i + 1 :]:
            if (first["type"], second["type"]) != types:
                continue
            one, other = first["text"], second["text"]
            forward, backward = related.get((one, other)), related.get((other, one))
            yield (forward, True) if forward else (backward, False) if backward else None


def _candidate(nearest: Sequence[Known], question: str) -> str:
    """The number of the candidate with most words of the mention, then most like the right ones of near examples."""
    liked: Counter[str] = Counter()
    for asked, answer in nearest[:NEIGHBOURS]:
        liked.update(set(_candidates(asked.text).get(answer["entity"], ())))
    mention = set(re.findall(r"\w+", question.split("\n")[1].lower()))
    scores = {
        number: (len(mention & about), sum(liked[word] for word in about))
        for number, about in _candidates(question).items()
    }
    return max(scores, key=lambda number: scores[number]) if scores else "none"


def _candidates(question: str) -> dict[str, set[str]]:
    """The words of each candidate, by its number."""
    lines = (line for line in question.split("\n") if re.match(r"\d+\. ", line))
    return {line.partition(".")[0]: set(re.findall(r"[^\W\d]+", line.lower())) for line in lines}


def _distance(one: Message, other: Message) -> tuple[float, float]:
    """How different two questions are: their pictures, then their words."""
    words, others = set(one.text.lower().split()), set(other.text.lower().split())
    shared = len(words & others) / max(1, len(words | others))
    if not (one.pictures and other.pictures):
        return 1.0, 1 - shared
    return float(np.abs(_pixels(one.pictures[0]) - _pixels(other.pictures[0])).mean()), 1 - shared


@lru_cache(maxsize=2000)
def _pixels(picture: str) -> NDArray[np.float32]:
    """A picture as few pixels, `[SIDE, SIDE, 3]`, from 0 to 1."""
    from mmkit_chat.local_vision import opened

    return np.asarray(opened(picture).resize((SIDE, SIDE)), dtype=np.float32) / np.float32(255)
