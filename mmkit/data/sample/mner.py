"""The MNER sample: tweets in Twitter-2015's format whose photo decides what "Jordan" or "Paris" is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from mmkit.data.sample import names, pictures
from mmkit.files import written_once

SPLITS = {"train": ("train", 320), "dev": ("valid", 60), "test": ("test", 80)}
"""Split → file stem and number of tweets, a multiple of the number of types."""

Sentence = tuple[list[str], list[tuple[int, int, str | None]]]
"""Tokens, and mentions as start, end and type; None if the photo decides the type."""

Post = tuple[str, list[tuple[str, str]]]
"""What the photo shows, and the tokens with their tags."""

T = TypeVar("T")


def conll_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `mmkit.conll_images.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"tweets-v1-{seed}", lambda target: write(target, seed))
    return overrides(root)


def write(folder: Path, seed: int) -> None:
    """Tweets, photos, object crops and crop tables; equal seeds give equal bytes."""
    rng = Random(seed)
    number = 10_000
    for split, (stem, count) in SPLITS.items():
        lines: list[str] = []
        table: dict[str, list[str]] = {}
        for kind, tweet in _posts(count, rng):
            number += 1
            lines += [f"IMGID:{number}", *(f"{token}\t{tag}" for token, tag in tweet), ""]
            pictures.save(pictures.photo(kind, rng), folder / "images" / f"{number}.jpg")
            crops = [f"{number}_{i}.jpg" for i in range(rng.choice((0, 1, 2, 2, 3)))]
            for name in crops:
                pictures.save(pictures.crop(kind, rng), folder / "crops" / split / name)
            if crops:
                table[f"{number}.jpg"] = crops
        (folder / f"{stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / f"{stem}_crops.json").write_text(json.dumps(table, indent=0), encoding="utf-8")


def overrides(root: Path) -> dict[str, dict[str, Any]]:
    """Each split's constructor overrides for the files that `write` wrote to `root`."""
    return {
        split: {
            "root": str(root),
            "file": f"{stem}.txt",
            "images": "images",
            "crops": f"{stem}_crops.json",
            "crop_images": f"crops/{split}",
        }
        for split, (stem, _) in SPLITS.items()
    }


def _posts(count: int, rng: Random) -> list[Post]:
    """A split's posts. Every sentence occurs once with each kind of photo: the words alone do not show the types."""
    subjects = _endless(names.AMBIGUOUS, rng)
    others = _endless([(name, label) for label in names.TYPES for name in names.CLEAR[label]], rng)
    posts: list[Post] = []
    for _ in range(count // len(names.TYPES)):
        posts += _variants(_sentence(subjects, others, rng))
    rng.shuffle(posts)
    return posts


def _endless(items: Sequence[T], rng: Random) -> Iterator[T]:
    """The items repeatedly, each round in another order."""
    while True:
        yield from rng.sample(items, len(items))


def _sentence(subjects: Iterator[str], others: Iterator[tuple[str, str]], rng: Random) -> Sentence:
    """A neutral sentence about one or two ambiguous names and, mostly, one name that always has the same type."""
    shown = [next(subjects)]
    if rng.random() < 0.25 and (second := next(subjects)) not in shown:
        shown.append(second)
    template = rng.choice(names.TWO_NAMES if len(shown) == 2 else names.ONE_NAME)
    labels: list[str | None] = [None] * len(shown)
    if rng.random() < 0.8:
        other, label = next(others)
        template += " " + names.CLEAR_PHRASES[label]
        shown.append(other)
        labels.append(label)
    body, bounds = names.filled(template, shown)
    tokens, shift = names.framed(body, rng)
    return tokens, [
        (start + shift, end + shift, label) for (start, end), label in zip(bounds, labels, strict=True)
    ]


def _variants(sentence: Sentence) -> Iterator[Post]:
    """The sentence tagged for each kind of photo: ambiguous names get the photo's type."""
    tokens, mentions = sentence
    for kind in names.TYPES:
        tags = ["O"] * len(tokens)
        for start, end, label in mentions:
            tags[start:end] = [f"B-{label or kind}", *[f"I-{label or kind}"] * (end - start - 1)]
        yield kind, list(zip(tokens, tags, strict=True))
