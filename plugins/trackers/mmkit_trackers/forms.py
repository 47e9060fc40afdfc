"""Recipes and tables in the forms that trackers show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~])")


def flat(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """A recipe's settings by dotted name, as texts; lists and empty sections are JSON."""
    for name, value in config.items():
        path = f"{at}.{name}" if at else str(name)
        if isinstance(value, Mapping) and value:
            yield from flat(value, path)
        else:
            yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def code_block(text: str) -> str:
    """A text as it is, in Markdown."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; what a text has of Markdown is shown, not followed."""
    head = [_row(columns), "|" + "---|" * len(columns)]
    return "\n".join([*head, *map(_row, rows)]) + "\n"


def _row(values: Sequence[Any]) -> str:
    return "| " + " | ".join(map(_cell, values)) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return "<br>".join(MARKDOWN.sub(r"\\\1", line) for line in str(value).splitlines())
