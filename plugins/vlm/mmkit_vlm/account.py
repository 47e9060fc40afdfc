"""What became of a model's answers: how many could be used, what was dropped, tokens and cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmkit.data.types import Prediction
from mmkit.terminal.notes import capped, few

NOTE = "vlm.answer"
"""Note key of a prediction: tokens, cost, what was dropped, and whether the answer could be used."""

TOKENS = ("prompt_tokens", "answer_tokens")

KINDS = {"not_asked": "not asked: ", "unusable": "", "no_answer": "", "dropped": "dropped: "}
"""What is told with its reasons, and the words before a reason."""

SHOWN = 10
"""Reasons of one kind that are told."""

_REQUEST = re.compile(r"\b(?=[\w-]*\d)[\w-]{8,}")
"""A long word with a digit in it: mostly the id of a request, which would make each reason another."""


def account(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """The sums over predictions, as JSON; None if there are no notes of answers.

    `tokens` and `cost` are those of the answers, whether they were asked for now or were stored. Equal questions are
    asked once, and so count once. The sums cover the questions for which the server counts tokens (`counted`).
    `models` are the names by which models were asked, `told` what the servers call those that answered.
    """
    notes: list[Mapping[str, Any]] = [p.notes[NOTE] for p in predictions if NOTE in p.notes]
    if not notes:
        return None
    dropped: Counter[str] = Counter()
    for note in notes:
        dropped.update(note.get("dropped", {}))
    asked = [note for note in notes if "not_asked" not in note]
    questions = {note.get("question", i): note for i, note in enumerate(asked)}.values()
    counted = [note for note in questions if all(name in note for name in TOKENS)]
    return {
        "examples": len(notes),
        "models": _counts(notes, "model"),
        "told": _counts(notes, "told"),
        "not_asked": _counts(notes, "not_asked"),
        "usable": sum(not (note.keys() & {"unusable", "no_answer"}) for note in asked),
        "unusable": _counts(notes, "unusable"),
        "no_answer": dict(Counter(_REQUEST.sub("…", n["no_answer"]) for n in notes if "no_answer" in n)),
        "dropped": dict(dropped),
        "pictures_unreadable": sum(note.get("pictures_unreadable", 0) for note in notes),
        "questions": len(questions),
        "counted": len(counted),
        **{name: sum(note.get(name, 0) for note in counted) for name in (*TOKENS, "cost")},
    }


def told(split: str, found: Mapping[str, Any]) -> Iterator[str]:
    """The account for a person."""
    answers = found["examples"] - sum(found["not_asked"].values())
    asked, said = list(found["models"]), list(found["told"])
    by = [few(asked)] if asked else []
    if said and said != asked:
        by.append(f"the server says {few(said)}")
    yield f"{split}: {found['usable']} of {answers} answers can be used" + (
        f" ({'; '.join(by)})" if by else ""
    )
    for kind, words in KINDS.items():
        most = sorted(found[kind].items(), key=lambda each: -each[1])
        yield from capped([f"  {number} {words}{what}" for what, number in most], SHOWN)
    if found["pictures_unreadable"]:
        yield f"  {found['pictures_unreadable']} pictures cannot be read and were not sent"
    if (equal := answers - found["questions"]) > 0:
        yield f"  {equal} questions are equal to others and were not asked again"
    if found["counted"]:
        cost = f", cost {found['cost']:.4f}" if found["cost"] else ""
        part = f" (for {found['counted']} of {found['questions']} questions)"
        yield (
            f"  {found['prompt_tokens']:,} tokens asked, {found['answer_tokens']:,} answered{cost}"
            f"{part if found['counted'] < found['questions'] else ''}"
        )


def _counts(notes: Sequence[Mapping[str, Any]], name: str) -> dict[str, int]:
    return dict(Counter(str(note[name]) for note in notes if name in note))
