"""What became of a model's answers: how many could be used, what was dropped, tokens and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmkit.data.types import Prediction

NOTE = "vlm.answer"
"""Note key of a prediction: tokens, cost, what was dropped, and whether the answer could be used."""

SPENT = ("prompt_tokens", "answer_tokens", "cost")


def account(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """The sums over predictions, as JSON; None if no model was asked.

    `tokens` and `cost` are those of the answers, whether they were asked for now or were stored. They cover the answers
    for which the server counts tokens (`counted`).
    """
    notes: list[Mapping[str, Any]] = [p.notes[NOTE] for p in predictions if NOTE in p.notes]
    if not notes:
        return None
    dropped: Counter[str] = Counter()
    for note in notes:
        dropped.update(note.get("dropped", {}))
    return {
        "examples": len(notes),
        "usable": sum(not (note.keys() & {"unusable", "no_answer"}) for note in notes),
        "unusable": dict(Counter(note["unusable"] for note in notes if "unusable" in note)),
        "no_answer": dict(Counter(note["no_answer"] for note in notes if "no_answer" in note)),
        "dropped": dict(dropped),
        "pictures_unreadable": sum(note.get("pictures_unreadable", 0) for note in notes),
        "counted": sum("prompt_tokens" in note for note in notes),
        **{name: sum(note.get(name, 0) for note in notes) for name in SPENT},
    }


def told(split: str, found: Mapping[str, Any]) -> Iterator[str]:
    """The account for a person."""
    yield f"{split}: {found['usable']} of {found['examples']} answers can be used"
    for kind in ("unusable", "no_answer", "dropped"):
        for what, number in sorted(found[kind].items(), key=lambda each: -each[1]):
            yield f"  {number} {'dropped: ' if kind == 'dropped' else ''}{what}"
    if found["pictures_unreadable"]:
        yield f"  {found['pictures_unreadable']} pictures cannot be read and were not sent"
    if found["counted"]:
        cost = f", cost {found['cost']:.4f}" if found["cost"] else ""
        yield f"  {found['prompt_tokens']:,} tokens asked, {found['answer_tokens']:,} answered{cost}"
