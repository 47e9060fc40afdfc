"""`errors/<split>.jsonl` of a run: every example with an error, the worst first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import Example, Prediction, Recipe, Relation, Span
from mmkit.files import atomic, check_inside
from mmkit_report.findings import Finding, severity
from mmkit_report.scored import found_in

FORMAT = 1


def write_errors(
    folder: Path, split: str, recipe: Recipe, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> Path:
    """Write the file, and return its path. Raises `RunError` if it cannot be written, or leads out of the folder.

    The first line says what it is; each other line is one example: `id`, `text`, `images` and `errors`.
    """
    path = folder / "errors" / f"{split}.jsonl"
    check_inside(folder, path)
    found = found_in(recipe, examples, predictions)
    with atomic(path) as file:
        head = {"format": FORMAT, "kind": "errors", "split": split, "examples": len(examples)}
        file.write(json.dumps(head) + "\n")
        for i in worst_first(found):
            record = error_record(examples[i], predictions[i], found[i])
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def worst_first(found: Sequence[Sequence[Finding]]) -> list[int]:
    """The positions of the examples that have errors, the worst first (see `severity`); equals keep their order."""
    wrong = [i for i, some in enumerate(found) if any(finding.is_error for finding in some)]
    return sorted(wrong, key=lambda i: severity(found[i]), reverse=True)


def error_record(example: Example, prediction: Prediction, found: Sequence[Finding]) -> dict[str, Any]:
    """One example with its errors, as JSON."""
    photos = [image.path for image in example.images if image.role == "photo"]
    return {
        "id": example.id,
        "text": example.text,
        **({"images": photos} if photos else {}),
        "errors": [_error(example, prediction, finding) for finding in found if finding.is_error],
    }


def _error(example: Example, prediction: Prediction, finding: Finding) -> dict[str, Any]:
    error: dict[str, Any] = {"what": finding.what, "kind": finding.kind}
    for side, item in items_of(example, prediction, finding).items():
        if item is not None:
            error[side] = item if isinstance(item, str) else {**item.to_dict(), "words": words(example, item)}
    return error | ({} if finding.score is None else {"score": finding.score})


def items_of(
    example: Example, prediction: Prediction, finding: Finding
) -> Mapping[str, Span | Relation | str | None]:
    """The gold and the predicted item of a finding: spans, relations, or ids of entities."""
    if finding.what == "link":
        return {"gold": finding.gold_label, "predicted": finding.predicted_label}
    gold: Sequence[Span | Relation]
    predicted: Sequence[Span | Relation]
    if finding.what == "span":
        gold, predicted = example.spans, prediction.spans
    else:
        gold, predicted = example.relations, prediction.relations
    return {
        "gold": None if finding.gold is None else gold[finding.gold],
        "predicted": None if finding.predicted is None else predicted[finding.predicted],
    }


def words(example: Example, item: Span | Relation) -> str:
    """The words of a span, or of a relation's two spans."""
    if isinstance(item, Relation):
        return f"{words(example, item.head)} → {words(example, item.tail)}"
    return example.text[example.offsets[item.start][0] : example.offsets[item.end - 1][1]]
