"""What there is in the sample's world: namesakes, pairs of them, meals, and words for events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from random import Random

from PIL import Image, ImageEnhance

from mmkit.data.sample import names, pictures

RELATION_WORDS = {
    "/per/per/couple": "couple",
    "/per/per/peer": "team",
    "/org/loc/locate_at": "headquarters",
    "/misc/misc/part_of": "series",
}
"""Relations that an article tells, and the word it uses."""

WORDS = {**names.KIND_WORDS, **RELATION_WORDS, "None": "meal"}
"""What articles call each kind of topic."""

PAIRS = 12
"""Pairs of names, each with an image of every relation."""

MEALS = ("Pasta", "Soup", "Salad", "Curry", "Pancakes", "Risotto", "Tacos", "Goulash")

CONSONANTS, VOWELS = "bdfgklmnprtvz", "aeiou"


@dataclass(frozen=True)
class Topic:
    """What an article is about: one or two names, and what they are (a type, a relation, "None" for a meal).

    `look` is the seed of the image that shows it; None has no image.
    """

    title: str
    names: tuple[str, ...]
    kind: str
    look: int | None = None


class World:
    """Everything that derives from the seed alone: articles about it and posts that mention it fit together."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        self.seed = seed
        # in an order of its own for each name, as retrieval prefers the first of equally good articles
        self.namesakes = [
            Topic(f"{name} ({rng.choice(names.ROLES[kind])})", (name,), kind, rng.getrandbits(32))
            for name in names.AMBIGUOUS
            for kind in rng.sample(names.TYPES, len(names.TYPES))
        ]
        self.pairs = [
            Topic(f"{' and '.join(pair)} ({word})", pair, kind, rng.getrandbits(32))
            for pair in rng.sample([*combinations(sorted(names.AMBIGUOUS), 2)], PAIRS)
            for kind, word in rng.sample([*RELATION_WORDS.items()], len(RELATION_WORDS))
        ]
        self.meals = [Topic(meal, (meal,), "None", rng.getrandbits(32)) for meal in MEALS]


def events(ending: str, rng: Random) -> Iterator[str]:
    """Made-up words, each once."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    for first, second in rng.sample([*product(syllables, repeat=2)], len(syllables) ** 2):
        yield f"{first}{second}{ending}".capitalize()


def picture_of(topic: Topic) -> Image.Image:
    """The corpus's image of a topic that has one."""
    return pictures.photo(topic.kind, Random(topic.look))


def taken_again(topic: Topic, rng: Random) -> Image.Image:
    """A photo like the corpus's image of a topic: a little nearer, a little lighter or darker."""
    picture = picture_of(topic)
    left, top, right, bottom = (rng.randint(0, 2) for _ in range(4))
    cut = picture.crop((left, top, pictures.SIDE - right, pictures.SIDE - bottom)).resize(picture.size)
    return ImageEnhance.Brightness(cut).enhance(rng.uniform(0.96, 1.04))
