"""Answers as HTML for notebooks: the sentence with what was found in it, tables of the rest, everything escaped.

It looks as in a report, whose page uses the same style (`answer_style`). There are no scripts and no files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

INK = "#111"
"""The colour of text on the colour of a label, in light and dark mode."""
SIDE = 320
"""The longer side of a photo's copy, in pixels."""
CROP_SIDE = 96
"""The same of an object's or an entity's picture."""


class Marked(NamedTuple):
    """Tokens `[start, end)` of the sentence, their label, what is written on it, and what to say about them."""

    start: int
    end: int
    label: str
    text: str = ""
    title: str = ""


@cache
def answer_style() -> str:
    """The CSS of answers. All of it is inside the class `mmkit-answer`."""
    return (files("mmkit.tasks") / "answer.css").read_text(encoding="utf-8")


def sentence(text: str, offsets: Sequence[tuple[int, int]], spans: Iterable[Marked]) -> str:
    """The text with a line and a label below each span; spans that cross or contain each other are in several lanes.

    `offsets` are the tokens' bounds in characters.
    """
    lanes = _lanes({span for span in spans if span.start < span.end})
    if not offsets:
        return f'<p class="sentence">{escape(text)}</p>'
    inside = {i for lane in lanes for span in lane for i in range(span.start, span.end - 1)}
    pieces = []
    for i, (start, end) in enumerate(offsets):
        after = offsets[i + 1][0] if i + 1 < len(offsets) else len(text)
        words = text[0 if i == 0 else start : after if i in inside else end]
        below = "".join(_lane(lane, i, offsets) for lane in lanes)
        pieces.append(f'<span class="segment"><span>{escape(words)}</span>{below}</span>')
        if i not in inside and end < after:
            pieces.append(f'<span class="gap">{escape(text[end:after])}</span>')
    return f'<p class="sentence">{"".join(pieces)}</p>'


def _lanes(spans: Iterable[Marked]) -> list[list[Marked]]:
    """Spans in as few lanes as they need not to overlap."""
    lanes: list[list[Marked]] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.label, s.text)):
        free = next((lane for lane in lanes if lane[-1].end <= span.start), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def _lane(lane: Sequence[Marked], token: int, offsets: Sequence[tuple[int, int]]) -> str:
    """What a lane has below a token. A label lies below its whole span if it is shorter than the words."""
    span = next((span for span in lane if span.start <= token < span.end), None)
    if span is None:
        return '<span class="lane said none">\u00a0</span>'
    title = escape(span.title or span.text or span.label)
    shown = "\u00a0"
    if span.start == token:
        text = span.text or span.label
        over = len(text) < offsets[span.end - 1][1] - offsets[token][0]
        shown = f"<span{' class=over' if over else ''}>{badge(span.label, text)}</span>"
    return f'<span class="lane said" title="{title}">{shown}</span>'


def badge(label: str, text: str) -> str:
    """A text in the colours of a label."""
    return f'<span class="label" style="background: {colour(label)}; color: {INK}">{escape(text)}</span>'


def colour(label: str) -> str:
    """A light background that a label always has, in every page of mmkit, as CSS; `INK` can be read on it."""
    digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return f"hsl({int.from_bytes(digest, 'big') % 360}, 75%, 85%)"


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table with a caption; empty if there are none."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {c for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)}
    kinds = {column: ' class="number"' if column in numeric else "" for column in columns}
    head = "".join(f"<th{kinds[column]}>{escape(str(column))}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{kinds[column]}>{cell(row.get(column))}</td>" for column in columns) + "</tr>"
        for row in rows
    )
    caption = f"<caption>{escape(name)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return ""
    return escape(f"{value:.3f}" if isinstance(value, float) else str(value))


def article(parts: Iterable[str], remarks: Iterable[str]) -> str:
    """All of an answer: its parts, which are HTML, with their style; and remarks, which are plain text."""
    told = "".join(f'<p class="wrong">{escape(remark)}</p>' for remark in remarks)
    return f'<article class="mmkit-answer"><style>{answer_style()}</style>{"".join(parts)}{told}</article>'
