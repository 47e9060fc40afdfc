"""A small tokeniser for users' own sentences, similar to the tokens of the published tweets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from mmkit.errors import DataError

_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf"
_FLAG = "\U0001f1e6-\U0001f1ff"  # two of these letters are a flag
_JOINED = (
    "\U0001f3fb-\U0001f3ff\u200c\u200d\U000e0020-\U000e007f"  # skin tones, joiners, tags of regions' flags
)

_CLITIC = r"['’](?i:s|re|ve|ll|d|m)\b"
_CJK = "\u3040-\u30ff\u3400-\u9fff"


def tokenize(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Tokens and their character bounds: `text[start:end] == token`, in order; only white space is left out.

    What a reader sees as one character (a letter with its accents, a flag, a keycap, joined emoji) is never cut: bounds
    are those of grapheme clusters (Unicode Standard Annex 29).

    >>> tokenize("RT @WLWT: Bill Cosby's star, http://t.co/x.")[0]
    ('RT', '@WLWT', ':', 'Bill', 'Cosby', "'s", 'star', ',', 'http://t.co/x', '.')
    """
    found = list(_pattern().finditer(text))
    return tuple(m.group() for m in found), tuple(m.span() for m in found)


def joined_bounds(tokens: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """The character bounds of tokens in the text that joins them by single spaces.

    >>> joined_bounds(("Jordan", "!"))
    ((0, 6), (7, 8))
    """
    bounds, start = [], 0
    for length in map(len, tokens):  # a plain loop is the fastest way
        end = start + length
        bounds.append((start, end))
        start = end + 1
    return tuple(bounds)


def token_bounds(
    text: str, offsets: Sequence[tuple[int, int]], start: int, end: int, where: str = ""
) -> tuple[int, int]:
    """The tokens [first, last + 1) of the characters `text[start:end]`, which begin and end with tokens.

    Raises `DataError`, with `where`, if they do not; `mmkit.data.alignment` does more than that.
    """
    first = next((i for i, (begins, _) in enumerate(offsets) if begins == start), None)
    last = next((i for i, (_, ends) in enumerate(offsets) if ends == end), None)
    if first is None or last is None or last < first:
        tokens = " | ".join(text[a:b] for a, b in offsets)
        raise DataError(
            f"the characters [{start}, {end}), {text[max(start, 0) : max(end, 0)]!r}, are not whole tokens",
            where=where,
            hint=f"the tokens are: {tokens}",
            code="offsets.misaligned",
        )
    return first, last + 1


@cache
def _pattern() -> re.Pattern[str]:
    """One token. It is compiled when it is first wanted: the marks of all scripts are collected for it."""
    marks = _marks()
    within = f"{marks}\u200c\u200d"
    return re.compile(
        rf"""
      [A-Za-z0-9_]+(?=\s|\Z)                              # the common case first
    | (?:
        (?i:https?://|www\.)[^\s<>"]*[^\s<>".,;:!?'’”)\]}}]  # URLs, without the sentence's own punctuation
      | [\w.+-]{{1,64}}@\w[\w-]*(?:\.\w[\w-]*)+           # e-mail addresses
      | [0-9#*]\ufe0f?\u20e3                              # keycaps
      | [@#]\w[\w{marks}]*                                # mentions and hashtags
      | (?:[A-Za-z]\.){{2,}}                              # U.S.
      | {_CLITIC}                                         # Cosby 's, I 'm
      | \d+(?:[.,:]\d+)*%?(?![\w{marks}])                 # numbers, times, percentages
      | [{_CJK}]                                          # Japanese and Chinese characters, one by one
      | (?: [^\W{_CJK}] (?: [{within}] | (?!{_CLITIC})['’](?=\w) | [-&](?=\w) )* )+   # don't, well-known, AT&T
      | [{_FLAG}]{{2}}                                    # flags
      | [{_EMOJI}][{marks}{_JOINED}]* (?: (?<=\u200d) [{_EMOJI}][{marks}{_JOINED}]* )*    # and what is joined to them
      | \.{{2,}} | -{{2,}}
      | \S                                                # any other character by itself
      )
      [{marks}{_JOINED}]*                                 # and the marks on its last character
    """,
        re.VERBOSE,
    )


def _marks() -> str:
    """Accents, vowel signs, variation selectors and the like, which `\\w` leaves out, as ranges of a class."""
    ranges: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
