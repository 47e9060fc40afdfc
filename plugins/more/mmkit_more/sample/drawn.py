"""The sample's posts, before they are written in any file format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from mmkit.data.sample import names
from mmkit_more.sample.world import Topic, World, events

ROUNDS = {"train": 64, "dev": 5, "test": 9}
"""Split → rounds. A round is a sentence of each sort with every kind, and the posts that tell theirs."""

TOLD = 2
"""Posts of a round whose own words tell the kind: they make known the words that articles use."""

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What is asked about names, or pairs of them; templates have a `{}` for each name.

    Sentences of `read` name an `<event>`, those of `look` show one of `topics`; in a `told` one (with its kind)
    neither is needed.
    """

    topics: Sequence[Topic]
    read: Sequence[str]
    look: Sequence[str]
    told: Sequence[tuple[str, str]]
    ending: str
    """Of the words for events, so that tasks have none in common."""


@dataclass(frozen=True)
class Post:
    """A sentence with the bounds of its names, their kind, and the topic that its photo resembles.

    `event` is the topic of the one article that has the sentence's rare word.
    """

    tokens: list[str]
    bounds: list[tuple[int, int]]
    kind: str
    photo: Topic
    event: Topic | None = None


def drawn(task: Task, world: World) -> dict[str, list[Post]]:
    """Every split's posts. Every sentence occurs with each kind: the words alone are not enough."""
    rng = Random(f"{world.seed} {task.ending}")
    rest = _round(task, world, rng)
    posts = {split: [post for _ in range(rounds) for post in next(rest)] for split, rounds in ROUNDS.items()}
    return {split: rng.sample(some, len(some)) for split, some in posts.items()}


def _round(task: Task, world: World, rng: Random) -> Iterator[list[Post]]:
    kinds: dict[tuple[str, ...], list[Topic]] = {}
    for topic in task.topics:
        kinds.setdefault(topic.names, []).append(topic)
    subjects, told = _endless([*kinds], rng), _endless(task.told, rng)
    words, meals = events(task.ending, rng), _endless(world.meals, rng)
    while True:
        posts = []
        name, template = next(subjects), rng.choice(task.read)
        for topic in kinds[name]:
            event = Topic(next(words), name, topic.kind)
            tokens, bounds = _sentence(template.replace("<event>", event.title), name, rng)
            posts.append(Post(tokens, bounds, topic.kind, next(meals), event))
        name = next(subjects)
        tokens, bounds = _sentence(rng.choice(task.look), name, rng)
        posts += [Post(tokens, bounds, topic.kind, topic) for topic in kinds[name]]
        for _ in range(TOLD):
            template, kind = next(told)
            posts.append(Post(*_sentence(template, next(subjects), rng), kind, next(meals)))
        yield posts


def _sentence(template: str, named: Sequence[str], rng: Random) -> tuple[list[str], list[tuple[int, int]]]:
    body, bounds = names.filled(template, [*named])
    tokens, shift = names.framed(body, rng)
    return tokens, [(start + shift, end + shift) for start, end in bounds]


def _endless(items: Sequence[T], rng: Random) -> Iterator[T]:
    """The items repeatedly, each round in another order."""
    while True:
        yield from rng.sample(items, len(items))
