"""Scores of parts of the data: by the length of sentences, and by what the training data held."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

LENGTHS = (5, 10, 15, 20, 30, 50)
"""The largest number of tokens in each group of sentences but the last."""
FREQUENCIES = (0, 1, 4, 9, 49)
"""The largest number of occurrences in each group of mentions but the last."""


@dataclass(frozen=True)
class Rates:
    """Counts of a group, and the rates that follow; a rate over nothing is None."""

    group: str
    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float | None:
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        return self.correct / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        both = self.predicted + self.gold
        return 2 * self.correct / both if both else None


def grouped(rows: Iterable[tuple[K, tuple[int, int, int]]]) -> dict[K, tuple[int, int, int]]:
    """Counts (correct, predicted, gold), summed over the rows of each key."""
    sums: dict[K, tuple[int, int, int]] = {}
    for key, (correct, predicted, gold) in rows:
        a, b, c = sums.get(key, (0, 0, 0))
        sums[key] = a + correct, b + predicted, c + gold
    return sums


def by_size(rows: Iterable[tuple[int, tuple[int, int, int]]], borders: Sequence[int]) -> list[Rates]:
    """The rates of groups of sizes: up to each border, and above the last. Empty groups are left out."""
    sums = grouped((_place(size, borders), counts) for size, counts in rows)
    return [Rates(_called(i, borders), *sums[i]) for i in sorted(sums)]


def _place(size: int, borders: Sequence[int]) -> int:
    return next((i for i, border in enumerate(borders) if size <= border), len(borders))


def _called(place: int, borders: Sequence[int]) -> str:
    if place == len(borders):
        return f"{borders[-1] + 1}+"
    low = borders[place - 1] + 1 if place else min(borders[0], 1)
    return str(low) if low == borders[place] else f"{low}–{borders[place]}"
