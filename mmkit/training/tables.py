"""What a run found, as plain tables for trackers: the scores of each label, and predictions beside the gold ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.data.types import Example, Prediction, Span
from mmkit.recipe import Recipe
from mmkit.training.console import is_overall

Table = tuple[list[str], list[list[Any]]]
"""Names of columns, and rows."""

SAMPLES = 20
"""How many predictions a tracker gets: the first of the development set, the same in every run."""


def label_tables(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Table]:
    """By `<split>/labels`: a row for each label, a column for each score; None where a label has no such score."""
    tables = {}
    for split, scores in figures.items():
        found: dict[str, dict[str, float]] = {}
        for name, value in scores.items():
            if not is_overall(name):
                metric, figure, label = name.split(".", 2)
                found.setdefault(label, {})[f"{metric}.{figure}"] = value
        columns = list(dict.fromkeys(name for own in found.values() for name in own))
        if found:
            rows = [[label, *map(found[label].get, columns)] for label in sorted(found)]
            tables[f"{split}/labels"] = (["label", *columns], rows)
    return tables


def samples(
    recipe: Recipe, examples: Sequence[Example], predictions: Sequence[Prediction], n: int = SAMPLES
) -> Table:
    """The first `n` examples with what is right and what was predicted, spans marked in the text."""
    task = recipe.build("model.decoder").task
    rows: list[list[Any]] = []
    for example, predicted in list(zip(examples, predictions, strict=True))[:n]:
        gold = task.right(example)
        pictures = ", ".join(Path(image.path or "").name for image in example.images if image.role == "photo")
        rows.append([example.id, pictures, shown(example, gold), shown(example, predicted)])
    return ["id", "photos", "gold", "predicted"], rows


def shown(example: Example, found: Prediction) -> str:
    """The text with its spans marked, `[Jordan](PER) is here`; then a line for each relation and for the links.

    What has another form, the notes of a task of its own, stands there as JSON.
    """
    lines = [marked(example, found.spans)]
    for relation in found.relations:
        head, tail = words(example, relation.head), words(example, relation.tail)
        lines.append(f"{head} —{relation.label}→ {tail}")
    if found.links:
        mention = example.mention.text if example.mention else ""
        lines.append(f"{mention} → {', '.join(found.links[:5])}")
    if found.notes and not (found.spans or found.relations or found.links):
        lines.append(json.dumps(found.to_dict().get("notes", {}), ensure_ascii=False))
    return "\n".join(lines)


def marked(example: Example, spans: Iterable[Span]) -> str:
    """The text, each span in brackets and followed by its label; spans may lie in each other or cross."""
    real = sorted({(*_bounds(example, span), span.label) for span in spans})
    marks = sorted(_marks(real))
    pieces, at = [], 0
    for place, *_, mark in marks:
        pieces += [example.text[at:place], mark]
        at = place
    return "".join([*pieces, example.text[at:]])


def _marks(spans: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, int, str]]:
    """Place and mark; at one place, spans end before others begin, the inner ones end first and begin last."""
    for start, end, label in spans:
        yield start, 1, -end, "["
        yield end, 0, -start, f"]({label})"


def words(example: Example, span: Span) -> str:
    """The words of a span."""
    start, end = _bounds(example, span)
    return example.text[start:end]


def _bounds(example: Example, span: Span) -> tuple[int, int]:
    """The characters [start, end) of a span of tokens."""
    return example.offsets[span.start][0], example.offsets[span.end - 1][1]
