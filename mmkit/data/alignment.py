"""Align character offsets of annotations to a sentence's tokens, by a chosen policy."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from mmkit.data.bounds import Bounds, Doubt
from mmkit.data.tokenize import tokenize
from mmkit.data.types import Region, Span
from mmkit.errors import DataError

Misaligned = Literal["error", "expand", "drop", "split"]
Units = Literal["characters", "utf-16", "bytes"]
Offsets = tuple[tuple[int, int], ...]

_UNIT = {"utf-16": "UTF-16 units, as JavaScript and Java do", "bytes": "bytes of UTF-8"}
_POLICIES = (
    'misaligned = "expand" widens such spans to whole tokens, "drop" leaves them out, "split" cuts the tokens'
)


class Words(NamedTuple):
    """The tokens of a text and their character bounds."""

    tokens: tuple[str, ...]
    offsets: Offsets


class CharSpan(NamedTuple):
    """A span as a record gives it: `text[start:end]`, ends exclusive, in the file's units.

    `name` is the record's name for it, for messages. `words` are the span's words in the record, and `tokens` its
    token bounds in the record: both are compared with the tokens found.
    """

    start: int
    end: int
    label: str
    name: str = "span"
    words: str | None = None
    tokens: tuple[int, int] | None = None
    regions: tuple[Region, ...] = ()


class Aligner:
    """Turns the character offsets of a file's records into token bounds; changes are counted in `repairs`.

    `misaligned` says what becomes of a span that begins or ends inside a token: "error" stops; "expand" widens it to
    whole tokens; "drop" leaves it out; "split" cuts the token in two. Spans that are reversed, empty or outside the
    text are errors, unless "drop" leaves them out too. White space at a span's ends is always left out.
    `offsets` says what the file's offsets count. If they fit only in other units, that is an error. `bounds` says what
    `start` and `end` count; if it is None they count tokens, and `doubt` is told of them.
    """

    def __init__(
        self,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        repairs: Counter[str] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.misaligned, self.units, self.bounds = misaligned, offsets, bounds
        self.doubt = Doubt()
        self.repairs: Counter[str] = Counter() if repairs is None else repairs

    def align(
        self, text: str, spans: Sequence[CharSpan], where: str = "", words: Words | None = None
    ) -> tuple[Words, list[Span | None]]:
        """The tokens of `text` and, for each of `spans`, the tokens that it covers; None for one that is left out.

        `words` are the record's own tokens; without them, the text is cut by `tokenize`. Raises `DataError`.
        """
        words = words or Words(*tokenize(text))
        if not spans:
            return words, []
        if self.units == "characters" and (said := _as_said(spans, text, words.offsets)) is not None:
            return words, said
        places = _Places(text, words)
        told = spans if self.units == "characters" else self._converted(text, spans, where)
        found = [places.exact(span) for span in told]
        if None in found or not all(map(places.agrees, told, found)):
            self._check_units(text, spans, places, where)
            if self.misaligned == "split":
                words, cut = _split(text, words, told)
                self.repairs["token cut in two at the bounds of a span"] += cut
                places = _Places(text, words)
                found = [places.exact(span) for span in told]
            found = [f or self._placed(span, places, where) for span, f in zip(told, found, strict=True)]
            found = [self._agreeing(span, f, places, where) for span, f in zip(told, found, strict=True)]
        return words, [
            None if f is None else Span(*f, span.label, span.regions)
            for span, f in zip(spans, found, strict=True)
        ]

    def _converted(self, text: str, spans: Sequence[CharSpan], where: str) -> list[CharSpan]:
        """The spans counted in characters."""
        at = _characters_at(text, self.units)
        for span in spans:
            for end in (span.start, span.end):
                if end not in at:
                    what = "is outside the text" if end > max(at) or end < 0 else "is inside a character"
                    raise DataError(
                        f"`{span.name}`: {end}, counted in {_UNIT[self.units]}, {what}",
                        where=where,
                        hint='offsets = "characters" is the default',
                        code="offsets.units",
                    )
        return [span._replace(start=at[span.start], end=at[span.end]) for span in spans]

    def _check_units(self, text: str, spans: Sequence[CharSpan], places: _Places, where: str) -> None:
        """Raise `DataError` if all spans would fit the tokens in units other than `self.units`."""
        if text.isascii():
            return
        others: tuple[Units, ...] = ("characters", "utf-16", "bytes")
        for units in others:
            at = _characters_at(text, units)
            if units == self.units or any(s.start not in at or s.end not in at for s in spans):
                continue
            moved = [span._replace(start=at[span.start], end=at[span.end]) for span in spans]
            found = [places.exact(span) for span in moved]
            if None not in found and all(map(places.agrees, moved, found)):
                raise DataError(
                    f"the offsets do not fit, but they would if they counted {_UNIT.get(units, units)}",
                    where=where,
                    hint=f'set offsets = "{units}", or export the file with offsets in characters',
                    code="offsets.units",
                )

    def _placed(self, span: CharSpan, places: _Places, where: str) -> tuple[int, int] | None:
        """The tokens, by the policy, of a span whose bounds are not token bounds."""
        text = places.text
        wrong, code = _fault(span, len(text))
        if not wrong:
            inner = text[span.start : span.end]
            lead = len(inner) - len(inner.lstrip())
            bare = span._replace(start=span.start + lead, end=span.start + lead + len(inner.strip()))
            if bare.start >= bare.end:
                wrong, code = "covers only white space", "offsets.empty"
            elif (found := places.exact(bare)) is not None:
                self.repairs["span with white space at its ends, which is left out of it"] += 1
                return found
            elif self.misaligned == "expand" and (found := places.touched(bare)) is not None:
                self.repairs["span widened to whole tokens"] += 1
                return found
            else:
                wrong, code = places.why(bare), "offsets.misaligned"
        if self.misaligned == "drop":
            self.repairs[f"span left out: it {_KIND[code]}"] += 1
            return None
        shown = f" ({text[span.start : span.end][:40]!r})" if code == "offsets.misaligned" else ""
        hint = _POLICIES if code == "offsets.misaligned" else 'misaligned = "drop" leaves such spans out'
        if counted := _other_count(span, places, code):
            hint = f"if {counted}; {hint}"
        raise DataError(
            f"`{span.name}`, characters {span.start} to {span.end}{shown}, {wrong}",
            where=where,
            hint=hint,
            code=code,
        )

    def _agreeing(
        self, span: CharSpan, found: tuple[int, int] | None, places: _Places, where: str
    ) -> tuple[int, int] | None:
        """The tokens found, if the record's own words and token bounds for the span are the same."""
        if found is None or places.agrees(span, found):
            return found
        if self.misaligned == "drop":
            self.repairs["span left out: it is given twice, and the two differ"] += 1
            return None
        there = places.text[span.start : span.end]
        if span.words is not None and span.words.strip() != there.strip():
            at = places.text.find(span.words)
            begins = f"; these words begin at character {at}" if at >= 0 else ""
            raise DataError(
                f"`{span.name}` says {span.words[:40]!r}, but characters {span.start} to {span.end} are {there[:40]!r}"
                + begins,
                where=where,
                hint="the offsets belong to another form of the text: export text and offsets together",
                code="offsets.words",
            )
        assert span.tokens is not None
        raise DataError(
            f"`{span.name}` says tokens {span.tokens[0]} to {span.tokens[1]}, "
            f"but characters {span.start} to {span.end}, which are tokens {found[0]} to {found[1]}",
            where=where,
            hint="give only one of them, or make both the same",
            code="offsets.disagree",
        )


_KIND = {
    "offsets.reversed": "ends before it begins",
    "offsets.empty": "has no words",
    "offsets.outside": "is outside the text",
    "offsets.misaligned": "begins or ends inside a token",
}


def _other_count(span: CharSpan, places: _Places, code: str) -> str:
    """How a span would fit the tokens if its file counted characters in another usual way; empty if it would not."""
    if code == "offsets.misaligned" and places.exact(span._replace(end=span.end + 1)) is not None:
        return "the ends in this file are those of the last character, add 1 to them"
    if code in ("offsets.misaligned", "offsets.outside") and span.start > 0:
        first = span._replace(start=span.start - 1)
        if places.exact(first._replace(end=span.end - 1)) is not None:
            return "the offsets in this file count from 1, subtract 1 from starts and ends"
        if places.exact(first) is not None:
            return "the starts in this file count from 1, subtract 1 from them"
    return ""


def _fault(span: CharSpan, length: int) -> tuple[str, str]:
    """A problem of a span that does not depend on tokens, and the error's code; empty if there is none."""
    if span.start > span.end:
        return "ends before it begins", "offsets.reversed"
    if span.start == span.end:
        return "is empty", "offsets.empty"
    if span.start < 0 or span.end > length:
        return f"is outside the text, which has {length} characters", "offsets.outside"
    return "", ""


def _as_said(spans: Sequence[CharSpan], text: str, offsets: Offsets) -> list[Span | None] | None:
    """The spans, if the token bounds and words of all are those of their characters: the common case first."""
    found: list[Span | None] = []
    for first, last, label, _, words, tokens, regions in spans:
        if tokens is None:
            return None
        start, end = tokens
        if not 0 <= start < end <= len(offsets) or offsets[start][0] != first or offsets[end - 1][1] != last:
            return None
        if words is not None and text[first:last] != words:
            return None
        found.append(Span(start, end, label, regions))
    return found


class _Places:
    """The begin and end of each token of a text."""

    def __init__(self, text: str, words: Words) -> None:
        self.text, self.words = text, words
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        for i, (start, end) in enumerate(words.offsets):
            if start < end:  # a token without characters has no place
                self.starts.setdefault(start, i)
                self.ends[end] = i + 1

    def exact(self, span: CharSpan) -> tuple[int, int] | None:
        """The tokens that a span covers, if it begins and ends with one."""
        start, end = self.starts.get(span.start), self.ends.get(span.end)
        return (start, end) if start is not None and end is not None and start < end else None

    def agrees(self, span: CharSpan, found: tuple[int, int] | None) -> bool:
        """Whether the record's words and tokens of a span are right."""
        if found is None:
            return False
        if span.words is not None and span.words != self.text[span.start : span.end]:
            return span.words.strip() == self.text[span.start : span.end].strip()
        return span.tokens is None or span.tokens == found

    def touched(self, span: CharSpan) -> tuple[int, int] | None:
        """The tokens that share a character with a span."""
        inside = [
            i for i, (s, e) in enumerate(self.words.offsets) if s < span.end and e > span.start and s < e
        ]
        return (inside[0], inside[-1] + 1) if inside else None

    def why(self, span: CharSpan) -> str:
        """Why a span does not fit the tokens."""
        for at, verb in ((span.start, "begins"), (span.end, "ends")):
            for token, (start, end) in zip(*self.words, strict=True):
                if start < at < end:
                    return f"{verb} inside the token {token[:40]!r}"
        return "covers characters that are in no token"


def _split(text: str, words: Words, spans: Sequence[CharSpan]) -> tuple[Words, int]:
    """The words, cut where a span begins or ends, and how many cuts that took."""
    bare = [(s, text[s.start : s.end]) for s in spans if not _fault(s, len(text))[0]]
    cuts = sorted(
        {s.start + len(inner) - len(inner.lstrip()) for s, inner in bare if inner.strip()}
        | {s.start + len(inner.rstrip()) for s, inner in bare if inner.strip()}
    )
    tokens: list[str] = []
    offsets: list[tuple[int, int]] = []
    for token, (start, end) in zip(*words, strict=True):
        inside = [at for at in cuts[bisect_right(cuts, start) :] if at < end]
        if not inside or text[start:end] != token:
            tokens.append(token)
            offsets.append((start, end))
            continue
        bounds = [start, *inside, end]
        offsets += pairwise(bounds)
        tokens += [text[s:e] for s, e in pairwise(bounds)]
    return Words(tuple(tokens), tuple(offsets)), len(tokens) - len(words.tokens)


def _characters_at(text: str, units: Units) -> dict[int, int]:
    """Place counted in units → place counted in characters, of each character's beginning and of the end."""
    if units == "characters":
        return {i: i for i in range(len(text) + 1)}
    at, places = 0, {}
    for i, character in enumerate(text):
        places[at] = i
        at += (
            len(character.encode("utf-8", "surrogatepass"))
            if units == "bytes"
            else 1 + (character > "\uffff")
        )
    places[at] = len(text)
    return places
