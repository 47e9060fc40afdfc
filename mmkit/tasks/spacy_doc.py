"""Answers as documents of spaCy, which need not be installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.errors import DataError, PartError

if TYPE_CHECKING:
    from mmkit.tasks.answer import Words

KEY = "mmkit"
"""The key of the document's `spans` and `user_data`."""


def document(
    text: str,
    tokens: Sequence[str],
    offsets: Sequence[tuple[int, int]],
    spans: Iterable[tuple[Words, float, str]],
    data: dict[str, Any],
    vocab: Any = None,
) -> Any:
    """A spaCy `Doc` of a text. Each of `spans` is words, their score, and the id of their entity (empty: none).

    See `Answer.to_spacy`. Raises `PartError` if spaCy is missing, and `DataError` for tokens that are not in the text.
    """
    spacy = _spacy()
    words, spaces, places = _laid_out(text, tokens, offsets)
    doc = spacy.tokens.Doc(vocab or spacy.blank("xx").vocab, words=words, spaces=spaces)
    found, scores = [], []
    for words_of, score, id in spans:
        bounds = places[words_of.start], places[words_of.end - 1] + 1
        found.append(spacy.tokens.Span(doc, *bounds, label=words_of.label, kb_id=id))
        scores.append(score)
    doc.spans[KEY] = spacy.tokens.SpanGroup(doc, name=KEY, spans=found, attrs={"scores": scores})
    doc.ents = spacy.util.filter_spans([span for span in found if span.label_])
    doc.user_data[KEY] = data
    return doc


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
        import spacy.util
    except ImportError as error:
        raise PartError(
            "a document of spaCy needs spaCy, which is not installed",
            where="to_spacy",
            hint='pip install "mmkit-core[spacy]"; or use answer.to_dict(), which needs nothing',
            code="part.no-spacy",
        ) from error
    return spacy


def _laid_out(
    text: str, tokens: Sequence[str], offsets: Sequence[tuple[int, int]]
) -> tuple[list[str], list[bool], list[int]]:
    """Words, whether a space follows each, and the place of each token: spaCy's tokens cover the whole text.

    One space belongs to the token before it; everything else between tokens becomes a token.
    """
    words: list[str] = []
    spaces: list[bool] = []
    places: list[int] = []
    at = 0
    for token, (start, end) in zip([*tokens, ""], [*offsets, (len(text), len(text))], strict=True):
        if start < at or text[start:end] != token:
            raise DataError(
                f"the token {token!r} is not in the text, after the one before it",
                where="to_spacy",
                hint="spaCy's tokens are parts of the text, in order",
                code="data.token-not-in-text",
            )
        gap = text[at:start]
        if gap.startswith(" ") and words:
            spaces[-1], gap = True, gap[1:]
        for word in (gap, token):
            if word:
                places += [len(words)] * (word is token)
                words.append(word)
                spaces.append(False)
        at = end
    return words, spaces, places
