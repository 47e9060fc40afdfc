"""The texts a decoder of MoRe asks for: a sentence with its retrieved context behind it, and the sentence alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmkit.data.problems import Problem
from mmkit.data.types import Example, TextView
from mmkit.errors import DataError
from mmkit_more.contexts import IMAGE_CONTEXT, TEXT_CONTEXT
from mmkit_retrieval.annotators import contexts

SEPARATOR = "<EOS>"
"""What stands between sentence and context, as in the authors' data: a word like any other."""

WRITERS = {
    TEXT_CONTEXT: "more.text_retrieval.v1",
    IMAGE_CONTEXT: "more.image_retrieval.v1",
    contexts.TEXT_CONTEXT: "retrieval.text.v1",
    contexts.IMAGE_CONTEXT: "retrieval.pictures.v1",
}
"""Note key → the annotator that writes it."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """Where the contexts of examples are, and what stands before one.

    `key` names the note that holds a context, None stands for no contexts at all. An example without the note, or
    with an empty one, is its sentence.
    """

    key: str | None
    separator: str = SEPARATOR

    def views(self, example: Example, sentence: TextView) -> dict[str, TextView]:
        """`text`, the sentence with its context behind it, and `plain`, the sentence as it is given.

        Raises `DataError` if the note is no text.
        """
        return {"text": behind(sentence, self.of(example), self.separator), "plain": sentence}

    def of(self, example: Example) -> str:
        """An example's context; empty if it has none. Raises `DataError` if the note is no text."""
        found = example.notes.get(self.key, "") if self.key is not None else ""
        if not isinstance(found, str):
            raise DataError(
                f"the note {self.key!r} must be a text, not a {type(found).__name__}",
                where=example.id,
                hint="join what was retrieved into one text",
                code="encoder.wrong-note",
            )
        return found

    def check(self, examples: Sequence[Example]) -> None:
        """Raise `DataError` if no training example has the note: the model would learn to do without it."""
        for problem in self.problems(examples):
            raise DataError(
                problem.what, where="model.decoder.context", hint=problem.hint, code="more.no-context"
            )

    def problems(self, examples: Sequence[Example]) -> list[Problem]:
        """What `check` refuses."""
        if self.key is None or not examples or any(self.key in example.notes for example in examples):
            return []
        advice = "read data that hold contexts, or set context = null for the baseline"
        writer = WRITERS.get(self.key)
        source = f"the annotator {writer}" if writer else "what writes it"
        return [
            Problem(
                f"none of the {len(examples)} training examples has a context, the note {self.key!r}",
                hint=f"add {source} to the recipe, {advice}",
                code="more.no-context",
            )
        ]


def behind(sentence: TextView, context: str, separator: str = SEPARATOR) -> TextView:
    """`sentence` with `separator` and the words of `context` behind it; `sentence` itself where that has no words.

    None of these words is a token of the example. What is too long for an encoder is cut from its end, so the
    context is cut, and the sentence only once nothing of the context is left.
    """
    words = [sys.intern(word) for word in context.split()]  # contexts are long, and share most of their words
    if not words:
        return sentence
    more = (*separator.split(), *words)
    return replace(sentence, words=sentence.words + more, index=sentence.index + (-1,) * len(more))
