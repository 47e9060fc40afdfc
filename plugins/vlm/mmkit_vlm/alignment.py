"""Words that a model names → tokens of the text.

Words are compared without white space and composed (NFC): first with their case, then without. What does not begin and
end with a token is not found. Longer names are placed first, and each name at its first occurrence that is free. If a
name finds no place so, all are tried in the order of the answer, from left to right, and the better of both counts.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from mmkit.data.types import Example, Span

NOT_THERE = "words that are not in the text"
TOO_OFTEN = "words named more often than they occur"
OVERLAPS = "words that overlap others"

Place = tuple[int, int]
"""The tokens [start, end)."""

_RUN = 30
"""The most characters that are composed together: more take a time that grows with their square."""


class Aligner:
    """Finds the names of an answer in one example's text; `dropped` counts those without a place, by reason."""

    def __init__(self, example: Example, dropped: Counter[str]) -> None:
        self.dropped = dropped
        pieces = list(_characters(example.text))
        text = composed(example.text)
        self._texts = (text, lowered(text))
        real = [(i, s, e) for i, (s, e) in enumerate(example.offsets) if s < e]
        begins = {start: at for at, (start, _, _) in enumerate(pieces) if start is not None}
        ends = {end: at + 1 for at, (_, end, _) in enumerate(pieces) if end is not None}
        self._starts = {begins[s]: i for i, s, _ in real if s in begins}
        self._ends = {ends[e]: i + 1 for i, _, e in real if e in ends}
        self.places = lru_cache(self._places)

    def find(self, names: Sequence[str], unused: Collection[int] = ()) -> list[Place | None]:
        """The place of each name; None, and counted, if there is none.

        Names whose numbers are `unused` are dropped for another reason: they use up an occurrence of their words, but
        overlap nothing, have no place and are not counted.
        """
        found = self._longer_first(names, unused)
        if None in found and sum(map(bool, other := self._in_order(names, unused))) > sum(map(bool, found)):
            found = other
        taken = set(found)
        for name in (n for i, n in enumerate(names) if found[i] is None and i not in unused):
            places = [*self.places(name, True), *self.places(name, False)]
            free = [place for place in places if place not in taken]
            self.dropped[OVERLAPS if free else TOO_OFTEN if places else NOT_THERE] += 1
        return [None if i in unused else place for i, place in enumerate(found)]

    def _longer_first(self, names: Sequence[str], unused: Collection[int]) -> list[Place | None]:
        found: dict[int, Place] = {}
        tokens: set[int] = set()
        lengths = [len(squashed(name)) for name in names]
        turns = [(-length, not case, i) for i, length in enumerate(lengths) for case in (True, False)]
        for _, any_case, i in sorted(turns):
            taken = set(found.values())
            for place in self.places(names[i], not any_case) if i not in found else ():
                if place not in taken and (i in unused or tokens.isdisjoint(range(*place))):
                    found[i] = place
                    tokens.update(() if i in unused else range(*place))
                    break
        return [found.get(i) for i in range(len(names))]

    def _in_order(self, names: Sequence[str], unused: Collection[int]) -> list[Place | None]:
        found: list[Place | None] = []
        end = 0
        for i, name in enumerate(names):
            places = () if i in unused else (*self.places(name, True), *self.places(name, False))
            found.append(next((place for place in places if place[0] >= end), None))
            end = found[-1][1] if found[-1] else end
        return found

    def _places(self, words: str, case: bool) -> tuple[Place, ...]:
        """The occurrences of words with their case, or those in another case, from left to right."""
        text, wanted = self._texts[not case], composed(words)
        wanted = wanted if case else lowered(wanted)
        found, at = [], text.find(wanted) if wanted else -1
        while at >= 0:
            start, end = self._starts.get(at), self._ends.get(at + len(wanted))
            if start is not None and end is not None and start < end:
                found.append((start, end))
            at = text.find(wanted, at + 1)
        own = set() if case else set(self.places(words, True))
        return tuple(place for place in found if place not in own)


def squashed(words: str) -> str:
    """Words without white space."""
    return "".join(words.split())


def composed(words: str) -> str:
    """Words without white space, with letters and their accents as one character each (NFC)."""
    return squashed(words) if words.isascii() else "".join(c for _, _, c in _characters(words))


def lowered(words: str) -> str:
    """Words in lower case; a character that would become several stays."""
    return "".join(map(_lower, words))


def words_at(example: Example, span: Span) -> str:
    """The words of a span, as they are in the text."""
    return example.text[example.offsets[span.start][0] : example.offsets[span.end - 1][1]]


def _characters(text: str) -> Iterator[tuple[int | None, int | None, str]]:
    """The characters of a text without white space, composed, and where each begins and ends in the text.

    Inside of several characters that become others together, it is None.
    """
    run, places = "", list[int]()
    for at, character in enumerate(text):
        if character.isspace():
            continue
        if not _joins(run, character):
            yield from _piece(run, places)
            run, places = "", []
        run += character
        places.append(at)
    yield from _piece(run, places)


def _piece(run: str, places: Sequence[int]) -> Iterator[tuple[int | None, int | None, str]]:
    whole = _nfc(run)
    for i, character in enumerate(whole):
        if whole == run:
            yield places[i], places[i] + 1, character
        else:
            yield places[0] if i == 0 else None, places[-1] + 1 if i == len(whole) - 1 else None, character


def _joins(run: str, character: str) -> bool:
    """Whether a character and those before it are composed together."""
    if character.isascii() or len(run) >= _RUN:
        return False
    return unicodedata.combining(character) > 0 or _nfc(run + character) != _nfc(run) + _nfc(character)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character
