"""Wikitext that the parser takes very long for: tags and links that nobody closes.

The parser's fast tokenizer, in C, tries each of them again for each later one, and no signal ends it meanwhile. The
slow one, in Python, can be ended by `time_limit`.
"""

from __future__ import annotations

import re
from threading import Lock

import mwparserfromhell
from mwparserfromhell import parser
from mwparserfromhell.wikicode import Wikicode

MOST = 50_000_000
"""The largest number of tags and links that are not closed, times the length of the text, for the fast tokenizer: it
looks for the end of each of them, and takes about 10 seconds for twice as much."""

_UNCLOSED = (
    re.compile(r"</?[A-Za-z][^<>]*(?=<|\Z)"),
    re.compile(r"""<[A-Za-z][^<>"']*("[^<>"]*|'[^<>']*)>"""),  # the mark of a quotation is not closed
    re.compile(r"\[(\w+:|//)[^\[\]\n]*(?=\[|\n|\Z)"),
)

_one_at_a_time = Lock()


def parsed(text: str) -> Wikicode:
    """The text's nodes. Raises `mwparserfromhell.parser.ParserError`."""
    if all(sum(1 for _ in kind.finditer(text)) * len(text) <= MOST for kind in _UNCLOSED):
        return mwparserfromhell.parse(text, skip_style_tags=True)
    with _one_at_a_time:  # the choice is the module's
        before, parser.use_c = parser.use_c, False
        try:
            return mwparserfromhell.parse(text, skip_style_tags=True)
        finally:
            parser.use_c = before
