"""A small tokeniser for users' own sentences, similar to the tokens of the published tweets."""

from __future__ import annotations

import re

_MARKS = "\u0300-\u036f"  # combining accents, which \w leaves out
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf"
_JOIN = "[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]"  # variation selector, keycap, skin tones

_CLITIC = r"['’](?:s|re|ve|ll|d|m)\b"
_CJK = "\u3040-\u30ff\u3400-\u9fff"

_TOKEN = re.compile(
    rf"""
      (?:https?://|www\.)[^\s<>"]*[^\s<>".,;:!?'’”)\]}}]  # URLs, without the sentence's own punctuation
    | [\w.+-]{{1,64}}@\w[\w-]*(?:\.\w[\w-]*)+           # e-mail addresses
    | [@#]\w[\w{_MARKS}]*                               # mentions and hashtags
    | (?:[A-Za-z]\.){{2,}}                              # U.S.
    | {_CLITIC}                                         # Cosby 's, I 'm
    | \d+(?:[.,:]\d+)*%?(?![\w{_MARKS}])                # numbers, times, percentages
    | [{_CJK}]                                          # Japanese and Chinese characters, one by one
    | (?: [^\W{_CJK}] (?: [{_MARKS}] | (?!{_CLITIC})['’](?=\w) | [-&](?=\w) )* )+   # don't, well-known, AT&T
    | [{_EMOJI}]{_JOIN}* (?: \u200d[{_EMOJI}]{_JOIN}* )*    # emoji with what is joined to them
    | \.{{2,}} | -{{2,}}
    | \S                                                # any other character by itself
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokenize(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Tokens and their character bounds: `text[start:end] == token`, in order; only white space is left out.

    >>> tokenize("RT @WLWT: Bill Cosby's star, http://t.co/x.")[0]
    ('RT', '@WLWT', ':', 'Bill', 'Cosby', "'s", 'star', ',', 'http://t.co/x', '.')
    """
    found = list(_TOKEN.finditer(text))
    return tuple(m.group() for m in found), tuple(m.span() for m in found)
