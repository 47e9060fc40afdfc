"""Folders of posts as people have them, for tests of `mmkit init`: 60 posts with drawn photos in any format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Image, Relation, Span

NAMES = {"Jordan": "PER", "Paris": "LOC", "Nike": "ORG"}


def posts(number: int = 60, pictures: str = "photos", relations: bool = False) -> list[Example]:
    """Posts of a name and a place; `pictures` is the folder that their paths name."""
    made = []
    for i in range(number):
        name, label = list(NAMES.items())[i % 3]
        text = f"we saw {name} near Rome on day {i}"
        tokens, offsets = tokenize(text)
        spans = (Span(2, 3, label), Span(4, 5, "LOC"))
        links = (Relation(spans[0], spans[1], "seen_at"),) if relations else ()
        images = (Image(f"{pictures}/{i}.png" if pictures else f"{i}.png"),)
        made.append(Example(f"post{i}", text, tokens, offsets, images=images, spans=spans, relations=links))
    return made


def draw(folder: Path, number: int = 60) -> None:
    """The photos of the posts."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Picture.new("RGB", (8, 8), (4 * i, 0, 0)).save(folder / f"{i}.png")


def jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def by_tokens(example: Example) -> dict[str, Any]:
    return {
        "tokens": list(example.tokens),
        "spans": [{"start": s.start, "end": s.end, "label": s.label} for s in example.spans],
        "images": [image.path for image in example.images],
    }


def by_characters(example: Example) -> dict[str, Any]:
    spans = [
        {
            "start_char": example.offsets[s.start][0],
            "end_char": example.offsets[s.end - 1][1],
            "label": s.label,
        }
        for s in example.spans
    ]
    return {"text": example.text, "spans": spans, "images": [image.path for image in example.images]}
