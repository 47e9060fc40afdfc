"""Messages of readers and writers, in one form: what is wrong, in which file and record, and what to do."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from mmkit.errors import DataError


def wrong(what: str, where: object, hint: str, *, code: str) -> DataError:
    """An error of this package."""
    return DataError(what, where=where, hint=hint, code=code)


def shown(value: Any, length: int = 60) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def not_this_format(what: str, where: object, expected: str, value: Any = None) -> NoReturn:
    """Refuse a file of another format; the message names the reader that probably fits."""
    meant = looks_like(value)
    hint = f"this looks like a file for --reader {meant}" if meant else expected
    raise DataError(what, where=where, hint=hint, code="formats.other-format")


def first_record(head: bytes) -> Any:
    """The first JSON object in the first bytes of a file of JSON lines or of a JSON list; None if there is none."""
    text = head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    if text[:1] == "[":
        text = text[1:].lstrip()
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def looks_like(value: Any) -> str:
    """The short name of the reader for a record (or file) that holds this JSON value; empty if none is known."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return ""
    keys = value.keys()
    if {"format", "kind"} <= keys or ("tokens" in keys and "offsets" in keys):
        return "jsonl"
    if "data" in keys and keys & {"annotations", "predictions", "drafts"}:
        return "label-studio"
    if keys & {"_input_hash", "_task_hash", "_view_id"} or _tokens_of_prodigy(value.get("tokens")):
        return "prodigy"
    if "text" in keys and _spans_of_doccano(value):
        return "doccano"
    tokens = value.get("tokens")
    words = isinstance(tokens, list) and bool(tokens) and isinstance(tokens[0], str)
    if words or _spans_by(value.get("spans"), {"start_char", "end_char"}):
        return "jsonl"
    if not _spans_by(value.get("spans"), {"start", "end"}):
        return ""
    return "jsonl" if "images" in keys else "prodigy"  # a task of Prodigy has one `image`


def _tokens_of_prodigy(tokens: Any) -> bool:
    return _spans_by(tokens, {"text", "start", "end"})


def _spans_by(spans: Any, keys: Collection[str]) -> bool:
    first = spans[0] if isinstance(spans, list) and spans else None
    return isinstance(first, dict) and first.keys() >= set(keys)


def _spans_of_doccano(record: dict[str, Any]) -> bool:
    if _spans_by(record.get("entities"), {"start_offset", "end_offset"}):
        return True
    return are_triples(record.get("label", record.get("labels"))) or are_triples(record.get("entities"))


def are_triples(labels: Any) -> bool:
    """Whether these are spans as `[start, end, label]`."""
    first = labels[0] if isinstance(labels, list) and labels else None
    return isinstance(first, list) and len(first) == 3
