"""Words that a model names → tokens of the text.

Words are compared without white space: first with their case, then without. What does not begin and end with a token is
not found. The n-th time an answer names the same words, it means their n-th occurrence.
"""

from __future__ import annotations

from collections import Counter

from mmkit.data.types import Example, Span

NOT_THERE = "words that are not in the text"
TOO_OFTEN = "words named more often than they occur"
OVERLAPS = "words that overlap others"


class Aligner:
    """Finds words in one example's text; `dropped` counts what is not found, by reason."""

    def __init__(self, example: Example, dropped: Counter[str]) -> None:
        self.dropped = dropped
        kept = [(i, c) for i, c in enumerate(example.text) if not c.isspace()]
        self._texts = ("".join(c for _, c in kept), "".join(_lower(c) for _, c in kept))
        at = {place: number for number, (place, _) in enumerate(kept)}
        real = [(i, s, e) for i, (s, e) in enumerate(example.offsets) if s < e]
        self._starts = {at[s]: i for i, s, _ in real if s in at}
        self._ends = {at[e - 1] + 1: i + 1 for i, _, e in real if e - 1 in at}
        self._named: Counter[str] = Counter()
        self._taken: set[int] = set()

    def skip(self, words: str) -> None:
        """Count an occurrence of words as named; they are dropped for another reason, and so overlap nothing."""
        self._named[squashed(words)] += 1

    def find(self, words: str) -> tuple[int, int] | None:
        """The tokens [start, end) of the words' next occurrence; None, and counted, if there is none."""
        bare = squashed(words)
        places = self.places(bare)
        turn = self._named[bare]
        self._named[bare] += 1
        if turn >= len(places):
            self.dropped[TOO_OFTEN if places else NOT_THERE] += 1
            return None
        start, end = places[turn]
        if self._taken & set(range(start, end)):
            self.dropped[OVERLAPS] += 1
            return None
        self._taken |= set(range(start, end))
        return start, end

    def places(self, bare: str) -> list[tuple[int, int]]:
        """The tokens of all occurrences of words without white space, from left to right."""
        for text, wanted in zip(self._texts, (bare, "".join(map(_lower, bare))), strict=True):
            found, at = [], text.find(wanted) if wanted else -1
            while at >= 0:
                start, end = self._starts.get(at), self._ends.get(at + len(wanted))
                if start is not None and end is not None and start < end:
                    found.append((start, end))
                at = text.find(wanted, at + 1)
            if found:
                return found
        return []


def squashed(words: str) -> str:
    """Words without white space."""
    return "".join(words.split())


def words_at(example: Example, span: Span) -> str:
    """The words of a span, as they are in the text."""
    return example.text[example.offsets[span.start][0] : example.offsets[span.end - 1][1]]


def _lower(character: str) -> str:
    """A character in lower case, if that is one character, too."""
    lower = character.lower()
    return lower if len(lower) == 1 else character
