"""A user's own sentence as an example, and words found in it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Image, Span
from mmkit.errors import DataError

SPACE = re.compile(r"[^\S\u00a0\u202f]")
"""White space between words. A token such as "10\u00a0000" may have a no-break space in it."""

SHORT = 60
"""The number of characters of a wrong text that a message shows."""


def is_missing(value: object) -> bool:
    """Whether a cell of a column is empty: None, NaN, or what pandas uses for it (`NA`, `NaT`)."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def plain_example(
    text: str | Sequence[str], images: Sequence[str | Path | Image | None] | None, id: str
) -> Example:
    """An example of a sentence (or its tokens) and images; None (or NaN) means no image.

    Raises `DataError` for several sentences, text that is not Unicode, and images that are neither paths nor `Image`s.
    """
    tokens = None if isinstance(text, str) else _tokens(text, id)
    try:
        "".join([text] if isinstance(text, str) else tokens or ()).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "the text is not valid Unicode", where=id, hint="give it in UTF-8", code="input.not-unicode"
        ) from error
    pictures = _pictures(images, id)
    if tokens is not None:
        return Example.from_tokens(id, tokens, images=pictures)
    found, offsets = tokenize(str(text))
    return Example(id, str(text), tuple(found), tuple(offsets), pictures)


def _tokens(text: Any, id: str) -> tuple[str, ...]:
    """The tokens of one sentence; several sentences are refused."""
    wrong = (
        [text] if not isinstance(text, Iterable) else [token for token in text if not isinstance(token, str)]
    )
    if wrong:
        raise DataError(
            f"a sentence is a string, or a list of its tokens, not {wrong[0]!r}",
            where=id,
            hint='predict("Jordan scores again")',
            code="input.text",
        )
    tokens = tuple(text)
    sentence = next((token for token in tokens if SPACE.search(token.strip())), None)
    if sentence is not None:
        shown = shorten(sentence, SHORT, placeholder=" ...")
        raise DataError(
            f"this is a list of sentences, not of one sentence's tokens: {shown!r} has white space in it",
            where=id,
            hint="for several sentences, call predict_many([...]); for tokens with spaces in them, "
            "predict_batch([Example.from_tokens(id, tokens)])",
            code="input.text",
        )
    return tokens


def _pictures(images: Sequence[str | Path | Image | None] | None, id: str) -> tuple[Image, ...]:
    if images is None or is_missing(images):
        return ()
    if isinstance(images, str | os.PathLike | Image):
        raise DataError(
            "images is one path, not a list of them",
            where=id,
            hint=f"images=[{_path(images)!r}]",
            code="input.images",
        )
    pictures = []
    for image in images:
        if is_missing(image):
            continue
        if not isinstance(image, str | os.PathLike | Image):
            raise DataError(
                f"an image is a path or an Image, not a {type(image).__name__}",
                where=id,
                hint="predict() and predict_many() take an image, bytes or a NumPy array too; else save it to a file",
                code="input.images",
            )
        pictures.append(image if isinstance(image, Image) else Image(str(image)))
    return tuple(pictures)


def _path(image: object) -> str:
    return str(image.path if isinstance(image, Image) else image)


def find_span(example: Example, wanted: str | tuple[int, int], role: str) -> Span:
    """The span, labelled `role`, of token bounds, or of words at their first occurrence in the text as whole tokens.

    Raises `DataError` if there is none.
    """
    if not isinstance(wanted, str):
        start, end = wanted
        if end > len(example.tokens):
            raise DataError(
                f"{role} ends at token {end} of {len(example.tokens)}",
                where=example.id,
                code="input.span-outside",
            )
        return Span(start, end, role)
    words, _ = tokenize(wanted)
    for start in range(len(example.tokens) - len(words) + 1 if words else 0):
        if list(example.tokens[start : start + len(words)]) == list(words):
            return Span(start, start + len(words), role)
    raise DataError(
        f"{role} {wanted!r} does not occur in the text as whole words",
        where=example.id,
        hint="tokens are: " + " | ".join(example.tokens),
        code="input.not-in-text",
    )
