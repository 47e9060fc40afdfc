"""Many answers, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmkit.tasks.answer import Answer
from mmkit.tasks.frame import frame


class Answers(Iterator[Answer]):
    """Answers in the order of their texts, made as they are taken: a loop or `list(...)` takes them, once."""

    def __init__(self, answers: Iterator[Answer], answer_type: type[Answer]) -> None:
        self._answers, self.answer_type = answers, answer_type

    def __next__(self) -> Answer:
        return next(self._answers)

    def __repr__(self) -> str:
        return f"<answers not taken yet ({self.answer_type.__name__}): use list(...), a loop or .to_frame()>"

    def to_frame(self) -> Any:
        """What was found in the texts not taken yet as a pandas `DataFrame`: one row for each entity, relation or link.

        Columns: see `Answer.to_frame`. A text in which nothing was found has no row. Raises `PartError` if pandas is
        not installed.
        """
        return frame((row for answer in self for row in answer.rows()), self.answer_type.columns())
