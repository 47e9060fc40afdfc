"""Examples as the page shows them: gold and predicted items, images, links with entities, and retrieved contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmkit import Entity, Example, Prediction, Relation, Span
from mmkit.data.types import CUT, SOURCES
from mmkit.tasks.notebook import CROP_SIDE, SIDE
from mmkit_report.findings import KINDS, Finding, Kind, severity
from mmkit_report.thumbnails import Thumbnails

BEST = 5
"""Links that are shown."""
MOST_TOKENS = 1_000_000_000
MOST_TEXT = 600
"""Characters of a description or of a retrieved text that are shown."""


def example_record(example: Example, images: Thumbnails) -> dict[str, Any]:
    """What does not depend on a run. Spans are [start, end, label], counted in tokens."""
    photos = [i for i, image in enumerate(example.images) if image.role == "photo"]
    record: dict[str, Any] = {
        "id": example.id,
        "text": example.text,
        "offsets": [list(bounds) for bounds in example.offsets],
        "spans": [_span(span) for span in example.spans],
        "relations": [_relation(relation) for relation in example.relations],
        "images": [
            {
                "role": image.role,
                "image": images.add(image, CROP_SIDE if image.role == "object" else SIDE),
                **({"box": list(image.box)} if image.box else {}),
                **({"photo": photo} if (photo := _same_file(example, i, photos)) is not None else {}),
            }
            for i, image in enumerate(example.images)
        ],
    }
    place = None if example.mention is None else example.mention.span
    optional = {
        "regions": _regions(example.spans),
        "mention": None if example.mention is None else example.mention.text,
        "at": None if place is None else _span(place),
        "entity": example.entity,
        "sources": [_source(source) for source in _sources(example.notes)],
    }
    return {**record, **{name: value for name, value in optional.items() if value}}


def _same_file(example: Example, i: int, photos: Sequence[int]) -> int | None:
    """The photo that an image's box is cut out of."""
    image = example.images[i]
    if image.box is None or image.role == "photo":
        return None
    return next((photo for photo in photos if example.images[photo].path == image.path), None)


def _regions(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """The places in images that show what spans name; `span` is a span's place in the list."""
    return [
        {"span": i, "image": region.image, "box": [round(side, 2) for side in region.box]}
        for i, span in enumerate(spans)
        for region in span.regions
    ]


def _span(span: Span) -> list[Any]:
    return [span.start, span.end, span.label]


def _relation(relation: Relation) -> list[Any]:
    head, tail = relation.head, relation.tail
    return [head.start, head.end, tail.start, tail.end, relation.label or ""]


def _sources(notes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was retrieved; without it, notes that are texts, such as contexts that a reader found in the data."""
    found = notes.get(SOURCES)
    if isinstance(found, list):
        return [source for source in found if isinstance(source, dict)]
    return [{"title": name, "text": text} for name, text in notes.items() if isinstance(text, str) and text]


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    text = source.get("caption") or source.get("text") or ""
    score = source.get("score")
    return {
        "title": str(source.get("title", "")),
        "by": str(source.get("by", "")),
        "text": _cut(str(text)),
        **({"score": float(score)} if isinstance(score, int | float) else {}),
    }


def prediction_record(
    prediction: Prediction, found: Sequence[Finding], kinds: Sequence[Kind] = KINDS
) -> dict[str, Any]:
    """What one run says of an example.

    Findings are [what, kind, gold, predicted, score]; a kind is its place in `kinds`.
    """
    errors, surety = severity(found)
    scores = [finding.score for finding in found if finding.score is not None]
    record = {
        "spans": [_span(span) for span in prediction.spans],
        "regions": _regions(prediction.spans),
        "relations": [_relation(relation) for relation in prediction.relations],
        "links": list(prediction.links[:BEST]),
        "linkScores": [round(score, 4) for score in prediction.link_scores[:BEST]],
        "findings": [
            [
                finding.what,
                kinds.index(finding.kind),
                finding.gold,
                finding.predicted,
                None if finding.score is None else round(finding.score, 4),
            ]
            for finding in found
        ],
        "cut": _cut_at(prediction),
        "errors": errors,
        "surety": round(surety, 4),
        "least": round(min(scores), 4) if scores else None,
    }
    return {name: value for name, value in record.items() if value not in ([], None)}


def _cut_at(prediction: Prediction) -> int | None:
    """The first token that an encoder did not read, `MOST_TOKENS` if only other texts were cut; None: all was read."""
    cuts = prediction.notes.get(CUT)
    tokens = [cut.get("token") for cut in cuts if isinstance(cut, dict)] if isinstance(cuts, list) else []
    known = [token for token in tokens if isinstance(token, int) and token >= 0]
    return min(known) if known else MOST_TOKENS if tokens else None


def entity_record(entity: Entity, images: Thumbnails) -> dict[str, Any]:
    """An entity that is linked to, with its first image."""
    first = next((image for image in entity.images if image.path is not None), None)
    return {
        "name": entity.name,
        "description": _cut(entity.description),
        **({} if first is None else {"image": images.add(first, CROP_SIDE)}),
    }


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
