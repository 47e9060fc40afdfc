"""What `start` and `end` of spans count, tokens or characters, if a file does not say it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from mmkit.data.types import Span

Bounds = Literal["tokens", "characters"]

_SHOWN = 40


class Doubt:
    """Whether the spans of a file, which are read as tokens, could be characters as well.

    That is so if every span of every record begins and ends with a token by either reading. Few files are like that:
    if one span does not fit characters, there is no doubt about the others.
    """

    def __init__(self) -> None:
        self._open, self._count, self._first = True, 0, ""

    def look(
        self,
        text: str,
        tokens: Sequence[str],
        offsets: Sequence[tuple[int, int]],
        spans: Sequence[Span],
        where: str,
    ) -> None:
        """Look at the spans of one record, which count tokens."""
        if not self._open or not spans:
            return
        starts = {start: i for i, (start, end) in enumerate(offsets) if start < end}
        ends = {end: i + 1 for i, (start, end) in enumerate(offsets) if start < end}
        for span in spans:
            start, end = starts.get(span.start), ends.get(span.end)
            if start is None or end is None or start >= end:
                self._open = False
                return
            if (start, end) != (span.start, span.end):
                self._count += 1
                as_tokens = " ".join(tokens[span.start : span.end])[:_SHOWN]
                as_characters = text[span.start : span.end][:_SHOWN]
                self._first = (
                    self._first or f"{where} names {as_tokens!r}, or {as_characters!r} by characters"
                )

    def tell(self, repairs: Counter[str]) -> None:
        """Count the doubtful spans in `repairs`, after the last record."""
        if self._open and self._count:
            repairs[
                "span read as tokens, though its start and end, like all in the file, fit characters too "
                f"({self._first}); "
                'the setting bounds = "tokens" or "characters" decides it'
            ] += self._count


def in_characters(head: bytes) -> bool:
    """Whether the records at the beginning of a file have `start` and `end`, and no tokens that these could count.

    The first record with spans decides.
    """
    for line in head.decode("utf-8", "replace").removeprefix("\ufeff").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        spans = record.get("spans") if isinstance(record, dict) else None
        if isinstance(spans, list) and spans:
            first = spans[0]
            return isinstance(first, dict) and {"start", "end"} <= first.keys() and not record.get("tokens")
    return False


def as_characters(record: Any) -> Any:
    """A record whose `start` and `end` count characters, with the names that say so: `start_char` and `end_char`."""
    if not isinstance(record, dict):
        return record
    changed = {**record}
    if isinstance(record.get("spans"), list):
        changed["spans"] = [_renamed(span) for span in record["spans"]]
    if isinstance(record.get("relations"), list):
        changed["relations"] = [_each(relation, ("head", "tail")) for relation in record["relations"]]
    if "mention" in record:
        changed["mention"] = _each(record["mention"], ("span",))
    return changed


def _each(value: Any, keys: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _renamed(item) if key in keys else item for key, item in value.items()}


def _renamed(span: Any) -> Any:
    if not isinstance(span, dict) or "start_char" in span or "end_char" in span:
        return span
    names = {"start": "start_char", "end": "end_char"}
    return {names.get(key, key): value for key, value in span.items()}
