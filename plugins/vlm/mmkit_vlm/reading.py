"""From a model's answer to JSON of the expected form; nothing that a model says raises."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Any

from mmkit_chat.answers import Answer

MOST_ITEMS = 500
"""An answer with more items than this is cut: a sentence has fewer."""

FORM = "items of another form"
LABEL = "labels that are not among those asked for"
MANY = "items after the first 500"

_BEGINS = re.compile(r"\{(?=\s*[\"}])")

MOST_WORK = 1_000_000
"""The characters that are parsed in search of an object, or eight times the answer's own if these are more."""


def json_of(answer: Answer, keys: Set[str]) -> dict[str, Any] | str:
    """The first JSON object in an answer that has one of `keys`, or why there is none.

    Words and a code fence around it do not matter. An object inside one that is cut or damaged has other keys.
    """
    text = answer.without_thoughts()
    work = max(MOST_WORK, 8 * len(text))
    for found in _BEGINS.finditer(text):
        value, parsed = _object(text, found.start())
        if keys & value.keys():
            return value
        work -= parsed
        if work < 0:
            break
    if answer.truncated:
        return "the answer ends in the middle, at max_tokens"
    return f"the answer has no JSON object with {' or '.join(sorted(keys))}"


def _object(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The object that begins at `start`, empty if there is none, and how many characters were parsed."""
    try:
        # models write line breaks in strings as they are
        value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        whole = error.msg.startswith("Unterminated")  # then `pos` is where the text begins that has no end
        return {}, len(text) if whole else error.pos + 1  # the error counts all lines before it
    except (ValueError, RecursionError):
        return {}, len(text) - start
    return value, end - start


def items(
    value: dict[str, Any], key: str, fields: Sequence[str], dropped: Counter[str]
) -> Iterator[tuple[str, ...]]:
    """The fields of each object of the list `value[key]`, all of them texts that are not empty; others are counted."""
    listed = value.get(key)
    if not isinstance(listed, list):
        dropped[FORM] += 1
        return
    if len(listed) > MOST_ITEMS:
        dropped[MANY] += len(listed) - MOST_ITEMS
    for item in listed[:MOST_ITEMS]:
        texts = [item.get(field) for field in fields] if isinstance(item, dict) else [None]
        if all(isinstance(text, str) and text.strip() for text in texts):
            yield tuple(texts)  # type: ignore[arg-type]
        else:
            dropped[FORM] += 1


def label_of(given: str, labels: Sequence[str], dropped: Counter[str]) -> str | None:
    """The label that is meant, whatever its case; None, and counted, if there is none."""
    if given in labels:
        return given
    same = [label for label in labels if label.lower() == given.strip().lower()]
    if len(same) == 1:
        return same[0]
    dropped[LABEL] += 1
    return None
