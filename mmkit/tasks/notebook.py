"""Answers as HTML for notebooks: the sentence with what was found in it, tables of the rest, everything escaped.

There are no scripts and no files: styles are in the elements, so that a notebook that is not trusted shows them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

INK = "#111"
"""The colour of text on the colour of a label, in light and dark mode."""
TEXT = "line-height: 2.2; overflow-wrap: anywhere"
MARK = f"color: {INK}; padding: 0.2em 0.3em; border-radius: 0.3em"
BADGE = "font-size: 0.7em; font-weight: bold; margin-left: 0.4em; vertical-align: middle"
CELL = "text-align: left; padding: 0.1em 0.8em 0.1em 0"


class Marked(NamedTuple):
    """Characters `[start, end)` of the text, what they are, and what to say about them."""

    start: int
    end: int
    label: str
    title: str = ""


def marked_text(text: str, spans: Iterable[Marked]) -> str:
    """The text with all spans marked, also those that cross or contain each other; each label stands where it ends."""
    real = sorted({span for span in spans if span.start < span.end}, key=lambda s: (s.start, -s.end, s.label))
    cuts = sorted({0, len(text), *(s.start for s in real), *(s.end for s in real)})
    pieces = []
    for start, end in pairwise(cuts):
        inside = [span for span in real if span.start <= start and end <= span.end]
        piece = escape(text[start:end])
        if inside:
            shortest = min(inside, key=lambda span: span.end - span.start)
            ending = [span for span in reversed(inside) if span.end == end]
            badges = "".join(f'<span style="{BADGE}">{escape(span.label)}</span>' for span in ending)
            title = escape("; ".join(span.title or span.label for span in inside), quote=True)
            style = f"background: {colour(shortest.label)}; {MARK}"
            piece = f'<mark style="{style}" title="{title}">{piece}{badges}</mark>'
        pieces.append(piece)
    return f'<p style="{TEXT}">{"".join(pieces) or escape(text)}</p>'


def colour(label: str) -> str:
    """A light background that a label always has, in every page of mmkit, as CSS; `INK` can be read on it."""
    digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return f"hsl({int.from_bytes(digest, 'big') % 360}, 75%, 85%)"


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table with a caption; empty if there are none."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f'<th style="{CELL}">{escape(str(column))}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{cell(row.get(column))}</td>' for column in columns) + "</tr>"
        for row in rows
    )
    caption = f'<caption style="{CELL}"><b>{escape(name)}</b></caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return ""
    return escape(f"{value:.3f}" if isinstance(value, float) else str(value))


def article(text: str, tables: Iterable[str], images: Sequence[str | None], remarks: Iterable[str]) -> str:
    """All of an answer: its marked text, its tables, the names of its images, and remarks, which are plain text."""
    photos = "".join(f"<li>{escape(path or 'a blank image')}</li>" for path in images)
    photos = f"<ul>{photos}</ul>" if photos else ""
    told = "".join(f"<p><i>{escape(remark)}</i></p>" for remark in remarks)
    return f'<article class="mmkit-answer">{text}{"".join(tables)}{photos}{told}</article>'
