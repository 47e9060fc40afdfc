"""A user's own sentence as an example, and words found in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Image, Span
from mmkit.errors import DataError


def plain_example(
    text: str | Sequence[str], images: Sequence[str | Path | Image | None] | None, id: str
) -> Example:
    """An example of a sentence (or its tokens) and images; None means no image.

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
    sizes = [len(token.split()) for token in tokens]
    if sizes and (max(sizes) > 2 or min(sizes) > 1):
        raise DataError(
            "this is a list of sentences, not of one sentence's tokens",
            where=id,
            hint="for several, call predict_batch([model.example(sentence) for sentence in sentences])",
            code="input.text",
        )
    return tokens


def _pictures(images: Sequence[str | Path | Image | None] | None, id: str) -> tuple[Image, ...]:
    if images is None:
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
        if image is None:
            continue
        if not isinstance(image, str | os.PathLike | Image):
            raise DataError(
                f"an image is a path or an Image, not a {type(image).__name__}",
                where=id,
                hint="save it to a file first",
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
