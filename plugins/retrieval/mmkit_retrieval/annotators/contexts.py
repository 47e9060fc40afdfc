"""From search results to the context of an example: which hits are used, the joined text, and the sources."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from mmkit.data.types import SOURCES, Example
from mmkit_retrieval.retrieved import Retrieved

TEXT_CONTEXT = "retrieval.text_context"
"""Note key: the results of text retrieval, joined to one string."""

IMAGE_CONTEXT = "retrieval.image_context"
"""Note key: the results of image retrieval, joined to one string."""

SPARE = 5
"""How many more hits than `top` to ask for, so that `top` remain if some are left out."""

_SHOWN = 200
_ADDRESSED = re.compile(r"(?:https?://|www\.)\S+|\brt\b(?=\s*@)|@\w+(?:\s_\s\w+)*", re.IGNORECASE)


def choose(found: Iterable[Retrieved], example: Example, top: int) -> list[Retrieved]:
    """The first `top` of `found`, without repeated texts and without the sentence of the example itself.

    A hit is left out if its text or caption is the sentence of the example. This happens if the posts, or copies of
    them, are in the corpus. Two texts count as the same in either of two cases:

    - They are equal in Unicode's compatibility form, without regard to case and white space.
    - Their letters and digits are equal after web addresses, `@names` and the `RT` before them are removed. So a repost
      with another short link is the same post. This does not apply if nothing is left of a text.

    A longer paragraph that quotes the sentence is kept.
    """
    guarded = {form for text in (example.text, " ".join(example.tokens)) for form in _forms(text)}
    seen: set[str] = set()
    chosen: list[Retrieved] = []
    for hit in found:
        passage = _passage(hit)
        leak = not guarded.isdisjoint(_forms(hit.text) | _forms(hit.caption))
        if passage and passage not in seen and not leak:
            seen.add(passage)
            chosen.append(hit)
        if len(chosen) == top:
            break
    return chosen


def join(found: Iterable[Retrieved], max_words: int) -> str:
    """Captions and texts of `found`, in order, as one line of at most `max_words` words, separated by white space."""
    return " ".join(" ".join(_passage(hit) for hit in found).split()[:max_words])


def packed(found: Sequence[Retrieved], context: str) -> dict[str, Any]:
    """The stored result of an annotator, as JSON: the whole context, and the hits with shortened texts."""
    return {"context": context, "found": [asdict(_shortened(hit)) for hit in found]}


def unpacked(result: Mapping[str, Any]) -> tuple[list[Retrieved], str]:
    """The hits and the context of a stored result."""
    return [Retrieved(**hit) for hit in result["found"]], result["context"]


def with_context(example: Example, key: str, by: str, found: Sequence[Retrieved], context: str) -> Example:
    """`example` with the context as note `key` (none if it is empty) and `found` among its sources.

    Context and sources of an earlier run of the part `by` are replaced; those of other parts stay. A source has `by`,
    `id`, `article`, `title`, `score` and `text` (about 200 characters). The source of an image has `caption` and
    `image` as well.
    """
    notes = {name: note for name, note in example.notes.items() if name != key}
    if context:
        notes[key] = context
    others = [source for source in notes.pop(SOURCES, []) if source.get("by") != by]
    if sources := [*others, *(_source(by, hit) for hit in found)]:
        notes[SOURCES] = sources
    return replace(example, notes=notes)


def _passage(hit: Retrieved) -> str:
    """The text that a hit adds to a context."""
    return " ".join(f"{hit.caption} {hit.text}".split())


def _forms(text: str) -> set[str]:
    """The forms of a text that `choose` compares."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    letters = "".join(c for c in _ADDRESSED.sub(" ", plain) if c.isalnum())
    return {form for form in (plain, letters) if form}


def _shortened(hit: Retrieved) -> Retrieved:
    text = " ".join(hit.text.split())
    return replace(hit, text=text if len(text) <= _SHOWN else text[: _SHOWN - 1].rstrip() + "…")


def _source(by: str, hit: Retrieved) -> dict[str, Any]:
    known = {name: value for name, value in asdict(_shortened(hit)).items() if value != ""}
    return {"by": by, **known}
