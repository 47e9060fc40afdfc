"""The demo's sentences: names of things, and sometimes of places. Only the photo shows what kind of thing a name means.

The sentences are written for the demo, the photographs are not. Names are given without regard to the photo. So the
text alone says where names are, and which of them are places, but nothing about the types of things. Names, places
and sentences of one split do not occur in another.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

PLACE = "PLACE"


def _listed(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


NAMES = {
    "train": _listed(
        """Kiwi, Robin, Basil, Olive, Jasmine, Ginger, Max, Luna, Milo, Oscar, Ruby, Leo, Molly, Rocky, Amber, Jet,
        Rose, Pearl, Hazel, Ivy, Misty, Sunny, Old Tom, Big Ben, Miss Sunday, Captain Rust, Sir Henry, Little Joe,
        Shadow, Aunt Polly, Mister Blue, Brown Sugar, White Lady, Golden Boy, Silver Star, Lady Luck,
        Green Giant, Grey Ghost, Yellow Submarine, Prince Albert, Rolling Thunder, Lazy Susan,
        Happy Jack, King George, Wild Horse, Sweet Pea""",
        ",",
    ),
    "dev": _listed("Clementine, Bella, Charlie, Coco, Rusty, Lady Jane, Uncle Joe, Blue Boy", ","),
    "test": _listed(
        """Pepper, Daisy, Lily, Buddy, Lucky, Toby, Stella, Felix, Poppy, Jasper, Queen Mary, Doctor Green,
        Black Beauty, Little John, Miss Monday, Red Baron""",
        ",",
    ),
}
"""What people call pets, trees, boats and tools: some sound like an animal, a flower or a food."""

PLACES = {
    "train": _listed(
        """Lisbon, Oslo, Kyoto, Boston, Cairo, Lima, Prague, Dublin, Nairobi, Toronto, Naples, Vienna, New Delhi,
        Cape Town, San Diego, Hong Kong, New Orleans, Los Angeles, Rio de Janeiro, Kuala Lumpur, Addis Ababa, Tel Aviv,
        New Haven, Santa Fe""",
        ",",
    ),
    "dev": _listed("Madrid, Seattle, Athens, Buenos Aires", ","),
    "test": _listed("Rome, Chicago, Hanoi, Warsaw, Sydney, Helsinki, Mexico City, New York", ","),
}

SENTENCES = {
    "train": _listed(
        """this is {thing}
        look , {thing} !
        guess who {thing} is
        {thing} made my day
        I miss {thing} already
        nobody told me about {thing}
        my sister calls this one {thing}
        the famous {thing} , finally
        here is {thing} , from our trip to {place}
        greetings from {place} , yours , {thing}
        saw {thing} in {place} today
        {place} is nice , but {thing} is nicer
        {thing} was waiting for us in {place}
        could not leave {place} without a photo of {thing}
        on the way to {place} we found {thing}
        they named it {thing} because of a song
        what would {place} be without {thing} ?""",
        "\n",
    ),
    "dev": _listed(
        """meet {thing}
        so this is {thing} ...
        {thing} , somewhere near {place}
        back from {place} with {thing}""",
        "\n",
    ),
    "test": _listed(
        """everybody , say hello to {thing}
        the children call it {thing}
        one more of {thing} for the album
        we drove through {place} and stopped for {thing}
        {thing} in {place} , early in the morning
        best thing in {place} : {thing}""",
        "\n",
    ),
}


def write(type_: str, split: str, photo: str, rng: random.Random) -> dict[str, Any]:
    """A record for `mmkit.jsonl.v1`, without its id: a sentence about a photo that shows a thing of a type."""
    sentence = rng.choice(SENTENCES[split])
    named = {"{thing}": (rng.choice(NAMES[split]), type_), "{place}": (rng.choice(PLACES[split]), PLACE)}
    tokens: list[str] = []
    spans: list[dict[str, Any]] = []
    for word in sentence.split():
        name, label = named.get(word, (word, ""))
        start, tokens = len(tokens), [*tokens, *name.split()]
        if label:
            spans.append({"start": start, "end": len(tokens), "label": label})
    return {"tokens": tokens, "spans": spans, "images": [photo]}


def names_of(split: str) -> Sequence[str]:
    """All names of things and places of a split."""
    return [*NAMES[split], *PLACES[split]]
