"""The words of the samples: names of any type, names of one type, and neutral sentences."""

from __future__ import annotations

from random import Random

TYPES = ("PER", "LOC", "ORG", "OTHER")
"""Entity types as Twitter-2015 writes them."""

AMBIGUOUS = (
    "Jordan",
    "Paris",
    "Amazon",
    "Phoenix",
    "Washington",
    "Madison",
    "Victoria",
    "Georgia",
    "Lincoln",
    "Chelsea",
    "Saint George",
    "Santa Maria",
)
"""Each is a person, a place, an organisation or a thing, as the image shows."""

CLEAR = {
    "PER": ("Emily Carter", "Oliver"),
    "LOC": ("Lake Como", "Oslo"),
    "ORG": ("Red Cross", "Reuters"),
    "OTHER": ("Super Bowl", "Oscars"),
}
"""Names of one type only."""

CLEAR_PHRASES = {"PER": "says {}", "LOC": "near {}", "ORG": "via {}", "OTHER": "during the {}"}

KIND_WORDS = {"PER": "person", "LOC": "place", "ORG": "company", "OTHER": "prize"}
"""Words for an entity's kind in its texts."""

ROLES = {
    "PER": ("basketball player", "singer", "painter", "novelist", "politician", "dancer"),
    "LOC": ("city", "river", "country", "mountain", "lake"),
    "ORG": ("newspaper", "brewery", "bank", "record label", "publisher"),
    "OTHER": ("film prize", "song contest", "golden trophy", "medal"),
}
"""Roles that entities of a kind may have."""

COUNTRIES = ("Italy", "Norway", "Brazil", "Canada", "Japan", "Kenya", "Poland")

ONE_NAME = (
    "{} again today",
    "so happy about {} this week",
    "thinking of {} right now",
    "nothing like {} on a Sunday",
    "look at {} !",
    "I will never forget {}",
    "{} , picture of the day",
    "more of {} soon",
)
TWO_NAMES = ("{} and {} in one picture", "first {} , then {}", "{} , {} and me", "can you tell {} from {} ?")

OPENINGS = ("RT @{} :", "wow ,", "")
CLOSINGS = ("#{}", "http://t.co/{}", "\u2764\ufe0f", "")
HANDLES = ("dailypics", "mia_b", "newsroom")


def framed(body: list[str], rng: Random) -> tuple[list[str], int]:
    """`body` with typical beginnings and endings of tweets, and the number of tokens now before it."""
    before = rng.choice(OPENINGS).format(rng.choice(HANDLES)).split()
    after = rng.choice(CLOSINGS).format(rng.choice(HANDLES)).split()
    return [*before, *body, *after], len(before)


def filled(template: str, names: list[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """The template's tokens with each `{}` replaced by a name, and the names' token bounds."""
    tokens: list[str] = []
    bounds: list[tuple[int, int]] = []
    rest = iter(names)
    for word in template.split():
        words = next(rest).split() if word == "{}" else [word]
        if word == "{}":
            bounds.append((len(tokens), len(tokens) + len(words)))
        tokens += words
    return tokens, bounds
